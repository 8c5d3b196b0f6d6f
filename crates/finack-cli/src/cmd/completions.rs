//! `finack completions`: a script that teaches a shell finack's command line.

use std::io;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    // Into memory first: the generator takes a closed pipe for a reason to panic.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "finack", &mut script);
    crate::output::finish(io::Write::write_all(&mut io::stdout(), &script))
}
