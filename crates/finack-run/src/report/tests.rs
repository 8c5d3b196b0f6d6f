use super::testing::*;
use super::*;
use finack_core::tcp::State::{self, *};
use finack_core::trace::{AppCall, EndCause, RetransmitReason, TraceKind};

fn only(report: &Report) -> &ConnectionReport {
    assert_eq!(report.connections.len(), 1);
    &report.connections[0]
}

fn states(path: &[StateAt]) -> Vec<State> {
    path.iter().map(|s| s.state).collect()
}

fn told(script: Script) -> Ending {
    only(&script.report()).ending()
}

#[test]
fn an_orderly_close_by_the_program_leaves_time_wait_with_it() {
    let mut script = Script::new();
    script.open().request().close();
    let report = script.report();
    let c = only(&report);
    assert_eq!(states(&c.program_states), [Closed, SynSent, Established, FinWait1, FinWait2, TimeWait]);
    assert_eq!(states(&c.finack_states), [Listen, SynReceived, Established, CloseWait, LastAck, Closed]);
    assert_eq!(c.opened_by, Some(Side::Program));
    assert_eq!(c.closed_first().map(|c| (c.side, c.how)), Some((Side::Program, How::Fin)));
    assert_eq!((c.from_program.acknowledged, c.to_program.acknowledged), (78, 312));
    assert_eq!(c.handshake, Some(Duration::from_micros(100)));
    let ending = c.ending();
    assert_eq!((ending.kind, ending.time_wait), (EndingKind::InOrder, Some(Side::Program)));
    assert_eq!(ending.what, "the program closed first (FIN), then finack (FIN)");
}

#[test]
fn where_finack_closes_first_its_time_wait_is_not_waited_for() {
    // HTTP/1.0: the server closes (RFC 9293 3.6, case 1).
    let mut script = Script::new();
    script.open().request().app(AppCall::Close).state(Established, FinWait1).send(FIN_ACK, 313, 79, 0);
    script.recv(ACK, 79, 314, 0).state(FinWait1, FinWait2);
    script.recv(FIN_ACK, 79, 314, 0).state(FinWait2, TimeWait).send(ACK, 314, 80, 0);
    assert_eq!(script.collector.unfinished(), 0);
    let report = script.report();
    let c = only(&report);
    assert_eq!(states(&c.program_states), [Closed, SynSent, Established, CloseWait, LastAck, Closed]);
    let ending = c.ending();
    assert_eq!((ending.kind, ending.time_wait), (EndingKind::InOrder, Some(Side::Finack)));
    assert_eq!(report.by_state[&TimeWait], 1);
}

#[test]
fn the_three_segment_close_takes_the_program_through_close_wait_and_last_ack() {
    let mut script = Script::new();
    script.open().request().state(Established, FinWait1).send(FIN_ACK, 313, 79, 0);
    script.recv(FIN_ACK, 79, 314, 0).state(FinWait1, TimeWait).send(ACK, 314, 80, 0);
    assert_eq!(
        states(&only(&script.report()).program_states),
        [Closed, SynSent, Established, CloseWait, LastAck, Closed]
    );
}

#[test]
fn simultaneous_close_passes_closing_at_both_ends() {
    // RFC 9293 figure 13
    let mut script = Script::new();
    script.open().request().state(Established, FinWait1).send(FIN_ACK, 313, 79, 0);
    script.recv(FIN_ACK, 79, 313, 0).state(FinWait1, Closing).send(ACK, 314, 80, 0);
    script.recv(ACK, 80, 314, 0).state(Closing, TimeWait);
    let report = script.report();
    let c = only(&report);
    assert_eq!(states(&c.program_states)[3..], [FinWait1, Closing, TimeWait]);
    assert_eq!(c.ending().what, "both sides closed at the same time: their FINs crossed");
}

#[test]
fn simultaneous_open_passes_syn_received_at_both_ends() {
    // RFC 9293 figure 7
    let mut script = Script::new();
    script.app(AppCall::Connect).state(Closed, SynSent).send(SYN, 0, 0, 0);
    script.recv(SYN, 0, 0, 0).state(SynSent, SynReceived).send(SYN_ACK, 0, 1, 0);
    script.recv(SYN_ACK, 0, 1, 0).state(SynReceived, Established).send(ACK, 1, 1, 0);
    let report = script.report();
    let c = only(&report);
    assert_eq!(c.opened_by, Some(Side::Finack));
    assert_eq!(states(&c.program_states), [Listen, SynSent, SynReceived, Established]);
}

