use super::*;

const EXPIRES: Duration = Duration::from_secs(600);

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn update(p: &mut PathMtu, at: u64, dst: &str, mtu: u32) -> Option<u32> {
    p.update(Instant::from_secs(at), ip(dst), mtu, 1500, 552, EXPIRES)
}

#[test]
fn rfc1191_a_learned_mtu_is_believed_until_it_expires() {
    let mut p = PathMtu::default();
    assert_eq!(update(&mut p, 0, "10.0.0.2", 1400), Some(1400));
    assert_eq!(p.get(Instant::from_secs(599), ip("10.0.0.2")), Some(1400));
    assert_eq!(p.get(Instant::from_secs(600), ip("10.0.0.2")), None);
    assert_eq!(p.get(Instant::from_secs(0), ip("10.0.0.3")), None);
}

#[test]
fn rfc8201_4_a_message_never_raises_the_mtu() {
    let mut p = PathMtu::default();
    assert_eq!(update(&mut p, 0, "10.0.0.2", 1500), None);
    assert_eq!(update(&mut p, 0, "10.0.0.2", 9000), None);
    assert_eq!(update(&mut p, 0, "10.0.0.2", 1400), Some(1400));
    assert_eq!(update(&mut p, 1, "10.0.0.2", 1450), None);
    assert_eq!(update(&mut p, 1, "10.0.0.2", 1400), None, "nothing new, and not prolonged by repeating it");
    // After it expired anything below the first hop's counts again.
    assert_eq!(update(&mut p, 601, "10.0.0.2", 1450), Some(1450));
}

#[test]
fn icmp_cannot_talk_the_mtu_below_the_floor() {
    let mut p = PathMtu::default();
    assert_eq!(update(&mut p, 0, "10.0.0.2", 68), Some(552), "min_pmtu");
    assert_eq!(
        update(&mut p, 0, "fd00::2", 0),
        None,
        "RFC 8201 4: what is below the IPv6 minimum is discarded"
    );
    assert_eq!(update(&mut p, 0, "fd00::2", 1279), None);
    assert_eq!(update(&mut p, 0, "fd00::2", 1280), Some(1280));
}

#[test]
fn rfc1191_5_routers_that_do_not_say_their_mtu() {
    assert_eq!(plateau_below(1500), 1492);
    assert_eq!(plateau_below(1492), 1006);
    assert_eq!(plateau_below(65_535), 32_000);
    assert_eq!(plateau_below(60), 68);
}

#[test]
fn the_cache_is_bounded_and_the_oldest_goes_first() {
    let mut p = PathMtu::default();
    for n in 0..10_000u32 {
        let dst = IpAddr::V4(core::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
        p.update(Instant::from_millis(u64::from(n)), dst, 1300, 1500, 552, EXPIRES);
    }
    assert_eq!(p.len(), MOST);
    assert_eq!(p.by_expiry.len(), MOST);
    assert_eq!(p.get(Instant::from_secs(11), ip("10.0.0.0")), None);
    assert_eq!(
        p.get(Instant::from_secs(11), IpAddr::V4(core::net::Ipv4Addr::from_bits(0x0a00_0000 + 9999))),
        Some(1300)
    );
}
