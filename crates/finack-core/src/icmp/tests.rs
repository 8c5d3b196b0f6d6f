use super::*;

fn unreachable(code: Unreachable) -> Meaning {
    meaning(ErrorKind::Unreachable(code), false)
}

#[test]
fn rfc1122_4_2_3_9_soft_and_hard_errors() {
    // Network, host and source route unreachable are soft; protocol and port unreachable are hard.
    for code in [0, 1, 5, 11, 12] {
        assert!(!unreachable(Unreachable::from_v4(code)).hard, "code {code}");
    }
    for code in [2, 3, 13] {
        assert!(unreachable(Unreachable::from_v4(code)).hard, "code {code}");
    }
    assert!(!meaning(ErrorKind::TimeExceeded { code: 0 }, false).hard);
    assert!(meaning(ErrorKind::ParameterProblem { pointer: 0, code: 0 }, false).hard);
}

#[test]
fn linux_errno_of_each_code() {
    let v4 = [
        (0, Error::NetworkUnreachable),
        (1, Error::HostUnreachable),
        (2, Error::ProtocolUnreachable),
        (3, Error::ConnectionRefused),
        (5, Error::NotSupported),
        (7, Error::HostUnknown),
        (8, Error::HostIsolated),
        (14, Error::HostUnreachable),
        (6, Error::NetworkUnreachable),
        (9, Error::NetworkUnreachable),
        (10, Error::HostUnreachable),
        (13, Error::HostUnreachable),
        (77, Error::HostUnreachable),
    ];
    for (code, error) in v4 {
        assert_eq!(unreachable(Unreachable::from_v4(code)).error, error, "IPv4 code {code}");
    }
    let v6 = [
        (0, Error::NetworkUnreachable, false),
        (1, Error::AccessDenied, true),
        (2, Error::HostUnreachable, false),
        (3, Error::HostUnreachable, false),
        (4, Error::ConnectionRefused, true),
        (5, Error::AccessDenied, true),
        (6, Error::AccessDenied, true),
    ];
    for (code, error, hard) in v6 {
        let meant = meaning(ErrorKind::Unreachable(Unreachable::from_v6(code)), true);
        assert_eq!(meant, Meaning { error, hard }, "IPv6 code {code}");
    }
}

#[test]
fn rfc6633_source_quench_is_no_error() {
    assert_eq!(reported(&IcmpMessage::SourceQuench { quoted: &[] }), None);
    assert_eq!(reported(&IcmpMessage::EchoReply { ident: 1, seq: 1, data: &[] }), None);
    let too_big = IcmpMessage::FragNeeded { mtu: 1300, quoted: &[] };
    assert_eq!(reported(&too_big), Some(ErrorKind::FragNeeded { mtu: 1300 }));
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn each_destination_gets_a_burst_and_then_one_an_interval() {
    let mut limiter = Limiter::default();
    let dst = "10.0.0.2".parse().unwrap();
    let at = |ms| Instant::from_millis(ms);
    let burst = (0..20).filter(|_| limiter.allow(at(0), dst, SECOND)).count();
    assert_eq!(burst, 6);
    assert!(!limiter.allow(at(999), dst, SECOND));
    assert!(limiter.allow(at(1000), dst, SECOND));
    assert!(!limiter.allow(at(1000), dst, SECOND));
    let in_a_minute = (0..60_000).filter(|ms| limiter.allow(at(2000 + ms), dst, SECOND)).count();
    assert_eq!(in_a_minute, 60);
    assert!(limiter.allow(at(62_000), dst, Duration::ZERO), "an interval of 0 switches the limit off");
}

#[test]
fn what_goes_to_one_destination_says_nothing_to_another() {
    let mut limiter = Limiter::default();
    let (victim, spy) = ("10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap());
    while limiter.allow(Instant::ZERO, victim, SECOND) {}
    let seen = (0..20).filter(|_| limiter.allow(Instant::ZERO, spy, SECOND)).count();
    assert_eq!(seen, 6, "CVE-2020-25705: as many as if nothing had gone elsewhere");
}

#[test]
fn a_million_destinations_take_bounded_memory_and_refuse_nobody() {
    let mut limiter = Limiter::default();
    for n in 0..1_000_000u32 {
        let dst = IpAddr::V4(core::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
        assert!(limiter.allow(Instant::ZERO, dst, SECOND));
    }
    assert_eq!((limiter.full_at.len(), limiter.order.len()), (MOST, MOST));
    assert!(limiter.memory() < 1 << 20);
}
