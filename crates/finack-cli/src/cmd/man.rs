//! `finack man`: the manual page, its subcommands' pages after it.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::Cli;

pub(crate) fn main() -> ExitCode {
    crate::output::finish(pages().and_then(|pages| io::stdout().write_all(&pages)))
}

fn pages() -> io::Result<Vec<u8>> {
    let mut pages = Vec::new();
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut pages)?;
    for sub in command.get_subcommands().filter(|s| !s.is_hide_set() && s.get_name() != "help") {
        clap_mangen::Man::new(sub.clone()).render(&mut pages)?;
    }
    Ok(pages)
}
