use super::*;

const START: Instant = Instant::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn packet(item: u64, since: Instant, ecn: Ecn) -> Waiting<u64> {
    Waiting { item, size: 1500, ecn, since, flow: 0 }
}

/// A queue of `discipline` behind which a link sends one packet each millisecond, while `load` packets come in each; says
/// what was dropped and what was marked, with its time.
struct Run {
    queue: Managed<u64>,
    now: Instant,
    dropped: Vec<Instant>,
    marked: Vec<Instant>,
    sent: u64,
}

impl Run {
    fn new(queue: Queue) -> Self {
        let queue = queue.managed(START).expect("a managed queue");
        Self { queue, now: START, dropped: Vec::new(), marked: Vec::new(), sent: 0 }
    }

    fn fill(&mut self, count: usize, ecn: Ecn) {
        for _ in 0..count {
            let _ = self.queue.push(packet(0, self.now, ecn), &mut |_| ());
        }
    }

    fn run(&mut self, time: Duration, each: usize, ecn: Ecn) {
        let end = self.now + time;
        while self.now < end {
            self.fill(each, ecn);
            self.now += ms(1);
            let (now, dropped) = (self.now, &mut self.dropped);
            if let Some(sent) = self.queue.pop(now, &mut |_| dropped.push(now)) {
                self.sent += 1;
                if sent.ecn == Ecn::Ce {
                    self.marked.push(now);
                }
            }
        }
    }
}

fn since(times: &[Instant]) -> Vec<u64> {
    times.iter().map(|at| at.since(START).as_millis() as u64).collect()
}

/// RFC 8289 5.6: `control_law(t, count) = t + INTERVAL / sqrt(count)`.
#[test]
fn the_control_law() {
    for (count, nanos) in [(1, 100_000_000), (2, 70_710_678), (4, 50_000_000), (100, 10_000_000)] {
        assert_eq!(control_law(START, ms(100), count).since(START), Duration::from_nanos(nanos));
    }
}

/// RFC 8289 4.3, 5.5: with a standing queue the first drop comes when the delay has been above 5 ms for 100 ms; then each
/// INTERVAL / sqrt(count) after the one before.
#[test]
fn codel_drops_by_its_law() {
    let mut run = Run::new(Queue::packets(1000).codel());
    run.fill(50, Ecn::NotEct);
    run.run(ms(600), 1, Ecn::NotEct);
    // The packet that leaves in the sixth millisecond has waited for that long; one that waited for 5 ms is above target.
    assert_eq!(since(&run.dropped), [105, 205, 276, 334, 384, 429, 469, 507, 543, 576]);
}

/// RFC 8289 4.2: a burst that drains within the interval costs nothing, and neither does a queue of one packet.
#[test]
fn codel_tolerates_bursts() {
    let mut run = Run::new(Queue::packets(1000).codel());
    for _ in 0..5 {
        run.fill(90, Ecn::NotEct);
        run.run(ms(200), 0, Ecn::NotEct);
    }
    assert_eq!(run.dropped, []);
}

/// RFC 8289 5.6: on a link that needs 20 ms for a packet each has waited for longer than the target; while no more than
/// one full packet stays behind, none is dropped for that.
#[test]
fn codel_leaves_one_packet() {
    for (standing, drops) in [(2, false), (4, true)] {
        let mut queue = Queue::packets(100).codel().managed(START).expect("a managed queue");
        let mut dropped = 0;
        for i in 0..standing {
            assert!(queue.push(packet(i, START, Ecn::NotEct), &mut |_| ()).is_ok());
        }
        for i in 1..100 {
            let now = START + ms(20 * i);
            queue.pop(now, &mut |_| dropped += 1);
            assert!(queue.push(packet(i, now, Ecn::NotEct), &mut |_| ()).is_ok());
        }
        assert_eq!(dropped > 0, drops, "{standing} standing: {dropped} dropped");
    }
}

/// RFC 8289 5.5: where the last dropping state is not long past, the next begins at the rate that it ended with.
#[test]
fn codel_remembers_its_rate() {
    let mut run = Run::new(Queue::packets(1000).codel());
    run.fill(50, Ecn::NotEct);
    run.run(ms(800), 1, Ecn::NotEct);
    // It drains, and fills again at once.
    run.run(ms(100), 0, Ecn::NotEct);
    let first = run.dropped.len();
    run.fill(50, Ecn::NotEct);
    run.run(ms(300), 1, Ecn::NotEct);
    let second = since(&run.dropped)[first..].to_vec();
    assert!(second.len() >= 4, "{second:?}");
    assert!(second[1] - second[0] < 50, "not 100 ms as the first time: {second:?}");
}

