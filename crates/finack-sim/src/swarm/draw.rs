//! A world from a seed.

use core::time::Duration;

use finack_core::settings::Congestion;

use super::Feature as F;
use super::Features;
use super::plan::{
    BoxPlan, Crash, Datagrams, End, Faults, HostPlan, Manager, Mix, Opt, Plan, Reads, Side, Step, Talk, Way,
};
use crate::boxes::{Answer, EcnRule, Mangle, Middlebox, SynRule};
use crate::link::Chance;
use crate::rng::Rng;

/// Most hosts of a world.
pub(super) const MOST_HOSTS: usize = 6;

struct Draw {
    rng: Rng,
    on: Features,
}

/// The world that `seed` stands for.
#[must_use]
pub fn draw(seed: u64) -> Plan {
    let mut rng = Rng::new(seed);
    let on = Features::draw(&mut rng);
    let mut d = Draw { rng, on };
    let count = if on.has(F::Crowd) { 3 + d.rng.below(MOST_HOSTS as u64 - 2) as usize } else { 2 };
    let hosts: Vec<HostPlan> = (0..count).map(|_| d.host()).collect();
    let quiet = Duration::from_millis(2000 + d.rng.below(38_000));
    let mut ways = d.ways(count, quiet);
    let roomy = hosts.iter().map(|h| h.mtu).chain(ways.iter().map(Way::least_mtu)).all(|m| m >= 1280);
    let v6 = on.has(F::Ipv6) && roomy;
    let boxes = d.boxes(count);
    // Who is told in other numbers that a packet was too large cannot know that it was his.
    for x in boxes.iter().filter(|x| x.rewrites()) {
        for at in [x.near * count + x.far, x.far * count + x.near] {
            (ways[at].mtu, ways[at].mtu_change) = (9500, None);
        }
    }
    let mut talks = d.talks(count, v6);
    for talk in &mut talks {
        if let Some(x) = boxes.iter().find(|x| {
            x.rewrites() && [talk.from, talk.to].contains(&x.near) && [talk.from, talk.to].contains(&x.far)
        }) {
            // Nobody is reached from outside, and who is who is told by there being one only.
            (talk.from, talk.to, talk.crossed, talk.times) = (x.near, x.far, None, 1);
        }
    }
    let datagrams = d.datagrams(count, v6);
    let crashes = d.crashes(count, quiet);
    Plan { seed, features: on, hosts, ways, boxes, talks, datagrams, crashes, faults: Faults::Drawn, quiet }
}