#[test]
fn a_half_closed_connection_is_told_as_closing() {
    let mut script = Script::new();
    script.open().request().recv(FIN_ACK, 79, 313, 0).state(Established, CloseWait).send(ACK, 313, 80, 0);
    assert_eq!(script.collector.unfinished(), 1);
    let ending = told(script);
    assert_eq!(ending.kind, EndingKind::Closing);
    assert!(ending.what.contains("the program had closed its sending side"), "{ending:?}");
}

#[test]
fn repeated_bytes_count_once_as_bytes_and_as_repetitions() {
    let mut script = Script::new();
    script.open().recv(PSH_ACK, 1, 1, 78).recv(PSH_ACK, 1, 1, 78).send(ACK, 1, 79, 0);
    script.send(PSH_ACK, 1, 79, 312).again(RetransmitReason::FastRetransmit, PSH_ACK, 1, 79, 312);
    let report = script.report();
    let c = only(&report);
    assert_eq!((c.from_program.sent, c.from_program.repeated), (78, 1));
    assert_eq!((c.to_program.sent, c.to_program.acknowledged, c.to_program.repeated), (312, 0, 1));
    assert_eq!(c.retransmits[&RetransmitReason::FastRetransmit], 1);
    assert_eq!(report.retransmitted, 1);
}

#[test]
fn a_handshake_that_was_repeated_gives_no_round_trip() {
    // RFC 6298 3: Karn's algorithm.
    let mut script = Script::new();
    script.recv(SYN, 0, 0, 0).state(Listen, SynReceived).send(SYN_ACK, 0, 1, 0);
    script.again(RetransmitReason::Handshake, SYN_ACK, 0, 1, 0).recv(ACK, 1, 1, 0);
    assert_eq!(only(&script.report()).handshake, None);
}

#[test]
fn an_ack_of_what_was_never_sent_proves_nothing() {
    let mut script = Script::new();
    script.open().recv(ACK, 1, 1_000_000, 0);
    assert_eq!(only(&script.report()).to_program.acknowledged, 0);
}

#[test]
fn what_finack_refuses_to_believe_the_report_does_not_believe_either() {
    // RFC 5961 3.2, 4.2: a RST that is not exact, a SYN in the window, a segment from elsewhere in sequence space.
    let mut script = Script::new();
    script.open();
    for (flags, seq, reason) in [
        (RST, 500, DropReason::ResetNotExact),
        (SYN, 70_000, DropReason::SynInWindow),
        (FIN_ACK, 2_000_000_000, DropReason::OutOfWindow),
        (PSH_ACK, 4_000_000_000, DropReason::OutOfWindow),
    ] {
        script.recv(flags, seq, 1, 100).event(TraceKind::Dropped { reason, len: 152 }).send(ACK, 1, 1, 0);
    }
    script.request().close();
    let report = script.report();
    let c = only(&report);
    assert_eq!(states(&c.program_states), [Closed, SynSent, Established, FinWait1, FinWait2, TimeWait]);
    assert_eq!((c.from_program.sent, c.from_program.acknowledged), (78, 78));
    assert_eq!(c.closes.iter().map(|c| c.how).collect::<Vec<_>>(), [How::Fin, How::Fin]);
    assert_eq!(c.drops.values().sum::<u64>(), 4);
    assert_eq!(c.from_program.segments, 10);
}

#[test]
fn probes_are_no_drops() {
    // RFC 9293 3.8.6.1, 3.8.4: a number that was acknowledged already, for an ACK to answer it.
    let dropped = || TraceKind::Dropped { reason: DropReason::OutOfWindow, len: 52 };
    let mut script = Script::new();
    script.open().request().recv(ACK, 78, 313, 0).event(dropped()).send(ACK, 313, 79, 0);
    script.window(0).recv(PSH_ACK, 79, 313, 100).send(ACK, 313, 179, 0);
    for _ in 0..3 {
        script.recv(ACK, 178, 313, 0).event(dropped()).send(ACK, 313, 179, 0);
    }
    // An old duplicate is one.
    script.recv(PSH_ACK, 79, 313, 100).event(dropped()).send(ACK, 313, 179, 0);
    let report = script.report();
    let c = only(&report);
    assert_eq!((c.window_probes, c.keep_alives), (3, 1));
    assert_eq!((c.drops[&DropReason::OutOfWindow], report.drops[&DropReason::OutOfWindow]), (1, 1));
    assert_eq!(c.from_program.sent, 178);
    assert_eq!(c.from_program.segments, 10);
}