/// RFC 8289 4.4 with RFC 3168: what is ECN-capable is marked instead, by the same law.
#[test]
fn codel_marks() {
    let mut run = Run::new(Queue::packets(1000).codel().ecn());
    run.fill(50, Ecn::Ect0);
    run.run(ms(600), 1, Ecn::Ect0);
    assert_eq!(run.dropped, []);
    assert_eq!(since(&run.marked)[..4], [105, 205, 276, 334]);
    let mut run = Run::new(Queue::packets(1000).codel().ecn());
    run.fill(50, Ecn::NotEct);
    run.run(ms(300), 1, Ecn::NotEct);
    assert_eq!(run.marked, []);
    assert!(!run.dropped.is_empty(), "what is not ECN-capable is dropped");
}

/// RFC 8290 4: a flow that sends little is not behind one that fills its queue; a full queue costs the fat flow.
#[test]
fn fq_codel_separates_flows() {
    let mut queue = Queue::packets(100).fq_codel().managed(START).expect("a managed queue");
    let mut dropped = Vec::new();
    for i in 0..150 {
        let fat = Waiting { flow: 1, ..packet(i, START, Ecn::NotEct) };
        assert!(queue.push(fat, &mut |p| dropped.push(p.item)).is_ok());
    }
    assert_eq!(dropped, (0..50).collect::<Vec<_>>(), "the oldest of the fat flow (RFC 8290 4.1.2)");
    assert_eq!(queue.pop(START, &mut |_| ()).map(|p| p.item), Some(50));
    let thin = Waiting { flow: 2, ..packet(1000, START, Ecn::NotEct) };
    assert!(queue.push(thin, &mut |_| ()).is_ok());
    let order: Vec<u64> = (0..3).filter_map(|_| queue.pop(START, &mut |_| ())).map(|p| p.item).collect();
    assert!(order[..2].contains(&1000), "a new flow is served first: {order:?}");
    for flow in [3, 4] {
        for i in 0..20 {
            let _ = queue.push(Waiting { flow, ..packet(flow * 100 + i, START, Ecn::NotEct) }, &mut |_| ());
        }
    }
    let served: Vec<u64> =
        (0..30).filter_map(|_| queue.pop(START, &mut |_| ())).map(|p| p.item / 100).collect();
    for flow in [0, 3, 4] {
        let share = served.iter().filter(|f| **f == flow).count();
        assert!((9..=11).contains(&share), "each a third: {served:?}");
    }
}

/// RFC 9332 figure 3: ECT(1) and CE go to the L4S queue, which is served first, but not always.
#[test]
fn dualpi2_classifies_and_schedules() {
    let mut dual = DualPi2::new(Params::DEFAULT, START);
    for (item, ecn) in [(1, Ecn::NotEct), (2, Ecn::Ect0), (3, Ecn::Ect1), (4, Ecn::Ce)] {
        dual.push(packet(item, START, ecn));
    }
    let order: Vec<u64> = core::iter::from_fn(|| dual.pop(START, &mut |_| ())).map(|p| p.item).collect();
    assert_eq!(order, [3, 1, 4, 2], "round robin, weighted 15 to 1 in bytes, the L4S queue first");
    for i in 0..64 {
        dual.push(packet(i, START, Ecn::Ect1));
        dual.push(packet(i, START, Ecn::NotEct));
    }
    let first: Vec<bool> =
        (0..64).filter_map(|_| dual.pop(START, &mut |_| ())).map(|p| p.ecn.bits() & 1 == 1).collect();
    let classic = first.iter().filter(|l4s| !**l4s).count();
    assert_eq!(classic, 4, "one of sixteen: {first:?}");
}

