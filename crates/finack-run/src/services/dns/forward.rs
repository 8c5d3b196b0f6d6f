//! Questions about names outside the private network, put to the host's own name servers.
//!
//! Servers are tried in the order and with the patience of the C library (`resolv.conf(5)`), but an answer that comes
//! late from a server given up meanwhile still counts. Against forged answers (RFC 5452 9) each question goes out from
//! sockets of its own, connected to one server each, with source port and ID chosen at random, and only a message with
//! that ID and that question from that server is an answer. Everything else in a message is passed on as it is, both
//! ways: EDNS, flags, truncation.

mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_local;

use super::message::{self, Header, Query, Reply};
use super::resolv_conf::{ResolvConf, Watched};
use super::{Answer, Outcome, Transport, rtype};
use crate::warnings::Warnings;

/// Where the host says how it looks up names.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Questions put to servers at the same time, each with up to three sockets. Others wait.
const MAX_UNDER_WAY: usize = 256;
/// Questions that are under way or wait. Those beyond are not answered, as by a busy server: their askers repeat them.
const MAX_QUESTIONS: usize = 4096;
/// How many may wait for the answer to one question. Those beyond are not answered.
const MAX_ASKERS: usize = 16;

/// Puts questions to the host's name servers.
pub struct Forwarder {
    conf: RefCell<Watched>,
    /// The questions under way that came by UDP, by message without ID.
    pending: RefCell<HashMap<Vec<u8>, Pending>>,
    questions: Cell<usize>,
    most_questions: usize,
    turns: Arc<Semaphore>,
    rotation: Cell<usize>,
    /// What a datagram is received into before its length is known.
    scratch: RefCell<Vec<u8>>,
    /// Servers that were told of already.
    told: RefCell<Vec<SocketAddr>>,
    warnings: Warnings,
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder").field("questions", &self.questions.get()).finish_non_exhaustive()
    }
}

struct Pending {
    askers: Vec<oneshot::Sender<Rc<Result<Heard, ()>>>>,
    /// The question was repeated.
    again: Rc<Notify>,
}

/// An answer from a server.
#[derive(Debug)]
struct Heard {
    message: Vec<u8>,
    by: SocketAddr,
}

/// Why a server gave no answer.
#[derive(Debug)]
enum Failure {
    Silent(Duration),
    Error(io::Error),
}

/// A question in its wire form, as it is put to servers.
struct Asked<'a> {
    /// The whole message, with an ID of finack's.
    message: Vec<u8>,
    /// Name, type and class.
    question: &'a [u8],
}

impl Asked<'_> {
    fn is_answered_by(&self, message: &[u8]) -> bool {
        message::answers(message, &self.message, self.question)
    }
}

/// What came of asking all servers.
#[derive(Default)]
struct Round {
    /// An answer that says no more than that this server could not help.
    unhelpful: Option<Heard>,
    failures: Vec<(SocketAddr, Failure)>,
}

impl Round {
    fn failed(&mut self, server: SocketAddr, failure: Failure) {
        self.failures.retain(|(s, _)| *s != server);
        self.failures.push((server, failure));
    }

    /// Whether the answer ends the search; the C library, too, tries the next server after SERVFAIL, NOTIMP and
    /// REFUSED.
    fn heard(&mut self, heard: Heard) -> Option<Heard> {
        self.failures.retain(|(s, _)| *s != heard.by);
        let rcode = Header::parse(&heard.message).map_or(0, |h| h.rcode());
        if matches!(rcode, message::SERVFAIL | message::NOTIMP | message::REFUSED) {
            self.unhelpful.get_or_insert(heard);
            return None;
        }
        Some(heard)
    }
}

/// A question that is under way or waits for that.
struct Admitted(Rc<Forwarder>);

impl Drop for Admitted {
    fn drop(&mut self) {
        let questions = &self.0.questions;
        questions.set(questions.get().saturating_sub(1));
    }
}

impl Admitted {
    /// Asks, once it is this question's turn.
    async fn ask(&self, query: &[u8], by_tcp: bool, again: &Notify) -> Result<Heard, ()> {
        let _turn = self.0.turns.acquire().await.map_err(drop)?;
        self.0.ask(query, by_tcp, again).await
    }
}

/// How many questions may be under way with as many descriptors as finack may come to have.
fn most_under_way() -> usize {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).maximum.and_then(|limit| usize::try_from(limit).ok());
    limit.map_or(MAX_UNDER_WAY, |limit| (limit / 16).clamp(4, MAX_UNDER_WAY))
}

impl Forwarder {
    /// Forwards as the host's `/etc/resolv.conf` says, at any time anew.
    pub fn of_host(warnings: Warnings) -> Rc<Self> {
        Self::new(Watched::new(Path::new(RESOLV_CONF)), (most_under_way(), MAX_QUESTIONS), warnings)
    }

    fn new(conf: Watched, (under_way, questions): (usize, usize), warnings: Warnings) -> Rc<Self> {
        Rc::new(Self {
            conf: RefCell::new(conf),
            pending: RefCell::default(),
            questions: Cell::new(0),
            most_questions: questions,
            turns: Arc::new(Semaphore::new(under_way)),
            rotation: Cell::new(0),
            scratch: RefCell::new(vec![0; usize::from(u16::MAX)]),
            told: RefCell::default(),
            warnings,
        })
    }

    /// How the host looks up names at present.
    pub fn conf(&self) -> ResolvConf {
        self.conf.borrow_mut().refresh().clone()
    }

