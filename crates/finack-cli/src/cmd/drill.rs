//! `finack drill`: packet scripts against finack's stack, in virtual time.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use finack_script::ast::{OptionLine, Pos};
use finack_script::run::config::{Config, IpVersion, OptionError};
use finack_script::run::{self, Options, Report, Verdict};

use super::sandbox::Sandbox;
use crate::output;

mod kernel;
mod show;

use kernel::{Progress, Witness};

/// Most scripts of one call.
const MOST_SCRIPTS: usize = 100_000;

/// How deep directories are searched.
const MOST_DEPTH: u32 = 16;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scripts, or directories that are searched for *.pkt
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// IPv4, IPv6 or IPv4 over IPv6 sockets, for scripts that do not say; several run each script several times
    #[arg(long, value_delimiter = ',', default_value = "ipv4", value_name = "ipv4|ipv6|ipv4-mapped-ipv6")]
    ip_version: Vec<Version>,
    /// A symbol that scripts use, as --define=NAME=VALUE in the script itself
    #[arg(short = 'D', long, value_name = "NAME=VALUE")]
    define: Vec<String>,
    /// An option of the language, as a script's own --NAME=VALUE line sets it: mtu=1520, tolerance_usecs=10000
    #[arg(short, long, value_name = "NAME=VALUE")]
    option: Vec<String>,
    /// A setting of the stack before the script's own; `finack sysctl` lists them
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// Fail where the stack sends anything that the script does not mention, behind its last packet too
    #[arg(long)]
    strict: bool,
    /// Only read the scripts
    #[arg(long)]
    dry_run: bool,
    /// Run them against this machine's Linux kernel, in real time: as root, or where user namespaces are allowed
    #[arg(long)]
    kernel: bool,
    /// With --kernel: scripts that take longer are passed over
    #[arg(long, value_name = "SECONDS", default_value_t = 20, requires = "kernel")]
    longest: u64,
    /// One JSON object a script, and one for the whole
    #[arg(long, conflicts_with_all = ["tap", "junit"])]
    json: bool,
    /// As the Test Anything Protocol, version 14
    #[arg(long, conflicts_with = "junit")]
    tap: bool,
    /// As JUnit's XML
    #[arg(long)]
    junit: bool,
    /// Scripts run at the same time; as many as there are processors by default, 4 with --kernel
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    /// Only what failed
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Version {
    Ipv4,
    Ipv6,
    #[value(name = "ipv4-mapped-ipv6")]
    Mapped,
}

impl Version {
    fn ip(self) -> IpVersion {
        match self {
            Self::Ipv4 => IpVersion::V4,
            Self::Ipv6 => IpVersion::V6,
            Self::Mapped => IpVersion::Mapped,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Mapped => "ipv4-mapped-ipv6",
        }
    }
}

/// One script, run once.
struct Run {
    path: PathBuf,
    /// Where each script is run several times.
    version: Option<&'static str>,
    report: Report,
    standing: Standing,
    took: Duration,
}

/// What a run's report means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// What it says.
    Judged,
    /// The kernel differs, as the script says that it does.
    Differs(String),
    /// It was not run, and need not be: why.
    Skipped(String),
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let options = match options(args) {
        Ok(options) => options,
        Err(message) => return output::fail(2, &message),
    };
    let scripts = match find(&args.paths) {
        Ok(scripts) => scripts,
        Err(message) => return output::fail(2, &message),
    };
    let witness = match witness(args) {
        Ok(witness) => witness,
        Err(message) => return output::fail(2, &message),
    };
    let begun = Instant::now();
    let runs = run_all(&scripts, &options, args.jobs, witness.as_ref());
    let took = begun.elapsed();
    let status = runs.iter().map(|run| run.report.status()).max().unwrap_or(0);
    // A script that failed weighs more than one that was not run.
    let status = if runs.iter().any(|run| run.report.status() == 1) { 1 } else { status };
    let text = if args.json {
        show::json(&runs, took)
    } else if args.tap {
        show::tap(&runs)
    } else if args.junit {
        show::junit(&runs, took)
    } else {
        show::text(&runs, took, args.quiet)
    };
    if let Err(error) = io::stdout().write_all(text.as_bytes())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return output::fail(2, &format!("writing to stdout: {error}"));
    }
    ExitCode::from(status)
}

/// The scripts named, those in directories sorted by name.
fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut scripts = Vec::new();
    for path in paths {
        let before = scripts.len();
        collect(path, 0, true, &mut scripts).map_err(|e| format!("{}: {e}", path.display()))?;
        if scripts.len() == before {
            return Err(format!("{}: no script (*.pkt) in it", path.display()));
        }
    }
    Ok(scripts)
}

