//! `finack run` and the other rootless back-ends: unmodified programs in a private network, and their servers on the
//! host's loopback. All carry the same bytes to the same servers.

pub mod bare;
mod servers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::inside::ALL;
use crate::measure::{Comparison, Options, Pace, Subject, compare};
use servers::Servers;

/// A program and its arguments, for the host's address.
type Words<'a> = Box<dyn Fn(&str) -> Vec<String> + 'a>;

/// One line of the table.
struct Case<'a> {
    name: &'a str,
    unit: &'static str,
    words: Words<'a>,
    /// The figure, out of what the program wrote.
    figure: fn(&str) -> Option<f64>,
}

/// All lines; each subject that is not there is named with the way to get it.
pub fn all(options: &Options) -> Vec<Comparison> {
    lines(options, cases)
}

/// The lines of datagrams alone.
pub fn datagrams(options: &Options) -> Vec<Comparison> {
    lines(options, |servers, _, seconds, _| datagram_cases(servers, seconds))
}

fn lines(
    options: &Options,
    cases: impl for<'a> FnOnce(&'a Servers, u64, u32, &'a Path) -> Vec<Case<'a>>,
) -> Vec<Comparison> {
    let quick = options.quick;
    let bytes: u64 = if quick { 256 << 20 } else { 1 << 30 };
    let seconds = if quick { 1 } else { 2 };
    let source = std::env::temp_dir().join(format!("finack-bench-{}", std::process::id()));
    let servers = std::fs::File::create(&source)
        .and_then(|file| file.set_len(bytes))
        .and_then(|()| Servers::start(&source));
    let servers = match servers {
        Ok(servers) => servers,
        Err(error) => {
            eprintln!("the servers cannot be started: {error}");
            return Vec::new();
        }
    };
    let pace = Pace { rounds: if quick { 3 } else { 5 }, slice: Duration::ZERO };
    let cases = cases(&servers, bytes, seconds, &source);
    let wanted = cases.iter().filter(|case| options.wants(case.name));
    let lines = wanted.map(|case| line(case, pace)).collect();
    if let Err(error) = std::fs::remove_file(&source) {
        eprintln!("{} stays behind: {error}", source.display());
    }
    lines
}

fn line(case: &Case<'_>, pace: Pace) -> Comparison {
    let mut subjects = Vec::new();
    let mut missing = Vec::new();
    for backend in ALL {
        let run = move |case: &Case<'_>| (case.figure)(&backend.output(&case.words)?);
        match run(case) {
            Some(_) => subjects
                .push(Subject::new(backend.name(), backend.role(), move |_| run(case).unwrap_or(f64::NAN))),
            None => missing.push(format!(
                "{}: gave no figure here (it stalled, or is not installed: {})",
                backend.name(),
                backend.needs()
            )),
        }
    }
    let mut line = compare(case.name, case.unit, true, pace, subjects);
    line.missing = missing;
    line.print();
    line
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|&word| word.to_owned()).collect()
}

