//! `finack check`: which ways to make a private network work on this machine.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let report = finack_run::check::check();
    let text = if args.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => text,
            Err(error) => return output::fail(1, &format!("the report can't be written as JSON: {error}")),
        }
    } else {
        report.to_string()
    };
    let written = output::finish(writeln!(io::stdout(), "{text}"));
    if report.device_path().is_some() { written } else { ExitCode::FAILURE }
}