fn collect(path: &Path, depth: u32, named: bool, out: &mut Vec<PathBuf>) -> io::Result<()> {
    let is_script = path.extension().is_some_and(|e| e == "pkt");
    if !fs::metadata(path)?.is_dir() {
        if named || is_script {
            out.push(path.to_owned());
        }
        return Ok(());
    }
    if depth > MOST_DEPTH || out.len() > MOST_SCRIPTS {
        return Err(io::Error::other("too many scripts, or directories inside each other"));
    }
    let mut entries = fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    entries.iter().try_for_each(|entry| collect(entry, depth + 1, false, out))
}

fn sysctl(pair: &str) -> Result<(&str, &str), String> {
    pair.split_once('=').ok_or(format!("--sysctl: '{pair}' is not NAME=VALUE"))
}

/// With `--kernel`, the kernel.
fn witness(args: &Args) -> Result<Option<Witness>, String> {
    if !args.kernel {
        return Ok(None);
    }
    let owned = |pair: &String| sysctl(pair).map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sysctls = args.sysctl.iter().map(owned).collect::<Result<_, _>>()?;
    finack_witness::prepare()?;
    let longest = Duration::from_secs(args.longest);
    Ok(Some(Witness { longest, sysctls, tcp_ao: finack_witness::has_tcp_ao() }))
}

/// What the scripts are run with, one for each version.
fn options(args: &Args) -> Result<Vec<(Option<&'static str>, Options)>, String> {
    let mut options = Options { helpers: Some(Arc::new(Sandbox)), ..Options::default() };
    for pair in &args.define {
        options.defines.set_pair(pair).map_err(|e| format!("--define: {e}"))?;
    }
    for pair in &args.sysctl {
        let (name, value) = sysctl(pair)?;
        // The kernel has others.
        if !args.kernel {
            options.settings.set(name, value).map_err(|e| format!("--sysctl: {e}"))?;
        }
    }
    let several = args.ip_version.len() > 1;
    let lines: Vec<OptionLine> = args.option.iter().map(|pair| line(pair)).collect();
    let of = |version: &Version| {
        let mut options = options.clone();
        let base = Config { dry_run: args.dry_run, nothing_left: args.strict, ..Config::new(version.ip()) };
        options.config = Config::with(&base, &lines).map_err(|(line, error)| {
            let why = match error {
                OptionError::Bad(why) => why,
                OptionError::Unsupported(_) => "there is no such option".into(),
            };
            format!("--option: {}: {why}", line.name)
        })?;
        Ok((several.then_some(version.name()), options))
    };
    args.ip_version.iter().map(of).collect()
}

/// `NAME=VALUE` or `NAME`, as a script would have it after two dashes.
fn line(pair: &str) -> OptionLine {
    let (name, value) = match pair.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (pair, None),
    };
    OptionLine { pos: Pos::default(), name: name.trim_start_matches("--").into(), value }
}

/// Runs everything, several at a time; the order is that of the scripts.
fn run_all(
    scripts: &[PathBuf],
    options: &[(Option<&'static str>, Options)],
    jobs: Option<usize>,
    witness: Option<&Witness>,
) -> Vec<Run> {
    let total = scripts.len() * options.len();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Before the kernel they mostly wait.
    let usual = if witness.is_some() { 4 } else { cores };
    let workers = jobs.unwrap_or(usual).clamp(1, 256).min(total.max(1));
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(total));
    let progress = Progress::new(total);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(script) = scripts.get(i / options.len()) else { return };
                    let (version, options) = &options[i % options.len()];
                    let run = run_one(script, *version, options, witness);
                    if witness.is_some() {
                        progress.one_more(run.report.status());
                    }
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((i, run));
                }
            });
        }
    });
    let mut runs = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    runs.sort_by_key(|(i, _)| *i);
    runs.into_iter().map(|(_, run)| run).collect()
}

fn run_one(path: &Path, version: Option<&'static str>, options: &Options, witness: Option<&Witness>) -> Run {
    let begun = Instant::now();
    let directory = path.parent().unwrap_or(Path::new(""));
    let (report, standing) = match (fs::read(path).map(String::from_utf8), witness) {
        (Ok(Ok(text)), Some(witness)) => witness.drill(&text, directory, options),
        (Ok(Ok(text)), None) => (run::drill(&text, directory, options), Standing::Judged),
        (Ok(Err(_)), _) => (not_run("it is not text in UTF-8".into()), Standing::Judged),
        (Err(error), _) => (not_run(error.to_string()), Standing::Judged),
    };
    Run { path: path.to_owned(), version, report, standing, took: begun.elapsed() }
}

fn not_run(why: String) -> Report {
    Report { verdict: Verdict::NotRun(why), notes: Vec::new(), events: 0, lasted: 0 }
}
