//! A counter-example of the explorer is a script that parses and does again what was found.

use std::path::Path;

use finack_script::parse::{Defines, parse};
use finack_script::run::{Options, Verdict, drill};
use finack_sim::explorer::{Limits, explore, named};

const BOB: usize = 1;

fn parses(text: &str) -> bool {
    parse(text, &Defines::default()).is_ok()
}

/// RFC 9293 3.6.1: without TIME-WAIT the lost last ACK resets who waits for it, found by the explorer and played again as a
/// script, packet by packet.
#[test]
fn the_lost_last_ack_is_played_again() {
    let world = named("lost-last-ack", true).unwrap();
    let outcome = explore(&world, Limits::default(), |_| true);
    assert_eq!(outcome.verdict(), Ok(()));
    for end in 0..2 {
        let text = outcome.packet_script(end);
        assert!(parses(&text), "{text}");
    }
    let text = outcome.packet_script(BOB);
    assert!(text.contains("[ECONNRESET]"), "{text}");
    let report = drill(&text, Path::new("."), &Options::default());
    assert!(matches!(report.verdict, Verdict::Passed), "{report:?}\n{text}");
    // It can fail: bob is not told of the RST.
    let other = text.replace("[ECONNRESET]", "[0]");
    let report = drill(&other, Path::new("."), &Options::default());
    assert!(!matches!(report.verdict, Verdict::Passed), "{other}");
}

/// A script ends where its host crashes, and parses.
#[test]
fn a_crash_ends_the_script() {
    let mut world = named("crash-silent", true).unwrap();
    world.must_find = Some("nothing like it");
    for host in &mut world.hosts {
        // Without keep-alive nobody tells bob: a dead-lock.
        host.options.keepalive = false;
    }
    let outcome = explore(&world, Limits::default(), |_| true);
    assert!(outcome.violation.is_some());
    let text = outcome.packet_script(0);
    assert!(parses(&text) && text.contains("loses all that it has"), "{text}");
}