impl Way {
    fn least_mtu(&self) -> usize {
        self.mtu_change.map_or(self.mtu, |(_, mtu)| mtu.min(self.mtu))
    }
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Draw {
    fn half(&mut self, feature: F) -> bool {
        self.on.has(feature) && self.rng.one_in(2)
    }

    /// A chance of a thousandth or more, of any order of magnitude up to `most`.
    fn ppm(&mut self, feature: F, most: u64) -> u32 {
        if self.half(feature) { 1000 + self.rng.size(most.ilog2()) as u32 } else { 0 }
    }

    fn host(&mut self) -> HostPlan {
        let mut settings = Vec::new();
        let mut set = |name: &'static str, value: u64| settings.push((name, value.to_string()));
        for (feature, name) in [
            (F::NoSack, "tcp_sack"),
            (F::NoTimestamps, "tcp_timestamps"),
            (F::NoScaling, "tcp_window_scaling"),
        ] {
            if self.half(feature) {
                set(name, 0);
            }
        }
        if self.half(F::Cookies) {
            set("tcp_syncookies", 2);
        }
        if self.on.has(F::FastOpen) {
            // Client and server; every listener; with a cookie or without one (RFC 7413 5, 6).
            set("tcp_fastopen", *self.rng.pick(&[0x403, 0x403, 0x607]));
        }
        if self.on.has(F::Ecn) {
            set("tcp_ecn", *self.rng.pick(&[0, 1, 1, 2, 3, 3, 4, 5]));
            if self.rng.one_in(3) {
                set("tcp_ecn_option", self.rng.below(3));
                set("tcp_ecn_option_beacon", self.rng.below(5));
                set("tcp_ecn_fallback", self.rng.below(2));
                set("finack.tcp_ecn_control", self.rng.below(3));
            }
        }
        if self.half(F::Probing) {
            set("tcp_mtu_probing", 1 + self.rng.below(2));
        }
        if self.on.has(F::Recovery) {
            self.recovery(&mut set);
        }
        if self.half(F::Pressure) {
            set("finack.memory", 1 << (17 + self.rng.below(4)));
        }
        if self.on.has(F::Reuse) {
            set("tcp_tw_reuse", self.rng.below(3));
            set("tcp_rfc1337", self.rng.below(2));
        }
        if self.half(F::Rfc) {
            settings.push(("finack.profile", "rfc".into()));
        }
        if self.half(F::Control) {
            let name = *self.rng.pick(Congestion::NAMES);
            settings.push(("tcp_congestion_control", name.into()));
        }
        let mtu = match self.rng.below(4) {
            0 => 576 + self.rng.below(9000) as usize,
            1 => 1280 + self.rng.below(300) as usize,
            _ => 1500,
        };
        HostPlan { settings, mtu, units: self.half(F::Units), joins: self.half(F::Joins) }
    }

    fn recovery(&mut self, set: &mut impl FnMut(&'static str, u64)) {
        for (name, below) in [
            ("tcp_dsack", 2),
            ("tcp_slow_start_after_idle", 2),
            ("tcp_recovery", 8),
            ("tcp_frto", 3),
            ("tcp_moderate_rcvbuf", 2),
        ] {
            if self.rng.one_in(3) {
                set(name, self.rng.below(below));
            }
        }
        if self.rng.one_in(3) {
            set("tcp_early_retrans", *self.rng.pick(&[0, 3]));
        }
        if self.rng.one_in(3) {
            set("tcp_initial_cwnd", 1 + self.rng.size(6));
        }
        if self.rng.one_in(4) {
            // Who is left alone gives up after 511 times as long, which is to outlast the faults.
            set("tcp_rto_min_us", 100_000 + self.rng.below(400_000));
        }
        if self.rng.one_in(4) {
            set("tcp_timewait_len", 1 + self.rng.below(60));
        }
    }

    fn ways(&mut self, count: usize, quiet: Duration) -> Vec<Way> {
        let mut ways = vec![self.way(quiet); count * count];
        for a in 0..count {
            for b in a + 1..count {
                let there = self.way(quiet);
                let mut back = there.clone();
                if self.half(F::Asymmetry) {
                    back = self.way(quiet);
                }
                // A path swallows large packets for good only where somebody looks for that.
                ways[a * count + b] = there;
                ways[b * count + a] = back;
            }
        }
        ways
    }

    fn way(&mut self, quiet: Duration) -> Way {
        let delay = Duration::from_micros(self.rng.size(17));
        let rate = self.half(F::Bottleneck).then(|| 200_000 + self.rng.size(26));
        let mtu = if self.half(F::SmallMtu) { 576 + self.rng.below(1500) as usize } else { 9500 };
        let mtu_change = self.half(F::MtuChange).then(|| {
            let at = millis(self.rng.below(quiet.as_millis() as u64));
            (at, 576 + self.rng.below(1400) as usize)
        });
        let black_outs = if self.half(F::BlackOut) {
            (0..1 + self.rng.below(3))
                .map(|_| (millis(self.rng.below(quiet.as_millis() as u64)), millis(self.rng.size(14))))
                .collect()
        } else {
            Vec::new()
        };
        let manager = if self.half(F::Managed) {
            *self.rng.pick(&[Manager::CoDel(false), Manager::CoDel(true), Manager::DualPi2])
        } else {
            Manager::Tail
        };
        // A queue that holds no burst at all carries next to nothing.
        let trace = if self.half(F::Trace) { self.trace() } else { Vec::new() };
        let a_few_packets = match rate {
            _ if !trace.is_empty() => millis(300),
            Some(bits) => Duration::from_micros(48_000_000_000 / bits.max(1)),
            None => Duration::ZERO,
        };
        Way {
            delay,
            rate,
            trace,
            queue: millis(5 + self.rng.size(9)).max(a_few_packets),
            manager,
            mtu,
            black_hole: self.half(F::BlackHole),
            mtu_change,
            mix: self.mix(),
            black_outs,
        }
    }

    /// Up to a second of a link that is fast, slow and silent by turns.
    fn trace(&mut self) -> Vec<u32> {
        let mut at = 0;
        (0..2 + self.rng.below(60))
            .map(|_| {
                at += self.rng.size(6) as u32;
                at.max(1)
            })
            .collect()
    }

    fn boxes(&mut self, hosts: usize) -> Vec<BoxPlan> {
        let mut all = Vec::new();
        for (near, far) in (0..hosts).flat_map(|a| (a + 1..hosts).map(move |b| (a, b))) {
            if self.half(F::Boxes) {
                all.push(BoxPlan { gone: false, near, far, what: self.middlebox() });
            }
        }
        all
    }

    fn middlebox(&mut self) -> Middlebox {
        let idle = Duration::from_secs(7500);
        let share = Chance::ppm(1000 + self.rng.size(19) as u32);
        Middlebox::Mangle(match self.rng.below(10) {
            0 => return Middlebox::Nat { idle, keep_ports: self.rng.one_in(2) },
            1 => {
                let syn = if self.rng.one_in(2) { SynRule::LoseFirst } else { SynRule::Pass };
                return Middlebox::Firewall { idle, answer: Answer::Silence, syn };
            }
            2 => {
                let most = 600 + self.rng.size(15) as usize;
                return Middlebox::Merge { most, hold: Duration::from_micros(self.rng.size(12)) };
            }
            3 | 4 => {
                let kinds = [&[3][..], &[4], &[5], &[8], &[4, 5], &[3, 4, 5, 8], &[34, 172, 174, 254]];
                Mangle::Strip(self.rng.pick(&kinds).to_vec())
            }
            5 => Mangle::ClampMss(200 + self.rng.below(1300) as u16),
            6 => Mangle::ClampWindow(600 + self.rng.size(15) as u16),
            7 => Mangle::Sequence { sack: self.rng.one_in(2) },
            8 => Mangle::Split(100 + self.rng.size(10) as usize),
            _ => Mangle::Ecn(*self.rng.pick(&[
                EcnRule::Bleach,
                EcnRule::Unmark,
                EcnRule::ToEct1,
                EcnRule::Mark(share),
                EcnRule::Force(share),
                EcnRule::ClearFlags,
                EcnRule::ClearSynFlags,
            ])),
        })
    }

    fn mix(&mut self) -> Mix {
        Mix {
            loss: self.ppm(F::Loss, 300_000),
            burst: (self.ppm(F::Bursts, 30_000), 1 + self.rng.size(5) as u32),
            duplicate: self.ppm(F::Duplicate, 200_000),
            reorder: self.ppm(F::Reorder, 400_000),
            hold: Duration::from_micros(1 + self.rng.size(18)),
            corrupt: self.ppm(F::Corrupt, 100_000),
            jitter: if self.half(F::Jitter) {
                Duration::from_micros(self.rng.size(15))
            } else {
                Duration::ZERO
            },
        }
    }

    fn talks(&mut self, hosts: usize, v6: bool) -> Vec<Talk> {
        let count = 1 + self.rng.below(if self.on.has(F::Crowd) { 6 } else { 3 });
        (0..count).map(|_| self.talk(hosts, v6)).collect()
    }

    fn two_hosts(&mut self, hosts: usize) -> (usize, usize) {
        let from = self.rng.below(hosts as u64) as usize;
        let to = (from + 1 + self.rng.below(hosts as u64 - 1) as usize) % hosts;
        (from, to)
    }

    fn talk(&mut self, hosts: usize, v6: bool) -> Talk {
        let (from, to) = self.two_hosts(hosts);
        let crossed = self.half(F::Crossed).then(|| Duration::from_micros(self.rng.size(16)));
        let times = if self.half(F::Short) { 2 + self.rng.below(6) as u32 } else { 1 };
        let port = (crossed.is_some() || self.half(F::Reuse)).then(|| 20_000 + self.rng.below(10_000) as u16);
        let mut sides = if self.half(F::Requests) { self.requests() } else { self.streams(times > 1) };
        if sides.iter().all(|s| s.end == End::AfterPeer) {
            sides[0].end = End::HalfClose;
        }
        Talk {
            gone: false,
            from,
            to,
            v6: v6 && self.rng.one_in(2),
            start: millis(self.rng.size(12)),
            crossed,
            port,
            times: if crossed.is_some() { 1 } else { times },
            early: self.half(F::FastOpen),
            sides,
        }
    }

    fn requests(&mut self) -> [Side; 2] {
        let rounds = 1 + self.rng.below(8);
        let (mut ask, mut answer) = (Vec::new(), Vec::new());
        let (mut asked, mut answered) = (0, 0);
        for _ in 0..rounds {
            let (request, response) = (1 + self.rng.size(10), 1 + self.rng.size(14));
            asked += request;
            answered += response;
            ask.extend([Step::Write(request), Step::Await(answered)]);
            answer.extend([Step::Await(asked), Step::Write(response)]);
            if self.rng.one_in(4) {
                ask.push(Step::Pause(millis(self.rng.size(13))));
            }
        }
        [self.side(ask), self.side(answer)]
    }

    fn streams(&mut self, short: bool) -> [Side; 2] {
        [0, 1].map(|_| {
            let bits = if self.half(F::Bulk) && !short { 19 } else { 13 };
            let mut steps = Vec::new();
            for _ in 0..1 + self.rng.below(4) {
                steps.push(Step::Write(self.rng.size(bits)));
                if self.half(F::Urgent) {
                    steps.push(Step::Urgent);
                }
                if self.rng.one_in(4) {
                    steps.push(Step::Pause(millis(self.rng.size(14))));
                }
            }
            self.side(steps)
        })
    }

    fn side(&mut self, steps: Vec<Step>) -> Side {
        let slow = self.half(F::SlowReader);
        let reads = if slow {
            let every = if self.rng.one_in(2) { u64::MAX } else { 1 + self.rng.size(16) };
            Reads {
                chunk: 1 + self.rng.size(14) as usize,
                begin: millis(self.rng.size(15)),
                every,
                rest: millis(self.rng.size(9)),
            }
        } else {
            Reads::EAGER
        };
        let total: u64 = steps.iter().map(|s| if let Step::Write(n) = s { *n } else { 0 }).sum();
        let least = (total / 256).max(1);
        Side {
            options: self.options(),
            steps,
            chunk: (least + self.rng.size(16)) as usize,
            reads,
            end: self.end(),
        }
    }

    fn end(&mut self) -> End {
        if self.half(F::EarlyClose) && self.rng.one_in(2) {
            return End::Early;
        }
        if self.half(F::Abort) && self.rng.one_in(2) {
            return *self.rng.pick(&[
                End::Abort,
                End::Linger,
                End::AbortAt(millis(1)),
                End::AbortAt(millis(150)),
                End::AbortAt(millis(3000)),
            ]);
        }
        if self.rng.one_in(2) { End::HalfClose } else { End::AfterPeer }
    }

    fn options(&mut self) -> Vec<Opt> {
        let mut all = Vec::new();
        if self.on.has(F::Small) {
            for option in [Opt::NoDelay, Opt::Cork, Opt::QuickAck] {
                if self.rng.one_in(3) {
                    all.push(option);
                }
            }
        }
        if self.on.has(F::Buffers) {
            if self.rng.one_in(2) {
                all.push(Opt::SendBuffer(2048 + self.rng.size(18) as usize));
            }
            if self.rng.one_in(2) {
                all.push(Opt::RecvBuffer(1024 + self.rng.size(18) as usize));
            }
            if self.rng.one_in(4) {
                all.push(Opt::NotSentLowat(1 + self.rng.size(16) as usize));
            }
            if self.rng.one_in(6) {
                all.push(Opt::WindowClamp(512 + self.rng.size(17) as u32));
            }
            if self.rng.one_in(4) {
                all.push(Opt::MaxSegment(88 + self.rng.below(1500) as u16));
            }
        }
        if self.half(F::KeepAlive) {
            all.push(Opt::KeepAlive(
                1 + self.rng.below(20),
                1 + self.rng.below(5),
                2 + self.rng.below(5) as u32,
            ));
        }
        if self.half(F::UserTimeout) {
            all.push(Opt::UserTimeout(1000 + self.rng.below(20_000)));
        }
        if self.half(F::Control) {
            let name = *self.rng.pick(Congestion::NAMES);
            all.extend(Congestion::named(name).map(Opt::Control));
        }
        all
    }

    fn datagrams(&mut self, hosts: usize, v6: bool) -> Vec<Datagrams> {
        if !self.on.has(F::Datagrams) {
            return Vec::new();
        }
        (0..1 + self.rng.below(2))
            .map(|_| {
                let (from, to) = self.two_hosts(hosts);
                Datagrams {
                    gone: false,
                    from,
                    to,
                    v6: v6 && self.rng.one_in(2),
                    count: 1 + self.rng.below(30) as u32,
                    size: 8 + self.rng.size(10) as usize,
                    start: millis(self.rng.size(11)),
                    gap: millis(1 + self.rng.size(9)),
                }
            })
            .collect()
    }

    fn crashes(&mut self, hosts: usize, quiet: Duration) -> Vec<Crash> {
        if !self.on.has(F::Crash) {
            return Vec::new();
        }
        (0..1 + self.rng.below(2))
            .map(|_| Crash {
                gone: false,
                host: self.rng.below(hosts as u64) as usize,
                at: millis(self.rng.size(14).min(quiet.as_millis() as u64)),
            })
            .collect()
    }
}
