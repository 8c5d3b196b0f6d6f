use super::handshake::{is_valid_change, read_reflected, reflected};
use super::*;

const ALL: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce];

fn settings(tcp_ecn: u64) -> Settings {
    Settings { tcp_ecn, ..Settings::default() }
}

/// An ACK of `packets` of 1000 bytes without the option.
fn report(ace: u8, packets: u32) -> Report<'static> {
    Report { ace, option: None, packets, bytes: packets * 1000, mss: 1000, sent: 100_000 }
}

/// RFC 9768 tables 2 and 3: what arrived is told by the three flags, and read back.
#[test]
fn a_handshake_tells_what_arrived() {
    assert_eq!(ALL.map(reflected), [0b010, 0b011, 0b100, 0b110]);
    for codepoint in ALL {
        assert_eq!(read_reflected(reflected(codepoint)), Some(codepoint));
    }
    assert_eq!([0b000, 0b001, 0b101, 0b111].map(read_reflected), [None; 4]);
}

/// RFC 9768 3.2.2.3: Not-ECT and CE do not change, and ECT does not become Not-ECT.
#[test]
fn which_changes_the_network_may_make() {
    let allowed = |sent| ALL.map(|arrived| is_valid_change(sent, arrived));
    assert_eq!(allowed(Ecn::NotEct), [true, false, false, false]);
    assert_eq!(allowed(Ecn::Ect0), [false, true, true, true]);
    assert_eq!(allowed(Ecn::Ect1), [false, true, true, true]);
    assert_eq!(allowed(Ecn::Ce), [false, false, false, true]);
}

/// RFC 9768 table 2 and 3.1.3, RFC 3168 6.1.1: what each SYN gets, by `tcp_ecn`.
#[test]
fn what_a_syn_is_granted() {
    let granted = |tcp_ecn, ace, arrived| {
        let grant = Grant::of(&settings(tcp_ecn), Congestion::Cubic, handshake::flags_of(ace), arrived);
        (grant.is_classic(), grant.is_accurate())
    };
    let (nothing, classic, accurate) = ((false, false), (true, false), (false, true));
    for ace in 0..8 {
        assert_eq!(granted(0, ace, Ecn::NotEct), nothing, "{ace}");
        let by_default = if matches!(ace, 0b011 | 0b111) { classic } else { nothing };
        assert_eq!(granted(2, ace, Ecn::NotEct), by_default, "{ace}");
        let by_accurate = match ace {
            0 => nothing,
            0b011 => classic,
            _ => accurate,
        };
        assert_eq!(granted(3, ace, Ecn::NotEct), by_accurate, "{ace}");
    }
    assert_eq!(granted(2, 0b011, Ecn::Ect0), nothing);
    assert_eq!(granted(3, 0b111, Ecn::Ce), accurate);
}

/// RFC 9768 3.2.2.5.2, A.2.1: up to seven packets the field is exact, beyond that the worst is taken that it allows.
#[test]
fn a_field_that_may_have_wrapped_counts_as_if_it_had() {
    let read = |ace, packets| Accurate::new().read(&report(ace, packets)).packets;
    assert_eq!([read(5, 7), read(6, 7), read(4, 7)], [0, 1, 7]);
    assert_eq!([read(5, 8), read(6, 8), read(6, 9), read(5, 100)], [8, 1, 9, 96]);
}

/// RFC 9768 A.2.2: with the option the bytes tell how often the field wrapped.
#[test]
fn the_option_tells_how_often_the_field_wrapped() {
    let read = |ace, packets: u32, ce_packets: u32| {
        let mut counters = Accurate::new();
        let first = AccEcn::new(true, [1001, 0, 1], 3);
        let learned = Report { option: Some(&first), ..report(5, 1) };
        assert_eq!(counters.read(&learned), Marked::default());
        let then = AccEcn::new(true, [1001 + (packets - ce_packets) * 1000, ce_packets * 1000, 1], 3);
        counters.read(&Report { option: Some(&then), ..report(ace, packets) })
    };
    assert_eq!(read(6, 9, 1), Marked { packets: 1, bytes: 1000 });
    assert_eq!(read(6, 9, 9).packets, 9);
    assert_eq!(read(5, 20, 0).packets, 0);
}

/// RFC 9768 3.2.1, 3.2.2.2: both ends' counters agree after any number of marks, as long as each ACK arrives.
#[test]
fn sender_and_receiver_count_alike() {
    let (mut receiver, mut sender) = (Accurate::new(), Accurate::new());
    for n in 0..1000_u32 {
        let codepoint = if n * 7 % 3 == 0 { Ecn::Ce } else { Ecn::Ect0 };
        receiver.count(codepoint, u16::from(codepoint == Ecn::Ce), 1000);
        let option = (n % 5 != 0).then(|| receiver.option(3));
        sender.read(&Report { option: option.as_ref(), ..report(receiver.ace(), 1) });
        assert_eq!(sender.delivered_ce, receiver.received_ce, "{n}");
    }
    let option = receiver.option(3);
    sender.read(&Report { option: Some(&option), ..report(receiver.ace(), 1) });
    assert_eq!(sender.delivered, receiver.received);
}

/// RFC 9768 3.2.3.3: the option has a place where all that changed fits, and two SACK blocks go before it.
#[test]
fn the_option_gives_way_to_two_sack_blocks() {
    let mut counters = Accurate::new();
    assert_eq!(counters.fit(40, 0), Some((3, 0)));
    assert_eq!(counters.fit(28, 3), Some((0, 3)), "nothing changed: an empty one stands in the padding");
    counters.count(Ecn::Ect0, 0, 1000);
    assert_eq!(
        counters.fit(28, 3),
        None,
        "timestamps leave room for three blocks and no more; two and all do not fit"
    );
    assert_eq!(counters.fit(40, 4), Some((3, 3)), "a block gives way");
    assert_eq!(counters.fit(40, 2), Some((3, 2)));
    let mut marked = Accurate::new();
    marked.count(Ecn::Ce, 1, 1000);
    assert_eq!(marked.fit(28, 3), Some((2, 2)), "up to the counter that changed");
}

/// RFC 9768 3.2.3.2.4: counters that begin at zero were wiped.
#[test]
fn a_wiped_option_is_ignored() {
    let mut counters = Accurate::new();
    counters.learn_option(Some(&AccEcn::new(true, [0, 0, 0], 3)));
    assert_eq!(counters.seen, Seen::Failed);
    let option = AccEcn::new(true, [1, 5000, 1], 3);
    let marked = counters.read(&Report { option: Some(&option), ..report(5, 5) });
    assert_eq!((marked, counters.delivered[1]), (Marked::default(), 0));
}