#[test]
fn every_reset_reason_is_explained_with_its_section() {
    for &reason in ResetReason::ALL {
        let mut script = Script::new();
        script.open().request().reset(reason);
        let ending = told(script);
        let expected = match reason {
            ResetReason::NoListener | ResetReason::Refused => EndingKind::Refused,
            _ => EndingKind::ResetByFinack,
        };
        assert_eq!(ending.kind, expected);
        assert!(!ending.why.is_empty() && !ending.rfc.is_empty(), "{reason:?}");
        assert!(ending.what.starts_with("finack threw the connection away (RST): "), "{ending:?}");
        assert!(!ending.what.contains("RFC"), "{ending:?}");
    }
}

/// RFC 9293 MAY-2: the SYN that reopens belongs to the next connection, and counts nothing in the one before.
#[test]
fn a_syn_over_time_wait_adds_nothing_to_the_connection_before() {
    let mut script = Script::new();
    script.open().request().app(AppCall::Close).state(Established, FinWait1).send(FIN_ACK, 313, 79, 0);
    script.recv(FIN_ACK, 79, 314, 0).state(FinWait1, TimeWait).send(ACK, 314, 80, 0);
    script.recv(SYN, 5_000_000, 0, 0).ended(EndCause::Reopened);
    let report = script.report();
    let c = only(&report);
    assert_eq!((c.from_program.sent, c.from_program.acknowledged), (78, 78));
    assert_eq!(c.ending().kind, EndingKind::InOrder);
}

/// RFC 1337: a RST that answers a repeated ACK of ours ends TIME-WAIT early, and takes nothing from an orderly close.
#[test]
fn a_reset_in_time_wait_leaves_the_close_in_order() {
    let mut script = Script::new();
    script.open().request().app(AppCall::Close).state(Established, FinWait1).send(FIN_ACK, 313, 79, 0);
    script.recv(FIN_ACK, 79, 314, 0).state(FinWait1, TimeWait).send(ACK, 314, 80, 0);
    script.recv(FIN_ACK, 79, 314, 0).send(ACK, 314, 80, 0).recv(RST, 80, 0, 0);
    script.event(TraceKind::ResetReceived).ended(EndCause::ResetByPeer);
    assert_eq!(told(script).kind, EndingKind::InOrder);
}

#[test]
fn every_end_cause_is_told() {
    for (cause, kind) in [
        (EndCause::Closed, EndingKind::InOrder),
        (EndCause::ResetByPeer, EndingKind::ResetByProgram),
        (EndCause::ResetByUs(ResetReason::Abort), EndingKind::ResetByFinack),
        (EndCause::TimedOut, EndingKind::TimedOut),
        (EndCause::Unreachable, EndingKind::Unreachable),
        (EndCause::FinWait2TimedOut, EndingKind::InOrder),
        (EndCause::Dropped, EndingKind::GivenUp),
        (EndCause::Reopened, EndingKind::InOrder),
    ] {
        let mut script = Script::new();
        script.open().request().ended(cause);
        let ending = told(script);
        assert_eq!(ending.kind, kind, "{cause:?}");
        assert!(!ending.what.is_empty() && !ending.rfc.is_empty(), "{cause:?}");
    }
}

