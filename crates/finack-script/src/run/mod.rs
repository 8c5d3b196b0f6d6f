//! Scripts run against a [`Target`] in its own time.
//!
//! [`drill`] is the whole of it for finack's own stack: read, check, run, judge.

use std::path::Path;
use std::sync::Arc;

use finack_core::settings::Settings;

mod calls;
mod carried;
mod check;
pub mod compare;
pub mod config;
mod events;
pub mod finack;
mod flow;
pub mod helpers;
mod icmp;
pub mod machine;
mod packets;
mod proc;
mod python;
pub mod report;
mod runner;
pub mod shell;
mod sign;
pub mod target;
#[cfg(test)]
mod tests;
mod values;

use crate::ast::Script;
use crate::parse::{Defines, parse};
use config::{Config, OptionError};
pub use finack::{FinackTarget, stamp};
use helpers::Helpers;
pub use report::{Failure, Report, Verdict};
pub use target::Target;

/// What scripts are run with besides what they say themselves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Options as the script's own lines set them.
    pub config: Config,
    /// Symbols.
    pub defines: Defines,
    /// Settings of the stack before the script's own commands.
    pub settings: Settings,
    /// What runs commands that can't be understood; without it they are named, and the script is not run.
    pub helpers: Option<Arc<dyn Helpers>>,
}

/// Runs a script against finack's stack. `directory` is where it lies: helpers that it calls are looked for there.
pub fn drill(text: &str, directory: &Path, options: &Options) -> Report {
    let script = match parse(text, &options.defines) {
        Ok(script) => script,
        Err(error) => {
            let what = format!("expected {}, found {}", error.expected, error.found);
            return Report::not_begun(Verdict::Malformed(error.pos, what));
        }
    };
    let config = match configure(&script, &options.config) {
        Ok(config) => config,
        Err(report) => return report,
    };
    let mut target = FinackTarget::new(&config, options.settings.clone());
    run_with(&script, &config, directory, options.helpers.as_deref(), &mut target)
}

/// A script's configuration: its own lines over those of `base`.
///
/// # Errors
/// A line that makes no sense, or asks for what finack has not.
pub fn configure(script: &Script, base: &Config) -> Result<Config, Report> {
    Config::with(base, &script.options).map_err(|(line, error)| {
        Report::not_begun(match error {
            OptionError::Bad(why) => Verdict::Malformed(line.pos, format!("--{}: {why}", line.name)),
            OptionError::Unsupported(what) => {
                Verdict::NotRun(format!("line {}: the option {what} is not supported", line.pos.line))
            }
        })
    })
}

/// Runs a script that was read, against any target; of its commands only those that are understood.
pub fn run(script: &Script, config: &Config, directory: &Path, target: &mut dyn Target) -> Report {
    run_with(script, config, directory, None, target)
}

/// Runs a script that was read, against any target, and what is not understood of its commands by `helpers`.
pub fn run_with(
    script: &Script,
    config: &Config,
    directory: &Path,
    helpers: Option<&dyn Helpers>,
    target: &mut dyn Target,
) -> Report {
    if config.dry_run {
        return Report { events: script.events.len(), ..Report::not_begun(Verdict::Passed) };
    }
    if let Err(verdict) = check::check(script, config) {
        return Report::not_begun(verdict).in_one_line();
    }
    runner::Runner::new(config, directory, helpers, target).run(script).in_one_line()
}
