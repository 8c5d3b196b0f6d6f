//! Shell commands that are run, because they can't be understood: programs that a script brings along.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

/// A file that one command leaves for the next, below `/tmp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What it holds.
    pub contents: Vec<u8>,
    /// Whether it can be run.
    pub executable: bool,
}

/// A command that is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// What stands between the backquotes.
    pub command: String,
    /// Where the script lies.
    pub directory: PathBuf,
    /// What the sysctls are, by their dotted names.
    pub sysctls: Vec<(String, String)>,
    /// What the files below `/proc` hold that tell of the stack: `net/tcp`, `net/snmp`, `net/netstat`.
    pub proc: Vec<(String, String)>,
    /// Files that commands before it left, by their whole names.
    pub files: BTreeMap<String, Kept>,
}

/// What a command did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Its exit status.
    pub status: i32,
    /// The last of what it said.
    pub said: String,
    /// Sysctls that it set, by their dotted names.
    pub sysctls: Vec<(String, String)>,
    /// Other programs of the system that it called, each with its arguments: `ip`, `tc`, `ethtool`.
    pub calls: Vec<Vec<String>>,
    /// Files below `/tmp` when it had ended.
    pub files: BTreeMap<String, Kept>,
}

/// Runs commands where they can do no harm, and takes down what they ask of the system.
pub trait Helpers: Debug + Send + Sync {
    /// Runs one.
    ///
    /// # Errors
    /// In one line, why it could not be run, or was stopped.
    fn run(&self, order: &Order) -> Result<Done, String>;
}
