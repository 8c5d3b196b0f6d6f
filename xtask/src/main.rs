//! Chores of the finack repository.
//!
//! `cargo xtask bench`, `explore` and `fuzz` build what is in `bench/`, a workspace of its own whose dependencies are
//! nobody else's, in release, and run it. `cargo xtask conformance` makes the table of requirements.

mod conformance;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  bench [engine|memory|tun|run|udp|shards|load] [--quick] [--json] [--only TEXT] [--alone] [--bare] [--core N]
        Measures finack beside its peers in alternating runs; the engines where nothing is named. load: servers and
        clients under load, and under attack, in virtual time (docs/load.md; --write puts its tables there).
        --quick takes under a minute (run: eight), --only leaves out cases without TEXT in their name,
        --alone leaves out the peers, --bare (tun, udp) all but the bare loops, --core -1 does not stay on one core.
  bench [--quick] --guard | --write-ratios
        Fails where finack's ratio to a peer in the same run fell by more than a quarter below bench/ratios.toml; the
        second writes that file.
  bench goodput [--quick] [--json] [--only TEXT] [--controllers A,B] [--seed S] [--kernel] ...
        What finack carries over simulated paths that lose, delay and reorder: one flow, many, short ones, beside what the
        RFCs expect; fails where a figure must be better. --kernel: in real time, beside Linux. Both take --help.
  explore [--quick] [--json] [--world NAME] [--list] [--show] [--situations N]
        Explores small worlds of two hosts exhaustively: every interleaving of calls, arrivals, losses, timers; fails on any
        violation, and where what must be found is not. --quick takes under a minute.
  fuzz [--packets N] [--seed S]
        Attacks the engine with hostile packets (10,000,000 by default); fails on any violation.
  swarm [--seconds N] [--seed S] [--seeds COUNT] [--quick] [--json] [--replay CASE]
        Plays random worlds in the simulator, one a seed, and checks every step of each; for a minute where nothing is
        said, 20 seconds with --quick. What breaks a rule is made smaller and printed with the command that replays it.
  conformance [--check]
        Checks docs/conformance/*.toml and writes docs/conformance.md from it; --check writes nothing and fails
        where that is not up to date.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let program = match arguments.next().as_deref() {
        Some("bench") => "finack-bench",
        Some("explore") => "finack-explore",
        Some("fuzz") => "finack-fuzz",
        Some("swarm") => "finack-swarm",
        Some("conformance") => return conformance(arguments),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => return misuse(&format!("unknown command '{other}'")),
        None => return misuse("no command"),
    };
    let mut rest: Vec<String> = arguments.collect();
    let mut program = program;
    if program == "finack-bench" && rest.first().is_some_and(|a| a == "goodput") {
        rest.remove(0);
        program =
            if rest.iter().any(|a| a == "--kernel") { "finack-goodput-kernel" } else { "finack-goodput" };
    }
    if program == "finack-bench" && rest.iter().any(|a| a == "run" || a == "udp") && !build_finack() {
        return ExitCode::FAILURE;
    }
    let manifest = root().join("bench/Cargo.toml");
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "--bin", program, "--manifest-path"]);
    command.arg(manifest).arg("--").args(rest);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    command.env("FINACK", target.join("release/finack"));
    succeed(&mut command)
}

fn conformance(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let check_only = match (arguments.next().as_deref(), arguments.next()) {
        (None, None) => false,
        (Some("--check"), None) => true,
        _ => return misuse("conformance takes '--check' or nothing"),
    };
    match conformance::run(root(), check_only) {
        Ok(counts) => {
            print!("{counts}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            for line in &wrong {
                eprintln!("{line}");
            }
            eprintln!("xtask: {} wrong in the table of requirements", wrong.len());
            ExitCode::FAILURE
        }
    }
}

/// The command that `bench run` and `bench udp` measure.
fn build_finack() -> bool {
    let mut command = cargo();
    command.args(["build", "--release", "--quiet", "--package", "finack-cli"]).current_dir(root());
    succeed(&mut command) == ExitCode::SUCCESS
}

/// The repository's root: `xtask` lies in it.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn misuse(what: &str) -> ExitCode {
    eprint!("xtask: {what}\n{USAGE}");
    ExitCode::from(2)
}

fn succeed(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("xtask: cannot run cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
