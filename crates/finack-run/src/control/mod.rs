//! The control socket of a run, by which `finack ss` sees its connections.
//!
//! Every run listens at `PID.sock` in a directory that only its user can enter: `$XDG_RUNTIME_DIR/finack`, or
//! `/tmp/finack-UID` where there is none. It answers its own user and root, as the kernel names them (SO_PEERCRED); what
//! can be asked is in [`protocol`], and nothing of it changes anything. The program in the private network is the same
//! user and may ask too: it sees its own connections.
//!
//! A client never holds the run up: lists are made and sent a slice at a time, nothing is made ahead of what the client
//! has read, and one that does not read is left.

mod client;
mod directory;
mod info;
mod list;
pub mod protocol;
mod server;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use finack::Net;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

pub use client::{Found, FoundRun, find};
pub use info::Info;

use crate::namespace::ProgramSockets;
use crate::plan::Names;
use crate::report::Collector;
use crate::warnings::Warnings;
use directory::Directory;
use list::Sources;
use server::About;

/// Arguments of the program that are told, and bytes of each.
const ARGUMENTS: usize = 32;
const ARGUMENT: usize = 256;

/// A run's control socket, until it is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    directory: Directory,
    task: JoinHandle<()>,
}

/// What a control socket needs of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What the program's kernel says of its sockets.
    pub(crate) sockets: Option<ProgramSockets>,
    /// The program and its arguments.
    pub(crate) command: Vec<OsString>,
    /// The names that hold in the private network.
    pub(crate) names: Names,
    /// Takes the line where there can be no socket.
    pub(crate) told: Warnings,
}

impl Plan {
    /// Listens, on the present `LocalSet`. Where there is no place for a socket that only this user can use, the run
    /// goes on without.
    pub(crate) fn start(self, net: &Net, collector: Rc<RefCell<Collector>>) -> Option<Control> {
        let command = self.command.into_iter().take(ARGUMENTS).map(shown).collect();
        let about = About { command, began: Instant::now() };
        let sources = Sources::new(net.clone(), collector, self.sockets, self.names);
        listen()
            .map(|(directory, listener)| {
                let task = tokio::task::spawn_local(server::serve(listener, about, sources));
                Control { directory, task }
            })
            .inspect_err(|error| self.told.add(format!("`finack ss` can't see this run: {error}")))
            .ok()
    }
}

fn listen() -> io::Result<(Directory, UnixListener)> {
    let directory = Directory::create()?;
    directory.sweep();
    let pid = std::process::id();
    directory.remove_if_refused(pid);
    let listener = UnixListener::bind(directory.address(pid))
        .map_err(|error| io::Error::other(format!("{}: {error}", directory.path().display())))?;
    directory.close_to_others(pid)?;
    Ok((directory, listener))
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        self.directory.remove(std::process::id());
    }
}

fn shown(argument: OsString) -> String {
    let mut text = argument.to_string_lossy().into_owned();
    if text.len() > ARGUMENT {
        let end = (0..=ARGUMENT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
