//! `--strict-ack`: what the program sends is acknowledged only once the host's peer has acknowledged it.
//!
//! The host's kernel has no event for an ACK, so that it is asked (SIOCOUTQ) for as long as something is outstanding:
//! often at first, and less often the longer nothing moves. An ACK is late by as much, at most a twentieth of the
//! program's smallest retransmission time-out. Where the host's peer takes longer than that time-out for an ACK, the
//! program's kernel repeats what it sent until it has learnt the round trip.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use finack::net;
use finack::relay::RelayStream as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep;

/// How soon it is looked first whether what was written is acknowledged: the timer's resolution.
const SOON: Duration = Duration::from_millis(1);
/// How long it is not looked at most.
const SELDOM: Duration = Duration::from_millis(10);

/// Tells the program's connection what the host's peer has.
pub(super) struct Strict {
    program: Arc<net::TcpStream>,
    host: Arc<TcpStream>,
    /// Bytes and FIN that the host's kernel took.
    sent: Cell<u64>,
    changed: Notify,
}

impl Strict {
    /// Holds back what the program sends from now on.
    pub(super) fn new(program: net::TcpStream, host: Arc<TcpStream>) -> Rc<Self> {
        // It fails where the network is down, and the relay with it.
        let _ = program.hold_acks(true);
        Rc::new(Self { program: Arc::new(program), host, sent: Cell::new(0), changed: Notify::new() })
    }

    /// The program's connection.
    pub(super) fn program(&self) -> Arc<net::TcpStream> {
        Arc::clone(&self.program)
    }

    /// The host's kernel took `count` more; a FIN counts as one.
    pub(super) fn sent(&self, count: u64) {
        self.sent.set(self.sent.get() + count);
        self.changed.notify_one();
    }

    /// Passes the ACKs of the host's peer on, until `over` says that no more is sent and all of it is acknowledged, or the
    /// host's connection is lost.
    pub(super) async fn pass_acks_on(&self, over: &Cell<bool>) {
        let (mut told, mut pause) = (0, SOON);
        loop {
            let sent = self.sent.get();
            let acknowledged = sent.saturating_sub(self.host.unacknowledged() as u64);
            if acknowledged > told {
                (told, pause) = (acknowledged, SOON);
                let _ = self.program.ack_to(told);
            }
            if told < sent {
                sleep(pause).await;
                pause = (pause * 2).min(SELDOM);
            } else if over.get() {
                return;
            } else {
                self.changed.notified().await;
                pause = SOON;
            }
        }
    }

    /// Waits until the host's connection is lost.
    pub(super) async fn host_lost(&self) {
        self.host.broken().await;
    }

    /// Looks again whether everything is over.
    pub(super) fn look(&self) {
        self.changed.notify_one();
    }
}
