//! Pacing: data leaves at a rate.

use finack_core::device::Capabilities;
use finack_core::settings::Congestion;
use finack_core::stack::ConnId;
use finack_sim::{Script, Setup};

use super::support::place;

const MSS: u32 = 1460;

/// A connection with a round trip of 100 ms whose window is open, and 14600 bytes of which are acknowledged.
fn opened(setup: Setup) -> (Script, ConnId) {
    let mut t = setup.server();
    t.inject("S 0:0(0) win 65535 <mss 1460,sackOK,wscale 10>");
    t.next_sent();
    t.pass_ms(100);
    t.inject(". 1:1(0) ack 1 win 4000");
    let c = t.accept();
    t.write(c, 60_000);
    // The first ten segments are not paced, as on Linux.
    let first = t.take_sent();
    assert_eq!(first.len(), 10);
    t.pass_ms(100);
    t.inject(". 1:1(0) ack 14601 win 4000");
    (t, c)
}

/// What leaves within so many milliseconds: when, counted from now in microseconds, and how many bytes.
fn leaves(t: &mut Script, ms: u64) -> Vec<(u64, u32)> {
    let from = t.now();
    let mut sent = t.take_sent();
    sent.extend(t.pass_ms(ms));
    let mut units: Vec<(u64, u32)> = Vec::new();
    for s in &sent {
        let (at, len) = (s.at.since(from).as_micros() as u64, place(t, s).1);
        match units.last_mut() {
            Some(unit) if unit.0 == at => unit.1 += len,
            _ => units.push((at, len)),
        }
    }
    units
}

/// SO_MAX_PACING_RATE: a hundred thousand bytes a second, two segments every 29.2 ms, and not all that the window lets go.
#[test]
fn a_rate_that_the_application_sets_is_kept() {
    let (mut t, c) = opened(Setup::new().options(|o| o.max_pacing_rate = Some(100_000)));
    let units = leaves(&mut t, 90);
    assert_eq!(units, [(0, 2 * MSS), (29_200, 2 * MSS), (58_400, 2 * MSS), (87_600, 2 * MSS)]);
    assert_eq!((t.info(c).pacing_rate, t.info(c).max_pacing_rate), (Some(100_000), Some(100_000)));
    // Without the bound all goes that the window allows.
    t.set_options(c, |o| o.max_pacing_rate = None);
    assert_eq!(leaves(&mut t, 0), [(0, 12 * MSS)]);
}

/// RFC 9937 6.4, draft-ietf-ccwg-bbr 5.6.2: with `finack.tcp_pacing` CUBIC spreads its window over half a round trip in slow
/// start (`tcp_pacing_ss_ratio`), where it would send all of it at once.
#[test]
fn cubic_is_paced_where_that_is_set() {
    let (mut t, _) = opened(Setup::new().set("finack.tcp_pacing", 1));
    let units = leaves(&mut t, 99);
    assert_eq!(units.iter().map(|u| u.1).sum::<u32>(), 20 * MSS);
    assert!(units.len() >= 9, "{units:?}");
    // 20 segments in 100 ms would be 1460 bytes in 5 ms; twice as fast.
    let gaps: Vec<u64> = units.windows(2).map(|w| w[1].0 - w[0].0).collect();
    assert!(gaps.iter().all(|gap| (4500..=5500).contains(gap)), "{gaps:?}");
    let (mut t, _) = opened(Setup::new());
    assert_eq!(leaves(&mut t, 99), [(0, 20 * MSS)]);
}

/// draft-ietf-ccwg-bbr 5.3.1.1, 5.6.2: BBR paces from the start, at 2.77 times what it has seen.
#[test]
fn bbr_is_paced_always() {
    let (mut t, c) = opened(Setup::new().options(|o| o.congestion = Some(Congestion::Bbr)));
    let rate = t.info(c).pacing_rate.unwrap();
    // The first window in a round trip of 100 ms.
    assert!((390_000..=405_000).contains(&rate), "{rate}");
    let units = leaves(&mut t, 50);
    let bytes: u32 = units.iter().map(|u| u.1).sum();
    let until = units.last().unwrap().0;
    let expected = rate * until / 1_000_000;
    assert!(u64::from(bytes).abs_diff(expected) <= 3 * u64::from(MSS), "{bytes} bytes in {until} us");
    assert!(units.iter().all(|u| u.1 <= 2 * MSS), "{units:?}");
}

/// ACKs, probes and what a time-out sends do not wait for their time.
#[test]
fn only_data_is_paced() {
    let (mut t, _) = opened(Setup::new().options(|o| o.max_pacing_rate = Some(20_000)));
    assert_eq!(leaves(&mut t, 10), [(0, 2 * MSS)]);
    t.inject("P. 1:11(10) ack 14601 win 4000");
    t.expect(". 17521:17521(0) ack 11");
}

/// A unit holds a millisecond's worth, of a slow rate as few segments as `tcp_min_tso_segs` allows, also where the device
/// takes more at once.
#[test]
fn units_follow_the_rate() {
    let device = Capabilities { max_unit: 65_535, checksum_tx: true, ..Capabilities::plain(1500) };
    let setup = Setup::new().device(device).set("tcp_min_tso_segs", 1);
    let (mut t, _) = opened(setup.options(|o| o.max_pacing_rate = Some(400_000)));
    assert_eq!(leaves(&mut t, 8), [(0, MSS), (3650, MSS), (7300, MSS)]);
}
