use super::space::{Action, Fate};
use super::*;

fn limits() -> Limits {
    Limits { situations: 100_000, recheck: true }
}

/// Explores a world with other bounds of the network.
#[track_caller]
fn with(name: &str, losses: u8, duplicates: u8, reorders: u8) -> Outcome {
    let mut world = named(name, true).unwrap();
    world.faults = Faults { losses, duplicates, reorders };
    explore(&world, limits(), |_| true)
}

#[track_caller]
fn expect_fine(outcome: &Outcome) {
    assert_eq!(outcome.verdict(), Ok(()), "{}", outcome.ladder());
    assert!(outcome.situations > 50, "{}", outcome.situations);
    assert!(outcome.interleavings > 1000.0, "{}", outcome.interleavings);
}

/// RFC 9293 3.6, figure 12: one closes, whatever is lost; and each host that is reached by two stories does the same.
#[test]
fn an_orderly_close() {
    expect_fine(&with("close", 1, 0, 0));
}

/// RFC 9293 3.6, figure 13: both close, whatever is lost, and all four ways through the state machine are seen.
#[test]
fn both_close() {
    let outcome = with("close-simultaneously", 1, 0, 0);
    expect_fine(&outcome);
    let seen = |from, to| {
        let at = RULES.iter().position(|r| (r.from, r.to) == (from, to)).unwrap();
        assert!(outcome.transitions[at], "{from} → {to}");
    };
    use finack_core::tcp::State::{CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, TimeWait};
    seen(Established, CloseWait);
    seen(CloseWait, LastAck);
    seen(FinWait1, Closing);
    seen(Closing, TimeWait);
    seen(FinWait2, TimeWait);
}

/// RFC 9293 3.10.5: an abort while data is under way is told, with keep-alive even where the RST is lost.
#[test]
fn an_abort() {
    expect_fine(&with("abort", 1, 0, 0));
}

/// RFC 9293 3.5.1: a host that crashed answers what it does not know with a RST, or is told by it that it crashed.
#[test]
fn a_crash_is_told() {
    expect_fine(&with("crash-silent", 0, 0, 0));
}

/// RFC 9293 3.8.6.1: a reader that comes late closes the window, the writer probes it, and all arrives, also where the
/// segment that opens it is lost.
#[test]
fn a_closed_window_is_probed() {
    let mut world = named("zero-window", true).unwrap();
    world.faults.losses = 1;
    // As far as it goes in a test.
    let outcome = explore(&world, limits(), |_| true);
    assert!(outcome.violation.is_none(), "{}", outcome.ladder());
    let sent = || outcome.machinery.sent();
    let begun = sent().find(|tcp| tcp.payload.len() == 300).map(|tcp| tcp.seq).unwrap();
    let full = begun.wrapping_add(600 + 536);
    assert!(sent().any(|tcp| tcp.ack == full && tcp.window == 0), "the window is closed");
    assert!(sent().any(|tcp| tcp.seq == full.wrapping_sub(1) && tcp.payload.is_empty()), "it is probed");
    assert!(sent().any(|tcp| tcp.ack == full && tcp.window > 0), "it is opened");
}

/// Hosts that delay their ACKs and have repeated something are not taken for others: the time of the first repetition
/// counts where timestamps tell it (RFC 3522), relative to their clock.
#[test]
fn delayed_acks() {
    expect_fine(&with("delayed-acks", 0, 0, 0));
}

/// RFC 9293 3.6.1: who waits for the last ACK is reset, where the other host keeps no TIME-WAIT and its ACK is lost.
#[test]
fn the_lost_last_ack_is_found() {
    let outcome = with("lost-last-ack", 1, 0, 0);
    assert_eq!(outcome.verdict(), Ok(()));
    let ladder = outcome.ladder();
    assert!(ladder.contains("LOST") && ladder.contains("LAST-ACK → CLOSED"), "{ladder}");
    let last = outcome.violation.as_ref().unwrap().what.clone();
    assert!(last.contains("connection reset by peer"), "{last}");
}

/// RFC 9293 3.4.3: a segment of the first connection is taken for one of the second, where no TIME-WAIT keeps them apart.
#[test]
fn the_old_segment_is_found() {
    let outcome = with("old-segment", 0, 1, 0);
    assert_eq!(outcome.verdict(), Ok(()));
    assert!(outcome.ladder().contains("TWICE"), "{}", outcome.ladder());
}

/// A world that was to be found at fault and was not is no success, and neither is one that was not exhausted.
#[test]
fn verdicts() {
    let mut world = named("close", true).unwrap();
    world.must_find = Some("an old segment");
    let missed = explore(&world, limits(), |_| true);
    assert!(missed.verdict().unwrap_err().contains("was to be found"));
    world.must_find = None;
    let few = explore(&world, Limits { situations: 100, recheck: false }, |_| true);
    assert!(few.verdict().unwrap_err().contains("not exhausted"));
}

/// A counter-example is the same in every run.
#[test]
fn it_is_deterministic() {
    let (a, b) = (with("lost-last-ack", 1, 0, 0), with("lost-last-ack", 1, 0, 0));
    assert_eq!((a.ladder(), a.packet_script(1)), (b.ladder(), b.packet_script(1)));
    assert_eq!((a.situations, a.steps), (b.situations, b.steps));
}

#[test]
fn actions_are_packed_whole() {
    for event in
        [Event::Tick, Event::Fire, Event::Call(1), Event::Deliver(70_000, 2), Event::Crash, Event::Reboot]
    {
        let action = Action { end: 1, event, fates: 0b01_10 };
        assert_eq!(Action::unpack(action.pack()), action);
        assert_eq!((action.fate(0), action.fate(1)), (Fate::Twice, Fate::Lost));
    }
}

/// Every world has a name of its own and a program that fits.
#[test]
fn worlds_make_sense() {
    for quick in [false, true] {
        let all = worlds(quick);
        for (index, world) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|w| w.name != world.name), "{}", world.name);
            assert!(world.size().1 > 0 && world.faults.losses <= 2, "{}", world.name);
        }
    }
}