fn cases<'a>(servers: &'a Servers, bytes: u64, seconds: u32, source: &'a Path) -> Vec<Case<'a>> {
    let (http, nginx, iperf) = (servers.http, servers.nginx, servers.iperf);
    let curl = move |more: &[&str], host: &str, path: String| {
        let mut all = words(&["curl", "-s", "--connect-timeout", "5", "-o", "/dev/null"]);
        all.extend(words(more));
        all.push(format!("http://{host}:{http}/{path}"));
        all
    };
    let upload = source.display().to_string();
    let iperf = move |more: &'static [&str]| {
        Box::new(move |host: &str| {
            let (port, time) = (iperf.to_string(), seconds.to_string());
            let mut all = words(&["iperf3", "-J", "-c", host, "-p", &port, "-t", &time]);
            all.extend(words(more));
            all
        })
    };
    let wrk = move |more: &'static [&str]| {
        Box::new(move |host: &str| {
            let time = format!("{seconds}s");
            let mut all = words(&["wrk", "-t", "1", "-c", "16", "-d", &time]);
            all.extend(words(more));
            all.push(format!("http://{host}:{nginx}/"));
            all
        })
    };
    let client = move |what: &'static str, port: u16| {
        Box::new(move |host: &str| {
            let client = this_program().display().to_string();
            words(&[&client, crate::client::NAME, what, &format!("{host}:{port}"), &seconds.to_string()])
        })
    };
    let case = |name, unit, words, figure| Case { name, unit, words, figure };
    vec![
        case(
            "curl down",
            "Gb/s",
            Box::new(move |host: &str| {
                curl(&["-w", "%{http_code} %{speed_download}"], host, format!("bytes/{bytes}"))
            }),
            speed,
        ),
        case(
            "curl up",
            "Gb/s",
            Box::new(move |host: &str| {
                // The server need not be asked whether it wants them.
                let up = ["-w", "%{http_code} %{speed_upload}", "-T", &upload, "-H", "Expect:"];
                curl(&up, host, "upload".into())
            }),
            speed,
        ),
        case("iperf3 up, 1 stream", "Gb/s", iperf(&[]), iperf_speed),
        case("iperf3 up, 8 streams", "Gb/s", iperf(&["-P", "8"]), iperf_speed),
        case("iperf3 down, 1 stream", "Gb/s", iperf(&["-R"]), iperf_speed),
        case("iperf3 down, 8 streams", "Gb/s", iperf(&["-R", "-P", "8"]), iperf_speed),
        case("wrk, kept alive", "requests/s", wrk(&[]), requests),
        case("wrk, a connection a request", "requests/s", wrk(&["-H", "Connection: close"]), requests),
        case("connections, one after another", "1/s", client("connect", servers.closing), number),
        case("round trips of a byte", "1/s", client("echo", servers.echo), number),
        case(
            "UDP there and back, 1400 B, 32 on their way",
            "Mb/s",
            client("udp", servers.datagrams),
            megabits,
        ),
    ]
}

/// Where a call stands for many datagrams it does so on both sides, the program's and the server's.
fn datagram_cases(servers: &Servers, seconds: u32) -> Vec<Case<'_>> {
    let case = |name, what: &'static str, port: u16| {
        let words = move |host: &str| {
            let client = this_program().display().to_string();
            words(&[&client, crate::client::NAME, what, &format!("{host}:{port}"), &seconds.to_string()])
        };
        Case { name, unit: "Mb/s", words: Box::new(words), figure: megabits }
    };
    let (single, coalesced) = (servers.single, servers.coalesced);
    vec![
        case("UDP through run, up, 1400 B, GSO and GRO", "udp-send", coalesced.sink),
        case("UDP through run, up, 1400 B, a call each", "udp-send-single", single.sink),
        case("UDP through run, down, 1400 B, GSO and GRO", "udp-receive", coalesced.source),
        case("UDP through run, down, 1400 B, a call each", "udp-receive-single", single.source),
    ]
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "finack-bench".into())
}

/// Gb/s from what `curl` wrote, if all went well.
fn speed(said: &str) -> Option<f64> {
    let (code, bytes) = said.trim().split_once(' ')?;
    let bytes: f64 = bytes.parse().ok()?;
    (code == "200" && bytes > 0.0).then_some(bytes * 8.0 / 1e9)
}

/// Gb/s that the receiver counted.
fn iperf_speed(said: &str) -> Option<f64> {
    let said: serde_json::Value = serde_json::from_str(said).ok()?;
    let bits = said.pointer("/end/sum_received/bits_per_second")?.as_f64()?;
    (bits > 0.0).then_some(bits / 1e9)
}

/// Requests a second, if none failed.
fn requests(said: &str) -> Option<f64> {
    if said.contains("Socket errors") || said.contains("Non-2xx") {
        return None;
    }
    said.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?.trim().parse().ok()
}

fn number(said: &str) -> Option<f64> {
    said.trim().parse().ok().filter(|n| *n > 0.0)
}

fn megabits(said: &str) -> Option<f64> {
    number(said).map(|bits| bits / 1e6)
}
