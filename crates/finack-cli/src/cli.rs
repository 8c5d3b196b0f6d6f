//! The command line as a whole: what can be said, not what is done.

use clap::{Parser, Subcommand};

use crate::cmd;

/// Carries the connections of an unmodified program over a TCP of its own, and tells how each of them opened, carried
/// and closed.
#[derive(Debug, Parser)]
#[command(name = "finack", version, propagate_version = true, arg_required_else_help = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program in a private network carried by finack
    Run(cmd::run::Args),
    /// The same with a built-in client: needs no other program
    Demo(cmd::demo::Args),
    /// Tell which ways to make a private network work on this machine
    Check(cmd::check::Args),
    /// List the connections of running `finack run`s, in the columns of ss(8)
    Ss(cmd::ss::Args),
    /// List the settings that `run --sysctl NAME=VALUE` takes
    Sysctl(cmd::sysctl::Args),
    /// List the services in the private network, those that misbehave on purpose among them
    Services(cmd::services::Args),
    /// Run packetdrill scripts against finack's stack, in virtual time
    Drill(cmd::drill::Args),
    /// Print completions for a shell
    Completions(cmd::completions::Args),
    /// Print the manual page (troff)
    Man,
    /// What runs the commands of scripts for `drill`
    #[command(hide = true)]
    DrillHelper(cmd::sandbox::Args),
    /// What `demo` runs
    #[command(hide = true)]
    DemoClient,
}