/// RFC 9332 figure 5: no L4S packet is marked below 800 us of delay, all above 1.2 ms, half of them in between; a queue of
/// one packet never.
#[test]
fn dualpi2_marks_on_a_ramp() {
    for (micros, share) in [(700, 0.0), (800, 0.0), (900, 0.25), (1000, 0.5), (1200, 1.0), (5000, 1.0)] {
        let mut dual = DualPi2::new(Params::DEFAULT, START);
        let (mut now, mut marked) = (START, 0);
        dual.push(packet(0, now, Ecn::Ect1));
        for i in 0..1000 {
            dual.push(packet(i, now, Ecn::Ect1));
            now += Duration::from_micros(micros);
            // Exactly one packet has been here for that long, and another stands behind it.
            dual.push(packet(i, now, Ecn::Ect1));
            let first = dual.pop(now, &mut |_| ()).expect("one");
            marked += u32::from(first.ecn == Ecn::Ce && now.since(first.since) > Duration::ZERO);
            while !dual.is_empty() {
                dual.pop(now, &mut |_| ());
            }
        }
        let seen = f64::from(marked) / 1000.0;
        assert!((seen - share).abs() < 0.01, "{micros} us: {seen}");
    }
    let mut dual = DualPi2::new(Params::DEFAULT, START);
    dual.push(packet(0, START, Ecn::Ect1));
    assert_eq!(dual.pop(START + ms(10), &mut |_| ()).map(|p| p.ecn), Some(Ecn::Ect1), "alone (Th_len)");
}

/// RFC 9332 2.1, equation 1: the coupled probability is k times the base probability, the classic one its square.
#[test]
fn dualpi2_couples() {
    let mut dual = DualPi2::new(Params::DEFAULT, START);
    let mut now = START;
    for i in 0..100 {
        dual.push(packet(i, START, Ecn::NotEct));
    }
    for _ in 0..20 {
        now += ms(16);
        dual.push(packet(0, now, Ecn::Ect1));
        let base = dual.base();
        assert!((dual.coupled_probability() - (2.0 * base).min(1.0)).abs() < 1e-6);
        assert!((dual.classic_probability() - base * base).abs() < 1e-6);
    }
    assert!(dual.base() > 0.1, "{}", dual.base());
}

/// RFC 9332 figure 6, line 3: `p' += alpha (curq - target) + beta (curq - prevq)`, alpha and beta as in figure 2.
#[test]
fn dualpi2_steps_as_its_controller_says() {
    let params = Params::DEFAULT;
    let mut dual = DualPi2::new(params, START);
    for i in 0..10 {
        dual.push(packet(i, START, Ecn::NotEct));
    }
    let every = params.update_every();
    assert_eq!(every, ms(15));
    let (alpha, beta) = (0.1 * 0.015 / 0.01, 0.3 / 0.1);
    let (mut expected, mut previous) = (0.0_f64, 0.0_f64);
    for step in 1..=6 {
        let now = START + every * step;
        dual.push(packet(99, now, Ecn::NotEct));
        let delay = 0.015 * f64::from(step);
        expected = (expected + alpha * (delay - 0.015) + beta * (delay - previous)).clamp(0.0, 1.0);
        previous = delay;
        assert!((dual.base() - expected).abs() < 1e-6, "step {step}: {} and not {expected}", dual.base());
    }
}

/// RFC 9332 A.2: while a classic load that does not respond keeps its queue long, both queues drop, ECN-capable or not; the
/// classic queue's delay is then kept near the target by responsive load.
#[test]
fn dualpi2_under_overload() {
    let mut run = Run::new(Queue::packets(2000).dualpi2());
    run.run(ms(3000), 2, Ecn::Ect1);
    assert!(run.dropped.len() > 200, "L4S is dropped too: {}", run.dropped.len());
    let mut run = Run::new(Queue::packets(2000).dualpi2());
    run.run(ms(1000), 2, Ecn::Ect0);
    assert!(!run.marked.is_empty() && !run.dropped.is_empty(), "marked at first, dropped in overload");
}

/// A managed queue is bounded too.
#[test]
fn managed_queues_are_bounded() {
    for queue in [Queue::packets(10).codel(), Queue::packets(10).dualpi2(), Queue::packets(10).fq_codel()] {
        let mut managed = queue.managed(START).expect("a managed queue");
        for i in 0..100 {
            let _ = managed.push(packet(i, START, Ecn::NotEct), &mut |_| ());
        }
        assert_eq!(managed.len(), 10, "{queue:?}");
        assert_eq!(managed.bytes(), 15_000);
    }
}