    /// The answer to a question: the servers' or, where none of them gives one, SERVFAIL. `None` where too much is
    /// under way, and for what is no question.
    pub async fn answer(self: &Rc<Self>, query: &[u8], transport: Transport) -> Option<Answer> {
        let header = Header::parse(query)?;
        let parsed = Query::parse(&header, query).ok()?;
        if matches!(parsed.qtype, rtype::AXFR | rtype::IXFR) {
            // A whole zone is asked of its own server.
            return Some(refused(&header, parsed));
        }
        let heard = match transport {
            Transport::Udp => self.by_datagram(query).await?,
            Transport::Tcp => {
                let admitted = self.admit()?;
                Rc::new(admitted.ask(query, true, &Notify::new()).await)
            }
        };
        let Ok(heard) = &*heard else { return Some(failed(&header, parsed)) };
        let mut message = heard.message.clone();
        message[..2].copy_from_slice(&query[..2]);
        let outcome = Outcome::Elsewhere { by: heard.by, what: message::verdict(&message) };
        let limit = parsed.udp_limit();
        if transport == Transport::Udp && self.conf.borrow().last().use_vc && message.len() > limit {
            // It came by TCP.
            message = message::cut(&message, parsed.question());
        }
        Some(Answer { message, name: parsed.name, qtype: parsed.qtype, outcome })
    }

    /// Waits for the answer to a question that came by UDP, and asks it unless the same is asked already.
    async fn by_datagram(self: &Rc<Self>, query: &[u8]) -> Option<Rc<Result<Heard, ()>>> {
        let (tell, told) = oneshot::channel();
        let key = query[2..].to_vec();
        if let Some(pending) = self.pending.borrow_mut().get_mut(&key) {
            // Asked again by somebody who got no answer: perhaps it was lost on the way.
            pending.again.notify_one();
            pending.askers.retain(|asker| !asker.is_closed());
            if pending.askers.len() >= MAX_ASKERS {
                return None;
            }
            pending.askers.push(tell);
        } else {
            let admitted = self.admit()?;
            let again = Rc::new(Notify::new());
            let pending = Pending { askers: vec![tell], again: Rc::clone(&again) };
            self.pending.borrow_mut().insert(key.clone(), pending);
            let query = query.to_vec();
            spawn_local(async move {
                let heard = Rc::new(admitted.ask(&query, false, &again).await);
                let pending = admitted.0.pending.borrow_mut().remove(&key);
                for asker in pending.into_iter().flat_map(|p| p.askers) {
                    // Gone already: nobody waits.
                    let _ = asker.send(Rc::clone(&heard));
                }
            });
        }
        told.await.ok()
    }

    fn admit(self: &Rc<Self>) -> Option<Admitted> {
        let questions = self.questions.get();
        if questions >= self.most_questions {
            self.warnings.add(format!(
                "more than {} names were asked for at a time: those beyond had to be asked for again",
                self.most_questions
            ));
            return None;
        }
        self.questions.set(questions + 1);
        Some(Admitted(Rc::clone(self)))
    }

    /// Asks the servers, in turn and again, as `resolv.conf` says.
    async fn ask(&self, query: &[u8], by_tcp: bool, again: &Notify) -> Result<Heard, ()> {
        let mut conf = self.conf();
        if conf.rotate {
            let turn = self.rotation.get();
            self.rotation.set(turn.wrapping_add(1));
            let servers = conf.servers.len().max(1);
            conf.servers.rotate_left(turn % servers);
        }
        let header = Header::parse(query).ok_or(())?;
        let parsed = Query::parse(&header, query).map_err(drop)?;
        let mut message = query.to_vec();
        getrandom::fill(&mut message[..2]).map_err(drop)?;
        let asked = Asked { message, question: parsed.question() };
        let mut round = Round::default();
        let heard = if by_tcp || conf.use_vc {
            tcp::ask(&conf, &asked, &mut round).await
        } else {
            udp::ask(&conf, &asked, &mut round, again, &self.scratch).await
        };
        for (server, failure) in &round.failures {
            self.tell(*server, failure, &parsed.name);
        }
        heard.or(round.unhelpful).ok_or(())
    }

    /// Tells the user once of a server that does not answer.
    fn tell(&self, server: SocketAddr, failure: &Failure, name: &str) {
        if matches!(failure, Failure::Error(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)))
        {
            self.warnings.add(
                "no descriptor was left to ask the host's name servers with; `ulimit -n` before finack raises the limit",
            );
            return;
        }
        let mut told = self.told.borrow_mut();
        if told.len() >= 64 || told.contains(&server) {
            return;
        }
        told.push(server);
        let why = match failure {
            Failure::Silent(waited) => format!("no answer within {} s", waited.as_secs_f32()),
            Failure::Error(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "nothing listens there".into()
            }
            Failure::Error(error) => error.to_string(),
        };
        self.warnings.add(format!(
            "the host's name server {} does not answer (asked for {name}: {why}); it stands in the host's {RESOLV_CONF}",
            ServerName(server)
        ));
    }
}

/// A server as people write it: without the port that all of them have.
pub(super) struct ServerName(pub(super) SocketAddr);

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.port() {
            53 => self.0.ip().fmt(f),
            _ => self.0.fmt(f),
        }
    }
}

fn failed(header: &Header, query: Query<'_>) -> Answer {
    let mut reply = Reply::to(header, &query);
    reply.set_rcode(message::SERVFAIL);
    let limit = query.udp_limit();
    Answer {
        message: reply.finish(limit),
        name: query.name,
        qtype: query.qtype,
        outcome: Outcome::NobodyAnswers,
    }
}

fn refused(header: &Header, query: Query<'_>) -> Answer {
    let mut reply = Reply::to(header, &query);
    reply.set_rcode(message::REFUSED);
    let limit = query.udp_limit();
    Answer { message: reply.finish(limit), name: query.name, qtype: query.qtype, outcome: Outcome::NotServed }
}
