use super::*;

fn segment() -> Tcp {
    Tcp {
        seq: 1001,
        ack: 5001,
        flags: flag::ACK | flag::PSH,
        window: 512,
        options: vec![Opt::Nop, Opt::Nop, Opt::Ts { val: 107, ecr: 30 }, Opt::Sack(vec![(5101, 5201)])],
        payload: vec![0; 10],
        ..Tcp::default()
    }
}

const BASES: Bases = Bases { seq: 1000, ack: 5000, ts_val: 100, ts_ecr: 30 };

fn wrong(text: &str) -> Vec<String> {
    parse(text).unwrap().mismatches(&segment(), &BASES)
}

#[test]
fn what_fits_fits() {
    for text in [
        "P.",
        "P?.",
        "P. 1:11(10)",
        "P. 1:11(10) ack 1 win 512 <TS val 107 ecr 30,sack 101:201>",
        "P. * ack 1 win >=512 <sack 101:201,nop,TS val +7 ecr +0>",
        "P. win <=512 <sack 101:201,TS val * ecr *>",
    ] {
        assert_eq!(wrong(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    assert_eq!(wrong("."), ["flags P."]);
    assert_eq!(wrong("P. 2:12(10)"), ["1:11(10)"]);
    assert_eq!(wrong("P. 1:12(11)"), ["1:11(10)"]);
    assert_eq!(wrong("P. ack 2"), ["ack 1"]);
    assert_eq!(wrong("P. win 511"), ["win 512"]);
    assert_eq!(wrong("P. win >=513"), ["win 512"]);
    for text in [
        "P. <>",
        "P. <TS val * ecr *>",
        "P. <sack 101:202,TS val * ecr *>",
        "P. <TS val +8 ecr *,sack 101:201>",
    ] {
        assert_eq!(wrong(text), ["<nop,nop,TS val 107 (+7) ecr 30,sack 101:201>"], "{text}");
    }
}

#[test]
fn nonsense_is_refused() {
    for text in
        ["", "X", ". 1:3(1)", ". 1", ". ack", ". ack x", "S <mss>", "S <mss 1", ". win -1", ". ecn maybe"]
    {
        assert!(parse(text).is_err(), "{text}");
    }
}
