use super::*;
use crate::report::testing::*;
use finack_core::trace::{AppCall, DropReason, EndCause, ResetReason, RetransmitReason, TraceKind};

/// The report as it stands on a terminal without colours.
fn plain(report: &Report, look: &Look) -> String {
    let styled = render(report, look);
    let mut out = String::new();
    let mut rest = styled.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, r)| r);
    }
    out + rest
}

fn orderly() -> Report {
    let mut script = Script::new();
    script.open().request().close();
    script.report()
}

#[test]
fn an_orderly_connection_at_100_columns() {
    insta::assert_snapshot!(plain(&orderly(), &Look::default()));
}

#[test]
fn the_same_in_ascii_at_72_columns() {
    let look = Look { width: 20, unicode: false, ladders: true };
    let text = plain(&orderly(), &look);
    assert!(text.is_ascii(), "{text}");
    assert!(text.lines().all(|l| l.len() <= MIN_WIDTH), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn no_line_is_longer_than_the_terminal() {
    for width in [72, 80, 100, 132, 300] {
        let look = Look { width, unicode: true, ladders: true };
        let text = plain(&orderly(), &look);
        assert!(text.lines().all(|l| l.chars().count() <= width), "{width}:\n{text}");
    }
}

#[test]
fn a_reset_with_unread_data_says_so_at_its_arrow() {
    let mut script = Script::new();
    script.open().request().app(AppCall::Close).reset(ResetReason::UnreadData);
    insta::assert_snapshot!(plain(&script.report(), &Look::default()));
}

#[test]
fn a_retransmission_and_a_drop_are_told_and_explained() {
    let mut script = Script::new();
    script.open().recv(PSH_ACK, 1, 1, 78).send(PSH_ACK, 1, 79, 312);
    script.wait(200_000).again(RetransmitReason::Timeout, PSH_ACK, 1, 79, 312);
    script.recv(ACK, 5000, 1, 0).event(TraceKind::Dropped { reason: DropReason::OutOfWindow, len: 52 });
    script.recv(ACK, 79, 313, 0).close();
    insta::assert_snapshot!(plain(&script.report(), &Look::default()));
}

#[test]
fn a_long_exchange_is_abridged_in_the_middle() {
    let mut script = Script::new();
    script.open().recv(PSH_ACK, 1, 1, 78);
    for i in 0..1000 {
        script.send(PSH_ACK, 1 + i * 14_600, 79, 14_600).recv(ACK, 79, 1 + (i + 1) * 14_600, 0);
    }
    let text = plain(&script.report(), &Look::default());
    let abridged: Vec<&str> = text.lines().filter(|l| l.contains('⋮')).collect();
    assert_eq!(abridged.len(), 1, "{text}");
    assert!(abridged[0].contains("10692 segments, 0 B to finack, 14.2 MB to the program"), "{abridged:?}");
    assert!(text.lines().count() < 90, "{text}");
}

#[test]
fn more_than_four_connections_get_a_line_each_and_no_ladder() {
    let mut script = Script::new();
    for i in 0..6 {
        script.open().request();
        if i == 3 {
            script.reset(ResetReason::Abort)
        } else {
            script.close()
        };
        script.next_connection();
    }
    insta::assert_snapshot!(plain(&script.report(), &Look::default()));
}

#[test]
fn a_thousand_connections_are_counted() {
    let mut script = Script::new();
    for i in 0..1000 {
        script.open().request();
        if i == 500 {
            script.reset(ResetReason::DataAfterClose)
        } else {
            script.close()
        };
        script.next_connection();
    }
    insta::assert_snapshot!(plain(&script.report(), &Look::default()));
}

#[test]
fn a_run_without_connections_tells_of_names_and_refusals() {
    let mut collector = Script::new().collector;
    for name in ["hello.finack", "example.com"] {
        let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend_from_slice(label.as_bytes());
        }
        query.extend_from_slice(&[0, 0, 28, 0, 1]);
        let answer =
            crate::services::dns::answer(&Default::default(), &query, crate::services::dns::Transport::Udp)
                .unwrap();
        collector.observe_name(&answer);
    }
    collector.observe(&finack_core::trace::TraceEvent {
        at: finack_core::Instant::ZERO,
        conn: None,
        local: Some("198.18.0.80:81".parse().unwrap()),
        remote: Some("198.18.0.2:40000".parse().unwrap()),
        packet: None,
        kind: TraceKind::ResetSent(ResetReason::NoListener),
    });
    insta::assert_snapshot!(plain(&collector.finish(finack_core::Instant::from_millis(3)), &Look::default()));
}

#[test]
fn lost_events_are_admitted() {
    let mut script = Script::new();
    script.open().event(TraceKind::Lost(7)).request().close();
    assert!(plain(&script.report(), &Look::default()).contains("7 trace events were lost"));
}

#[test]
fn a_connection_left_open_says_so() {
    let mut script = Script::new();
    script.open().request();
    let text = plain(&script.report(), &Look::default());
    assert!(text.contains("still open: it was open when the run ended"), "{text}");
    assert!(text.contains("at the end finack's side: 1 ESTABLISHED"), "{text}");
    let mut ended = Script::new();
    ended.open().ended(EndCause::TimedOut);
    assert!(plain(&ended.report(), &Look::default()).contains("timed out: the program's end fell silent"));
}

#[test]
fn an_explanation_that_fits_two_connections_is_said_once() {
    let mut script = Script::new();
    script.open().request().close().next_connection().open().request().close();
    let text = plain(&script.report(), &Look { ladders: false, ..Look::default() });
    assert_eq!(text.matches("closed in order: the program closed first").count(), 2, "{text}");
    assert_eq!(text.matches("every byte was acknowledged").count(), 1, "{text}");
}

#[test]
fn what_happens_outside_stands_between_the_segments_at_its_time() {
    use crate::report::{Note, Outside};
    let mut script = Script::new();
    let tell = |script: &mut Script, what| {
        let (finack, program) = script.ends();
        script.advance();
        script.collector.note(finack, program, Note::Outside(what));
    };
    script.recv(SYN, 0, 0, 0).state(State::Listen, State::SynReceived).wait(20_000);
    tell(&mut script, Outside::Connected { to: "192.0.2.1:80".parse().unwrap() });
    script.send(SYN_ACK, 0, 1, 0).recv(ACK, 1, 1, 0).state(State::SynReceived, State::Established);
    script.request().wait(1_000_000);
    tell(&mut script, Outside::PeerReset);
    script.app(AppCall::Abort).reset(ResetReason::Abort);
    insta::assert_snapshot!(plain(&script.report(), &Look::default()));
}
