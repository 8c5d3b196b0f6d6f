//! What the two processes say to each other, as JSON.

use std::path::Path;

use finack_script::run::helpers::{Done, Kept, Order};
use serde::{Deserialize, Serialize};

/// A file that is put there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Copy {
    pub(super) path: String,
    pub(super) contents: Vec<u8>,
    pub(super) executable: bool,
}

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) command: String,
    pub(super) directory: String,
    pub(super) sysctls: Vec<(String, String)>,
    pub(super) proc: Vec<(String, String)>,
    /// Files below `/tmp` that commands before it left.
    pub(super) files: Vec<Copy>,
    /// Copies of the script's directories.
    pub(super) copies: Vec<Copy>,
}

impl Task {
    pub(super) fn new(order: &Order, directory: &Path, copies: Vec<Copy>) -> Self {
        let file = |(path, kept): (&String, &Kept)| Copy {
            path: path.clone(),
            contents: kept.contents.clone(),
            executable: kept.executable,
        };
        Self {
            command: order.command.clone(),
            directory: directory.to_string_lossy().into_owned(),
            sysctls: order.sysctls.clone(),
            proc: order.proc.clone(),
            files: order.files.iter().map(file).collect(),
            copies,
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Done(Report),
    /// Why it was not run, or not to its end.
    Failed(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) status: i32,
    pub(super) said: String,
    pub(super) sysctls: Vec<(String, String)>,
    pub(super) calls: Vec<Vec<String>>,
    pub(super) files: Vec<Copy>,
}

impl From<Report> for Done {
    fn from(report: Report) -> Self {
        let file = |copy: Copy| (copy.path, Kept { contents: copy.contents, executable: copy.executable });
        Self {
            status: report.status,
            said: report.said,
            sysctls: report.sysctls,
            calls: report.calls,
            files: report.files.into_iter().map(file).collect(),
        }
    }
}
