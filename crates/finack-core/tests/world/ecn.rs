//! Congestion that is marked instead of lost, and what stands on the way of the marks.

use core::time::Duration;

use finack_core::Stack;
use finack_core::options::{RecvFlags, SendFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::tcp::{EcnMode, TcpInfo};
use finack_sim::World;
use finack_sim::link::{Hop, Path};

/// So many bytes there and back over `path`: what both ends say then, and how many packets were marked. Nobody closes.
fn carry(path: &str, settings: &[(&str, &str)], bytes: [usize; 2]) -> (TcpInfo, TcpInfo, u64) {
    let mut world = World::new(7, Hop::default());
    let mut all = Settings::default();
    for (name, value) in settings {
        all.set(name, value).unwrap();
    }
    let [a, b] = [(); 2].map(|()| world.host(all.clone(), super::units()));
    let path: Path = path.parse().unwrap();
    let links = world.join(a, b, &path);
    let (c, s) = world.connect(a, b, 80, SocketOptions::default());
    let ends = [(a, c), (b, s)];
    let (mut written, mut read) = ([0; 2], [0; 2]);
    let mut buf = vec![7; 16_384];
    world.run_until(Duration::from_secs(120), |w| {
        for side in 0..2 {
            let ((from, sender), (to, receiver)) = (ends[side], ends[1 - side]);
            let most = buf.len().min(bytes[side] - written[side]);
            let send = |s: &mut Stack, now| s.tcp_send(now, sender, &buf[..most], SendFlags::default());
            written[side] += if most > 0 { w.with(from, send).unwrap_or(0) } else { 0 };
            let got = w.with(to, |s, now| s.tcp_recv(now, receiver, &mut buf, RecvFlags::default()));
            read[side] += got.unwrap_or(0);
        }
        read == bytes
    });
    world.run_for(Duration::from_secs(1));
    let now = world.now();
    let info = |host, conn| world.stack(host).tcp_info(now, conn).unwrap();
    let marked = links.iter().map(|link| world.link_stats(link.there).marked).sum();
    (info(a, c), info(b, s), marked)
}

const QUEUE: &str = "rate=10mbit delay=10ms queue=100pkt,codel,ecn";

/// RFC 3168 1: with marks nothing is lost, and nothing sent twice; the window follows the marks.
#[test]
fn marks_take_the_place_of_losses() {
    for mode in ["1", "3"] {
        let (sender, receiver, marked) = carry(QUEUE, &[("tcp_ecn", mode)], [1_000_000, 0]);
        assert!(marked > 0);
        assert_eq!((sender.retrans_segs, sender.bytes_retrans), (0, 0), "tcp_ecn={mode}");
        assert!(sender.ssthresh < 1 << 40 && sender.ecn.delivered_ce > 0);
        assert_eq!(u64::from(receiver.ecn.received_ce), marked);
    }
    let (sender, _, marked) = carry(QUEUE, &[("tcp_ecn", "0")], [1_000_000, 0]);
    assert!(marked == 0 && sender.retrans_segs > 0);
}

/// RFC 9768 3.2: the sender knows in the end of every mark and every byte, with data both ways and devices that cut and join
/// segments.
#[test]
fn accurate_feedback_is_exact() {
    for back in [0, 500_000] {
        let (sender, receiver, marked) = carry(QUEUE, &[("tcp_ecn", "3")], [1_000_000, back]);
        assert_eq!((sender.ecn.mode, receiver.ecn.mode), (EcnMode::Accurate, EcnMode::Accurate));
        assert_eq!(u64::from(receiver.ecn.received_ce), marked);
        assert_eq!(sender.ecn.delivered_ce, receiver.ecn.received_ce, "{back} back");
        assert_eq!(sender.ecn.delivered, receiver.ecn.received, "{back} back");
        let told = sender.ecn.delivered;
        assert_eq!(told.ect0 + told.ce, 1_000_000);
    }
}

/// RFC 9768 3.2.2.3 to 3.2.3.2, RFC 3168 18: whatever boxes do to the field, the flags and the option, data passes.
#[test]
fn boxes_that_tamper_do_no_harm() {
    let boxes = [
        "ecn(bleach)",
        "ecn(unmark)",
        "ecn(to-ect1)",
        "ecn(force=10%)",
        "ecn(force=100%)",
        "ecn(ce=100%)",
        "ecn(clear-flags)",
        "ecn(clear-syn-flags)",
        "strip(accecn1)",
        "firewall(syn=lose-first)",
        "split(500)",
        "merge(9000,hold=1ms)",
        "seq",
    ];
    for tamper in boxes {
        for mode in ["1", "3"] {
            for there in [true, false] {
                let path =
                    if there { format!("{tamper} -> {QUEUE}") } else { format!("{QUEUE} -> {tamper}") };
                let (sender, _, _) = carry(&path, &[("tcp_ecn", mode)], [100_000, 10_000]);
                assert_eq!(sender.bytes_acked, 100_000, "{path}, tcp_ecn={mode}");
            }
        }
    }
}

/// RFC 8257 3, RFC 9331 4: DCTCP and Prague ask for ECN whatever the settings say, and keep the queue that marks early short.
#[test]
fn controllers_that_live_on_marks_have_them() {
    for (controller, queue, mode) in [
        ("dctcp", "queue=500pkt,step:5ms", EcnMode::Classic),
        ("prague", "queue=500pkt,dualpi2", EcnMode::Accurate),
    ] {
        let path = format!("rate=10mbit delay=10ms {queue}");
        let (sender, _, marked) = carry(&path, &[("tcp_congestion_control", controller)], [1_000_000, 0]);
        assert_eq!(sender.ecn.mode, mode, "{controller}");
        assert!(marked > 0 && sender.retrans_segs == 0, "{controller}: {marked} marked");
    }
}