#[test]
fn a_reset_by_the_program_is_told_apart_by_what_came_before() {
    let mut unread = Script::new();
    unread.open().recv(PSH_ACK, 1, 1, 78).send(PSH_ACK, 1, 79, 312);
    unread.recv(RST_ACK, 79, 1, 0).event(TraceKind::ResetReceived).ended(EndCause::ResetByPeer);
    let ending = told(unread);
    assert!(
        ending.why.starts_with("it closed its socket while data that had arrived was unread"),
        "{ending:?}"
    );
    assert!(ending.why.ends_with("312 B on the way to it had not been acknowledged"), "{ending:?}");

    let mut after_fin = Script::new();
    after_fin.open().request().recv(FIN_ACK, 79, 313, 0).state(Established, CloseWait);
    after_fin.send(PSH_ACK, 313, 80, 100).recv(RST, 80, 0, 0);
    after_fin.event(TraceKind::ResetReceived).ended(EndCause::ResetByPeer);
    let ending = told(after_fin);
    assert!(ending.why.starts_with("it had closed its socket, and then data came"), "{ending:?}");
    assert_eq!(ending.rfc, "RFC 9293 3.6.1");

    let mut refused = Script::new();
    refused.state(Closed, SynSent).send(SYN, 0, 0, 0).recv(RST_ACK, 0, 1, 0);
    refused.event(TraceKind::ResetReceived).ended(EndCause::ResetByPeer);
    let ending = told(refused);
    assert_eq!((ending.kind, ending.rfc), (EndingKind::Refused, "RFC 9293 3.10.7.1"));

    let mut scan = Script::new();
    scan.recv(SYN, 0, 0, 0).state(Listen, SynReceived).send(SYN_ACK, 0, 1, 0).recv(RST, 1, 0, 0);
    scan.event(TraceKind::ResetReceived).ended(EndCause::ResetByPeer);
    assert!(told(scan).why.contains("as port scanners do"));
}

#[test]
fn an_icmp_error_names_itself() {
    let mut script = Script::new();
    script.state(Closed, SynSent).send(SYN, 0, 0, 0);
    script
        .event(TraceKind::Icmp { hard: true, error: finack_core::Error::HostUnreachable })
        .ended(EndCause::Unreachable);
    assert_eq!(told(script).what, "an ICMP error ended it: host unreachable");
}

#[test]
fn memory_stays_bounded_whatever_comes() {
    let limits = Limits { connections: 10, open: 5, ladders: 2, rows: 6, kinds: 3 };
    let mut script = Script::with_limits(limits);
    for _ in 0..20 {
        // Never closed: five are followed, the others counted.
        script.open().next_connection();
    }
    for i in 0..300u16 {
        script.collector.observe(&finack_core::trace::TraceEvent {
            at: finack_core::Instant::ZERO,
            conn: None,
            local: Some(SocketAddr::new([198, 18, 0, 1].into(), i + 1)),
            remote: None,
            packet: None,
            kind: TraceKind::ResetSent(ResetReason::NoListener),
        });
    }
    let report = script.report();
    assert_eq!((report.total, report.connections.len(), report.refusals.len()), (20, 5, 3));
    assert!(report.connections.iter().all(|c| c.ladder.is_none()), "more than two connections: no ladders");
}

#[test]
fn what_the_application_does_after_the_end_is_no_new_connection() {
    let mut script = Script::new();
    for _ in 0..30 {
        script.open().recv(RST_ACK, 1, 1, 0).event(TraceKind::ResetReceived);
        script.state(Established, Closed).ended(EndCause::ResetByPeer);
        // It was reset while it waited to be accepted.
        script.app(AppCall::Accept).app(AppCall::Close).next_connection();
    }
    let report = script.report();
    assert_eq!((report.total, report.connections.len()), (30, 30));
    assert_eq!(report.endings.len(), 1, "{:?}", report.endings);
}

#[test]
fn time_waits_make_room_for_new_connections() {
    let mut script = Script::with_limits(Limits { connections: 100, open: 5, ..Limits::default() });
    for _ in 0..20 {
        script.open().request().state(Established, FinWait1).send(FIN_ACK, 313, 79, 0);
        script.recv(FIN_ACK, 79, 314, 0).state(FinWait1, TimeWait).send(ACK, 314, 80, 0).next_connection();
    }
    // A late segment of the first of them.
    script.first_connection().recv(FIN_ACK, 79, 314, 0).ended(EndCause::Closed);
    let report = script.report();
    assert_eq!((report.total, report.connections.len()), (20, 20));
    assert_eq!(report.endings[&EndingKind::InOrder], 20);
    assert!(report.connections.iter().all(|c| c.to_program.acknowledged == 312));
    assert!(report.connections.iter().all(|c| c.opened_by == Some(Side::Program)));
}

#[test]
fn the_json_document_holds_what_the_text_tells() {
    let mut script = Script::new();
    script.open().request().close();
    let document = json::document(&script.report());
    insta::assert_snapshot!(
        serde_json::to_string_pretty(&document).unwrap().replace(env!("CARGO_PKG_VERSION"), "VERSION")
    );
}

