//! `finack ss -s`: how many sockets are in which state at which end, and what that may mean.

use std::fmt::Write as _;

use finack_core::tcp::State;
use finack_run::control::protocol::{Count, Run, StateName, Summary};

use super::table::{time, title};

/// In the order in which a connection passes them.
const ORDER: [State; 10] = [
    State::Listen,
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];

/// A state that is suspicious in such numbers, or for so many seconds, or while nothing is answered, and what it means
/// then.
struct Advice {
    state: State,
    sockets: u64,
    seconds: f64,
    text: &'static str,
}

const NEVER: u64 = u64::MAX;

const ADVICE: [Advice; 7] = [
    Advice {
        state: State::SynSent,
        sockets: NEVER,
        seconds: 3.0,
        text: "nobody answers: a firewall drops the SYNs, or the host is down. The program waits until its time-out.",
    },
    Advice {
        state: State::SynReceived,
        sockets: NEVER,
        seconds: 3.0,
        text: "the last ACK of the handshake is missing: the caller gave up, or its ACKs are lost.",
    },
    Advice {
        state: State::FinWait1,
        sockets: NEVER,
        seconds: 5.0,
        text: "the program has closed, and its last data or FIN is not acknowledged: the peer does not read, or is gone.",
    },
    Advice {
        state: State::FinWait2,
        sockets: NEVER,
        seconds: 10.0,
        text: "the program has closed its side, and the peer has not: the peer is in CLOSE-WAIT.",
    },
    Advice {
        state: State::CloseWait,
        sockets: 10,
        seconds: 5.0,
        text: "the peer has closed, and the program has not: it must close a socket once it reads end of file.",
    },
    Advice {
        state: State::LastAck,
        sockets: NEVER,
        seconds: 5.0,
        text: "both have closed, and the program's FIN is not acknowledged: the peer is gone.",
    },
    Advice {
        state: State::TimeWait,
        sockets: 1000,
        seconds: f64::INFINITY,
        text: "each keeps a port for 60 s after the program closed first. Fewer, longer connections need fewer ports; \
               nothing is wrong.",
    },
];

pub(super) fn text(run: &Run, summary: &Summary) -> String {
    let mut out = format!("finack {}, since {}\n", title(run), time(run.elapsed));
    let of = |counts: &std::collections::BTreeMap<StateName, Count>, state| {
        counts.get(&StateName(state)).copied().unwrap_or_default()
    };
    let _ = writeln!(out, "{:<12} {:>8} {:>8}  longest in the program", "TCP", "program", "finack");
    let (mut program, mut finack) = (0, 0);
    for state in ORDER {
        let (ours, theirs) = (of(&summary.finack, state), of(&summary.program, state));
        program += theirs.sockets;
        finack += ours.sockets;
        if ours.sockets + theirs.sockets == 0 {
            continue;
        }
        let longest = if theirs.longest > 0.0 { time(theirs.longest) } else { String::new() };
        let line = format!("{:<12} {:>8} {:>8}  {longest}", name(state), theirs.sockets, ours.sockets);
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let _ = writeln!(out, "{:<12} {program:>8} {finack:>8}", "total");
    let _ = writeln!(out, "{:<12} {:>8} {:>8}", "UDP", summary.udp.0, summary.udp.1);
    for advice in &ADVICE {
        let count = of(&summary.program, advice.state);
        let stuck = count.longest >= advice.seconds || count.unanswered > 0;
        if count.sockets >= advice.sockets || stuck {
            let _ = writeln!(out, "{}: {}", name(advice.state), advice.text);
        }
    }
    out
}

fn name(state: State) -> &'static str {
    match state {
        State::Established => "ESTAB",
        State::SynReceived => "SYN-RECV",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run {
            pid: 4711,
            command: vec!["python3".into(), "server.py".into()],
            elapsed: 75.0,
            ..Run::default()
        }
    }

    fn counts(all: &[(State, u64, f64)]) -> std::collections::BTreeMap<StateName, Count> {
        all.iter()
            .map(|&(state, sockets, longest)| (StateName(state), Count { sockets, longest, unanswered: 0 }))
            .collect()
    }

    #[test]
    fn both_ends_stand_beside_each_other_and_what_is_stuck_is_named() {
        let summary = Summary {
            program: counts(&[
                (State::Established, 12, 30.0),
                (State::CloseWait, 3, 45.0),
                (State::Listen, 1, 0.0),
            ]),
            finack: counts(&[(State::Established, 12, 30.0), (State::FinWait2, 3, 45.0)]),
            udp: (1, 2),
        };
        assert_eq!(
            text(&run(), &summary),
            "finack run 4711 (python3 server.py), since 1min15sec
TCP           program   finack  longest in the program
LISTEN              1        0
ESTAB              12       12  30sec
FIN-WAIT-2          0        3
CLOSE-WAIT          3        0  45sec
total              16       15
UDP                 1        2
CLOSE-WAIT: the peer has closed, and the program has not: it must close a socket once it reads end of file.
"
        );
    }

    /// How long a SYN has been waiting is not known where finack never saw it; that it was repeated is.
    #[test]
    fn repeated_syns_without_an_answer_are_named() {
        let waiting = Count { sockets: 2, longest: 0.0, unanswered: 1 };
        let program = [(StateName(State::SynSent), waiting)].into_iter().collect();
        let text = text(&run(), &Summary { program, ..Summary::default() });
        assert!(text.contains("SYN-SENT: nobody answers: a firewall"), "{text}");
    }

    /// What is on its way is no reason for advice.
    #[test]
    fn a_quiet_run_gets_no_advice() {
        let summary = Summary {
            program: counts(&[
                (State::CloseWait, 1, 0.01),
                (State::SynSent, 5, 0.2),
                (State::TimeWait, 900, 59.0),
            ]),
            ..Summary::default()
        };
        assert_eq!(text(&run(), &summary).lines().filter(|l| l.contains(": ")).count(), 0);
    }
}
