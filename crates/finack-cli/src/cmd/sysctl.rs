//! `finack sysctl`: what can be set, under Linux's names.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use finack_core::settings::Settings;

use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only settings whose name contains this
    filter: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let filter = args.filter.as_deref().unwrap_or("");
    let text = if args.json { json(filter) } else { text(filter) };
    if text.is_empty() {
        return output::fail(
            1,
            &format!("no setting's name contains '{filter}': `finack sysctl` lists them all"),
        );
    }
    output::finish(io::stdout().write_all(text.as_bytes()))
}

fn text(filter: &str) -> String {
    let defaults = finack_run::settings();
    let mut out = String::new();
    for word in Settings::WORDS.iter().filter(|w| w.name.contains(filter)) {
        let choices = word.choices.join(" or ");
        let choices = if choices.is_empty() { choices } else { format!(" ({choices})") };
        let _ = writeln!(out, "{} = {}\n    {}{choices}", word.name, word.default, word.meaning);
    }
    for setting in Settings::ALL.iter().filter(|s| s.name.contains(filter)) {
        let default = defaults.get(setting.name).unwrap_or_default();
        let unit = if setting.unit.is_empty() { String::new() } else { format!(" {}", setting.unit) };
        let (name, min, max, meaning) = (setting.name, setting.min, setting.max, setting.meaning);
        let _ = writeln!(out, "{name} = {default}\n    {meaning} ({min} to {max}{unit})");
    }
    out
}

fn json(filter: &str) -> String {
    let defaults = finack_run::settings();
    let mut settings = Vec::new();
    settings.extend(Settings::WORDS.iter().filter(|w| w.name.contains(filter)).map(|w| {
        serde_json::json!({
            "name": w.name, "default": w.default, "values": w.choices, "meaning": w.meaning,
        })
    }));
    settings.extend(Settings::ALL.iter().filter(|s| s.name.contains(filter)).map(|s| {
        serde_json::json!({
            "name": s.name, "default": defaults.get(s.name), "min": s.min, "max": s.max,
            "unit": s.unit, "meaning": s.meaning,
        })
    }));
    if settings.is_empty() { String::new() } else { format!("{:#}\n", serde_json::Value::Array(settings)) }
}
