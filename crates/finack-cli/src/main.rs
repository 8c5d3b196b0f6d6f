//! `finack`: carries the connections of an unmodified program over a TCP of its own, and explains them.

mod cli;
mod cmd;
mod output;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage_error(&error),
    };
    match cli.command {
        Command::Run(args) => cmd::run::main(args),
        Command::Demo(args) => cmd::demo::main(args),
        Command::Check(args) => cmd::check::main(&args),
        Command::Ss(args) => cmd::ss::main(&args),
        Command::Sysctl(args) => cmd::sysctl::main(&args),
        Command::Services(args) => cmd::services::main(&args),
        Command::Drill(args) => cmd::drill::main(&args),
        Command::Completions(args) => cmd::completions::main(&args),
        Command::Man => cmd::man::main(),
        Command::DrillHelper(args) => cmd::sandbox::main(&args),
        Command::DemoClient => cmd::demo_client::main(),
    }
}