/// A note about the connection that the script is at.
fn note(script: &mut Script, note: Note) {
    let (finack, program) = script.ends();
    script.collector.note(finack, program, note);
}

fn outside(script: &mut Script, what: Outside) {
    note(script, Note::Outside(what));
}

fn server() -> Outside {
    Outside::Connected { to: "192.0.2.1:80".parse().unwrap() }
}

#[test]
fn a_reset_from_outside_is_told_as_the_servers() {
    let mut script = Script::new();
    script.recv(SYN, 0, 0, 0).state(Listen, SynReceived);
    outside(&mut script, server());
    script.send(SYN_ACK, 0, 1, 0).recv(ACK, 1, 1, 0).state(SynReceived, Established).request();
    outside(&mut script, Outside::PeerReset);
    script.app(AppCall::Abort).reset(ResetReason::Abort);
    let report = script.report();
    let ending = only(&report).ending();
    assert_eq!(ending.kind, EndingKind::ResetOutside);
    assert_eq!(ending.what, "the server 192.0.2.1:80 reset it (RST, ECONNRESET); finack passed the RST on");
    assert_eq!((ending.by, ending.segment), (Some(Party::Outside), Some("RST")));
    assert!(ending.seen_as.contains("ECONNRESET once"), "{ending:?}");
    assert!(ending.advice.starts_with("the server's side"), "{ending:?}");
    assert_eq!(report.endings[&EndingKind::ResetOutside], 1);
}

#[test]
fn a_note_that_comes_after_the_end_still_counts() {
    let mut script = Script::new();
    script.open().request();
    outside(&mut script, server());
    script.reset(ResetReason::Abort);
    outside(&mut script, Outside::Lost("Connection timed out (os error 110)".into()));
    let report = script.report();
    assert_eq!(report.endings.len(), 1, "{:?}", report.endings);
    assert_eq!(report.endings[&EndingKind::LostOutside], 1);
    let what = only(&report).ending().what;
    assert!(what.contains("192.0.2.1:80: Connection timed out; finack"), "{what}");
}

#[test]
fn an_outside_that_refuses_is_silent_or_unreachable_is_told_so() {
    use finack_core::stack::Refusal;
    use finack_wire::icmp::Unreachable;
    let failed = |error: &str, answered| Outside::Failed { error: error.to_owned(), answered };
    for (what, cause, kind, part, by) in [
        (
            failed("Connection refused (os error 111)", Refusal::Reset),
            EndCause::ResetByUs(ResetReason::Refused),
            EndingKind::Refused,
            "198.18.0.80:80 refused the connection (RST, ECONNREFUSED); finack passed the refusal on",
            Party::Outside,
        ),
        (
            failed("No route to host (os error 113)", Refusal::Unreachable(Unreachable::Host)),
            EndCause::Unreachable,
            EndingKind::Unreachable,
            "the host can't reach 198.18.0.80:80: No route to host; finack answered the SYN with an ICMP error",
            Party::Outside,
        ),
        (
            failed("Connection timed out (os error 110)", Refusal::Silence),
            EndCause::Dropped,
            EndingKind::Unanswered,
            "198.18.0.80:80 did not answer the host: Connection timed out; finack left the SYN unanswered, too",
            Party::Outside,
        ),
        (
            failed("the run is isolated", Refusal::Unreachable(Unreachable::AdminProhibited)),
            EndCause::Unreachable,
            EndingKind::Unreachable,
            "finack did not open it (the run is isolated), and answered the SYN with an ICMP error",
            Party::Finack,
        ),
    ] {
        let mut script = Script::new();
        script.recv(SYN, 0, 0, 0).state(Listen, SynReceived);
        outside(&mut script, what);
        script.ended(cause);
        let ending = told(script);
        assert_eq!((ending.kind, ending.by), (kind, Some(by)));
        assert!(ending.what.starts_with(part), "{ending:?}");
        assert!(!ending.seen_as.is_empty() && !ending.advice.is_empty(), "{ending:?}");
    }
}

