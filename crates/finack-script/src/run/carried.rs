//! What goes through pipes and files of a script: bytes that come out of a socket in the end are known by them.

use std::collections::BTreeMap;

use finack_posix::{Answer, Reply, abi};
use finack_sim::pattern;

use super::flow::PEER;
use super::runner::Runner;
use crate::ast::{Call, Expr};
use crate::run::values::{number, string};

/// The script's pipes and files, by its own descriptors.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Which end of a pipe is written, by the one that is read, and how much was taken out of it.
    pipes: BTreeMap<i64, (i64, usize)>,
    /// The names of files that are open.
    open: BTreeMap<i64, String>,
    /// What files hold, by their names.
    pub(super) contents: BTreeMap<String, Vec<u8>>,
}

impl Runner<'_> {
    /// Takes note of what a call carried from one descriptor to another.
    pub(super) fn carry(&mut self, spec: &Call, answer: &Answer) {
        let Ok(reply) = answer else { return };
        let count = usize::try_from(reply.returned()).unwrap_or(0);
        let fd = |at: usize| spec.args.get(at).and_then(|e| number(e, self.config).ok()).unwrap_or(-1);
        match (spec.name.as_str(), reply) {
            ("pipe" | "pipe2", Reply::Pipe(..)) => {
                if let Some(Expr::List(ends)) = spec.args.first()
                    && let [reads, writes] = ends.as_slice()
                    && let (Ok(reads), Ok(writes)) = (number(reads, self.config), number(writes, self.config))
                {
                    self.files.pipes.insert(reads, (writes, 0));
                    self.written.insert(writes, Vec::new());
                }
            }
            ("open", _) => {
                if let (Some(Expr::Str { parts, .. }), Expr::Int(opened)) = (spec.args.first(), &spec.result)
                    && let Ok(Ok(name)) = string(parts).map(String::from_utf8)
                {
                    self.files.open.insert(*opened, name);
                }
            }
            ("sendfile", _) => {
                let (to, from) = (fd(0), fd(1));
                let start = spec.args.get(2).and_then(|e| number(e, self.config).ok()).unwrap_or(0);
                let contents = self.files.open.get(&from).and_then(|name| self.files.contents.get(name));
                let start = usize::try_from(start).unwrap_or(0);
                let data = contents.and_then(|c| c.get(start..start + count)).unwrap_or(&[]).to_vec();
                self.written.entry(to).or_default().extend(data);
            }
            ("setsockopt", _) if fd(1) == abi::SOL_SOCKET && fd(2) == abi::SO_PEEK_OFF => {
                let (socket, from) = (fd(0), u64::try_from(fd(3)).ok());
                if let Some(flow) = self.flows.iter_mut().find(|f| f.fd == Some(socket)) {
                    flow.peeked = from;
                }
            }
            ("splice", _) => {
                let (from, to) = (fd(0), fd(2));
                let data = self.taken_from(from, count);
                self.written.entry(to).or_default().extend(data);
            }
            _ => {}
        }
    }

    /// The next bytes that come out of a pipe or a socket.
    fn taken_from(&mut self, from: i64, count: usize) -> Vec<u8> {
        if let Some((writes, taken)) = self.files.pipes.get_mut(&from) {
            let start = *taken;
            *taken += count;
            let written = self.written.get(writes).map_or(&[][..], Vec::as_slice);
            return written.get(start..start + count).unwrap_or(&[]).to_vec();
        }
        match self.flows.iter_mut().find(|f| f.fd == Some(from)) {
            Some(flow) => {
                let start = flow.read;
                flow.read += count as u64;
                pattern::bytes(PEER, start, count)
            }
            None => Vec::new(),
        }
    }
}
