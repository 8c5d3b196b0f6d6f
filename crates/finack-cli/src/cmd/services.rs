//! `finack services`: what answers in the private network, and what can be learnt from it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use finack_run::services::table::{self, SERVICES, Service};

use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this service, with all there is to say: its name with or without `.finack`
    name: Option<String>,
    /// Addresses too
    #[arg(long)]
    addresses: bool,
    /// As JSON
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// As the page docs/services.md
    #[arg(long, hide = true, conflicts_with_all = ["name", "addresses"])]
    markdown: bool,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let chosen: Vec<&Service> = match &args.name {
        None => SERVICES.iter().collect(),
        Some(name) => match table::named(name) {
            Some(service) => vec![service],
            None => {
                return output::fail(
                    1,
                    &format!("there is no service '{name}': `finack services` lists them all"),
                );
            }
        },
    };
    let text = if args.markdown {
        markdown()
    } else if args.json {
        let services: Vec<_> = chosen.into_iter().map(json).collect();
        format!("{:#}\n", serde_json::Value::Array(services))
    } else if args.name.is_some() {
        chosen.into_iter().map(in_full).collect()
    } else {
        chosen.into_iter().map(|s| in_short(s, args.addresses)).collect::<Vec<_>>().join("\n")
    };
    output::finish(io::stdout().write_all(text.as_bytes()))
}

/// The command as it is typed, and how it ends.
fn typed(service: &Service) -> (String, String) {
    let command = format!("finack run -- {}", service.command);
    let program = service.command.split(' ').next().unwrap_or_default();
    (command, format!("{program} ends with status {}", service.exit))
}

fn addresses(service: &Service) -> Option<String> {
    service.host().map(|host| format!("{} and {}", host.v4, host.v6))
}

fn in_short(service: &Service, with_addresses: bool) -> String {
    let mut out = format!("{}  ({})\n", service.name, service.ports);
    let line = |out: &mut String, label: &str, text: &str| {
        let _ = writeln!(out, "    {label:<9}{text}");
    };
    if with_addresses && let Some(addresses) = addresses(service) {
        line(&mut out, "at", &addresses);
    }
    let _ = writeln!(out, "    {}", service.does);
    if !service.teaches.is_empty() {
        line(&mut out, "teaches", service.teaches);
    }
    let (command, status) = typed(service);
    line(&mut out, "try", &format!("{command}   ({status})"));
    out
}

fn in_full(service: &Service) -> String {
    let mut out = format!("{} {}.\n\n", service.name, service.does);
    for line in output::wrapped(service.text, 100) {
        let _ = writeln!(out, "{line}");
    }
    out.push('\n');
    let mut field = |label: &str, text: &str| {
        for (i, line) in output::wrapped(text, 85).into_iter().enumerate() {
            let _ = writeln!(out, "{:<15}{line}", if i == 0 { label } else { "" });
        }
    };
    field("Ports", service.ports);
    field("Addresses", &addresses(service).unwrap_or_default());
    if !service.teaches.is_empty() {
        field("Teaches", service.teaches);
    }
    if let Some(fault) = service.fault {
        field("Programs see", fault.seen_as);
        field("To be changed", fault.advice);
    }
    let (command, status) = typed(service);
    field("Try", &command);
    field("", &status);
    out
}

fn json(service: &Service) -> serde_json::Value {
    let host = service.host();
    serde_json::json!({
        "name": service.name,
        "ipv4": host.map(|h| h.v4),
        "ipv6": host.map(|h| h.v6),
        "ports": service.ports,
        "does": service.does,
        "text": service.text,
        "teaches": service.teaches,
        "command": service.command,
        "exit": service.exit,
        "misbehaves": service.fault.is_some(),
        "seen_as": service.fault.map(|f| f.seen_as),
        "advice": service.fault.map(|f| f.advice),
    })
}

fn markdown() -> String {
    let mut out = "\
# The services of the private network

What `finack run` puts beside the program: services of plain use, and services that do one thing wrong each, so that
anybody can see what their program makes of it. `finack services` lists them, `finack services NAME` says more, and this page
is `finack services --markdown`.

The report of `finack run` says of a connection to a service that misbehaves that it was meant, what the program will have
seen, and who should change what. The exit statuses are those of curl 7.88, and the same with any real server that does so.

At most 512 connections are carried at each address of a service, each for an hour at most; as many are at ports other than
80, over all services that misbehave. Those take any program's connections: a request is what comes until an empty line, a
pause of 300 ms, or the end.
"
    .to_owned();
    for (title, misbehaving) in [("Services of plain use", false), ("Services that misbehave", true)] {
        let _ = writeln!(out, "\n## {title}");
        for service in SERVICES.iter().filter(|s| s.fault.is_some() == misbehaving) {
            section(service, &mut out);
        }
    }
    out
}

fn section(service: &Service, out: &mut String) {
    let _ = writeln!(out, "\n### {}\n", service.name);
    let mut text = service.does.to_owned();
    text[..1].make_ascii_uppercase();
    for line in output::wrapped(&format!("{text}. {}", service.text), 120) {
        let _ = writeln!(out, "{line}");
    }
    let _ = writeln!(out, "\n| | |\n|---|---|");
    let _ = writeln!(out, "| ports | {} |", service.ports);
    if let Some(addresses) = addresses(service) {
        let _ = writeln!(out, "| addresses | {addresses} |");
    }
    if !service.teaches.is_empty() {
        let _ = writeln!(out, "| teaches | {} |", service.teaches);
    }
    if let Some(fault) = service.fault {
        let _ = writeln!(out, "| the program sees | {} |", fault.seen_as);
        let _ = writeln!(out, "| to be changed | {} |", fault.advice);
    }
    let (command, status) = typed(service);
    let _ = writeln!(out, "| try | `{}`: {status} |", command.replace('|', "\\|"));
}
