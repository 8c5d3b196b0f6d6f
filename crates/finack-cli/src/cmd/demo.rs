//! `finack demo`: `run` with finack's own little client, for machines that have no other.

use std::process::ExitCode;

use super::run::{self, Options};
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
}

pub(crate) fn main(args: Args) -> ExitCode {
    let myself = match std::env::current_exe() {
        Ok(path) => path,
        Err(error) => return output::fail(run::OWN_FAILURE, &format!("where is finack itself? {error}")),
    };
    run::carry(myself.into(), vec!["demo-client".into()], &args.options)
}
