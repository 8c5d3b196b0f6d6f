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

const PROFILE: &str = "finack.profile";
const PROFILE_MEANING: &str = "Whose side is taken where Linux and the RFCs differ.";

fn text(filter: &str) -> String {
    let defaults = Settings::default();
    let mut out = String::new();
    if PROFILE.contains(filter) {
        let _ = writeln!(out, "{PROFILE} = linux\n    {PROFILE_MEANING} (linux or rfc)");
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
    let defaults = Settings::default();
    let mut settings = Vec::new();
    if PROFILE.contains(filter) {
        settings.push(serde_json::json!({
            "name": PROFILE, "default": "linux", "values": ["linux", "rfc"], "meaning": PROFILE_MEANING,
        }));
    }
    settings.extend(Settings::ALL.iter().filter(|s| s.name.contains(filter)).map(|s| {
        serde_json::json!({
            "name": s.name, "default": defaults.get(s.name), "min": s.min, "max": s.max,
            "unit": s.unit, "meaning": s.meaning,
        })
    }));
    if settings.is_empty() { String::new() } else { format!("{:#}\n", serde_json::Value::Array(settings)) }
}
