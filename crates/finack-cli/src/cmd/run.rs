//! `finack run`: a program in a private network, and the report of its connections.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PathBufValueParser, TypedValueParser};
use finack_core::settings::Settings;
use finack_run::gateway::{HostName, Publish};
use finack_run::namespace::{DevicePath, EXIT_NO_NETWORK};
use finack_run::report::{Limits, Report, json, text};
use finack_run::{PcapConfig, RunConfig, RunError};

use crate::output;

/// Exit status for what goes wrong before the program runs, as `env`, `timeout` and others have it.
pub(crate) const OWN_FAILURE: u8 = EXIT_NO_NETWORK;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// The program to run, and its arguments: all that follows its name is its own
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    #[arg(value_hint = clap::ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

/// What `run` and `demo` take.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How finack gets the program's packets
    #[arg(long, value_enum, default_value_t = DeviceArg::Auto)]
    device: DeviceArg,
    /// Largest packet in the private network, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u16).range(1280..=65520))]
    mtu: u16,
    /// A name by which the program reaches the host's loopback (127.0.0.1 and ::1), such as lo.host (may be repeated)
    #[arg(long, value_name = "NAME")]
    host: Vec<HostName>,
    /// Let the host reach a port of the program's: the host's port first (may be repeated; ADDR is 127.0.0.1 unless given)
    #[arg(long, short, value_name = "[ADDR:]PORT:PORT[/udp]")]
    publish: Vec<Publish>,
    /// No way to the outside, but for what --host and --publish name
    #[arg(long)]
    isolated: bool,
    /// Acknowledge what the program sends only once the other end outside has, so that its SO_LINGER tells the truth
    #[arg(long)]
    strict_ack: bool,
    /// Set finack's side of a Linux setting (may be repeated; `finack sysctl` lists them)
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_sysctl)]
    sysctl: Vec<(String, String)>,
    /// No report on stderr
    #[arg(long, short)]
    quiet: bool,
    /// Write the report to a file instead of stderr
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The report as JSON
    #[arg(long)]
    json: bool,
    /// Write all packets to a file that Wireshark reads (pcapng), with comments that say why one was dropped, sent
    /// again or reset
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(no_stdout))]
    pcap: Option<PathBuf>,
    /// Most bytes of each packet to write there; 0 for all
    #[arg(long, value_name = "BYTES", default_value_t = 0, requires = "pcap")]
    pcap_snaplen: u32,
    /// No ladder diagrams in the report
    #[arg(long)]
    no_ladder: bool,
    /// Only ASCII characters in the report (the default where the locale is C)
    #[arg(long)]
    ascii: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DeviceArg {
    /// TUN where it can be opened, else a veth pair
    Auto,
    /// A TUN device
    Tun,
    /// A veth pair with a packet socket
    Veth,
}

/// Checked one by one here, so that a mistake is told with its flag; applied together later.
fn parse_sysctl(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let (name, value) = (name.trim(), value.trim());
    Settings::default().set(name, value).map_err(|e| e.to_string())?;
    Ok((name.to_owned(), value.to_owned()))
}

fn no_stdout(path: PathBuf) -> Result<PathBuf, &'static str> {
    if path.as_os_str() == "-" {
        return Err("standard output is the program's: name a file, or a FIFO that something reads");
    }
    Ok(path)
}

pub(crate) fn main(args: Args) -> ExitCode {
    let mut command = args.command.into_iter();
    // The parser wants one at least.
    let program = command.next().unwrap_or_default();
    carry(program, command.collect(), &args.options)
}

/// Runs `program`, tells what became of its connections, and ends as it ended.
pub(crate) fn carry(program: OsString, args: Vec<OsString>, options: &Options) -> ExitCode {
    let mut settings = finack_run::settings();
    for (name, value) in &options.sysctl {
        if let Err(error) = settings.set(name, value) {
            return output::fail(2, &format!("--sysctl {name}={value}: {error}"));
        }
    }
    // Opened first: a report that can't be written is better known before the program has run.
    let mut file = match options.report.as_ref().map(File::create).transpose() {
        Ok(file) => file,
        Err(error) => {
            let path = options.report.clone().unwrap_or_default();
            return output::fail(
                OWN_FAILURE,
                &format!("the report can't be written to {}: {error}", path.display()),
            );
        }
    };
    let config = RunConfig {
        program,
        args,
        device: match options.device {
            DeviceArg::Auto => None,
            DeviceArg::Tun => Some(DevicePath::Tun),
            DeviceArg::Veth => Some(DevicePath::Veth),
        },
        mtu: options.mtu,
        settings,
        limits: Limits::default(),
        isolated: options.isolated,
        host_names: options.host.clone(),
        publish: options.publish.clone(),
        strict_ack: options.strict_ack,
        say: if options.quiet { |_| {} } else { output::say },
        pcap: options.pcap.clone().map(|path| PcapConfig { path, snaplen: options.pcap_snaplen }),
    };
    let outcome = match finack_run::run(config) {
        Ok(outcome) => outcome,
        // The text of `finack check`, which has lines of its own.
        Err(RunError::Namespace(error)) => {
            let _ = writeln!(io::stderr(), "{error}");
            return ExitCode::from(EXIT_NO_NETWORK);
        }
        Err(error) => return output::fail(error.exit_code(), &error.to_string()),
    };
    if !options.quiet {
        outcome.warnings.iter().for_each(|warning| output::say(warning));
    }
    if let Err(error) = tell(&outcome.report, options, file.as_mut()) {
        output::say(&format!("the report could not be written: {error}"));
    }
    ExitCode::from(outcome.exit_code())
}

fn tell(report: &Report, options: &Options, file: Option<&mut File>) -> io::Result<()> {
    let look = output::look_of_stderr(!options.no_ladder, options.ascii);
    let rendered =
        if options.json { format!("{:#}\n", json::document(report)) } else { text::render(report, &look) };
    match file {
        Some(file) => anstream::StripStream::new(file).write_all(rendered.as_bytes()),
        None if options.quiet => Ok(()),
        None => anstream::AutoStream::auto(io::stderr()).write_all(rendered.as_bytes()),
    }
}