#[test]
fn what_the_program_does_to_a_carried_connection_is_told_with_its_other_end() {
    let mut reset = Script::new();
    reset.open().request();
    outside(&mut reset, server());
    reset.recv(RST_ACK, 79, 313, 0).event(TraceKind::ResetReceived).ended(EndCause::ResetByPeer);
    let ending = told(reset);
    assert!(
        ending.what.ends_with("(RST); finack passed the RST on to the server 192.0.2.1:80"),
        "{ending:?}"
    );
    assert_eq!(ending.by, Some(Party::Program));

    let mut half = Script::new();
    half.open().request();
    outside(&mut half, Outside::Accepted { from: "192.0.2.9:5000".parse().unwrap() });
    half.recv(FIN_ACK, 79, 313, 0).state(Established, CloseWait);
    let what = told(half).what;
    assert_eq!(what, "the program had closed its sending side (FIN), the client 192.0.2.9:5000 had not yet");
}

#[test]
fn a_service_that_misbehaves_says_that_it_means_it() {
    let mut script = Script::new();
    script.open().request();
    note(&mut script, Note::Service { name: "reset.finack", does: "answered with RST" });
    script.app(AppCall::Abort).reset(ResetReason::Abort);
    let ending = told(script);
    assert_eq!(ending.kind, EndingKind::ResetByFinack);
    assert_eq!(ending.what, "reset.finack answered with RST, on purpose: that is what it teaches");
    assert_eq!(ending.by, Some(Party::Service));

    let mut hole = Script::new();
    hole.recv(SYN, 0, 0, 0).state(Listen, SynReceived);
    note(&mut hole, Note::Service { name: "blackhole.finack", does: "left the SYN unanswered" });
    let ending = told(hole);
    assert_eq!((ending.kind, ending.segment), (EndingKind::Unanswered, None));
    assert!(ending.seen_as.contains("ETIMEDOUT"), "{ending:?}");

    let mut slow = Script::new();
    slow.open().request();
    note(&mut slow, Note::Service { name: "slow.finack", does: "sent a byte at a time" });
    slow.close();
    let ending = told(slow);
    assert_eq!(
        ending.what,
        "the program closed first (FIN), then slow.finack (FIN); slow.finack sent a byte at a time, on purpose: that is what it teaches"
    );
}

#[test]
fn every_note_is_told_to_machines_by_its_kind() {
    use finack_core::stack::Refusal;
    let addr = "192.0.2.1:80".parse().unwrap();
    let mut script = Script::new();
    script.open();
    note(&mut script, Note::Service { name: "reset.finack", does: "answered with RST" });
    for what in [
        server(),
        Outside::Accepted { from: addr },
        Outside::Failed { error: "No route to host (os error 113)".into(), answered: Refusal::Silence },
        Outside::PeerClosed,
        Outside::PeerReset,
        Outside::Lost("Connection timed out (os error 110)".into()),
    ] {
        outside(&mut script, what);
    }
    let document = json::document(&script.report());
    let notes = document["connections"][0]["notes"].as_array().unwrap();
    let kinds: Vec<_> = notes.iter().map(|n| n["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["service", "connected", "accepted", "failed", "peer-closed", "peer-reset", "lost"]);
    assert_eq!((&notes[1]["to"], &notes[2]["from"]), (&"192.0.2.1:80".into(), &"192.0.2.1:80".into()));
    assert_eq!(notes[3]["answered"], "nothing");
    assert!(notes.iter().all(|n| n["at"].is_f64()), "{notes:#?}");
}

#[test]
fn notes_find_the_last_connection_of_their_ends_and_are_bounded() {
    let mut script = Script::with_limits(Limits { kinds: 2, ..Limits::default() });
    script.open().request().close();
    // The same ends again.
    script.open_again().open().request();
    for _ in 0..20 {
        outside(&mut script, Outside::PeerClosed);
    }
    // Nobody's.
    let program = "198.18.0.2:1".parse().unwrap();
    for port in 1..5 {
        let target = SocketAddr::from(([192, 0, 2, 7], port));
        script.collector.note(target, program, Note::Outside(Outside::PeerReset));
        script.collector.note(target, program, Note::Outside(Outside::PeerReset));
    }
    let report = script.report();
    assert_eq!(report.connections.iter().map(|c| c.notes.len()).collect::<Vec<_>>(), [0, 8]);
    assert_eq!(report.stray_notes.values().copied().collect::<Vec<_>>(), [2, 2]);
}
