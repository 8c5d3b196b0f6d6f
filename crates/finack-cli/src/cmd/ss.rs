//! `finack ss`: the connections of running `finack run`s, in `ss`'s columns.

mod filter;
mod processes;
mod summary;
mod table;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use finack_run::control::protocol::{Answer, End, Protocol, Run, Show, Socket, Sockets, Summary};
use finack_run::control::{Found, FoundRun};

use crate::output;
use filter::Filter;
use table::{Look, Table};

#[derive(Debug, clap::Args)]
#[command(after_help = "FILTER is that of ss(8): [state STATE | exclude STATE]... [EXPRESSION], such as\n\
    \x20 finack ss -o state close-wait\n\
    \x20 finack ss dst hello.finack and dport = :80\n\n\
    A socket is shown as the program's own kernel has it. With -i the line that begins with 'finack:' shows \
    the same connection at its other end. 'for:' is the time in the present state.")]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Which sockets, in the language of ss(8)
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of ss")]
struct Options {
    /// TCP sockets
    #[arg(short, long)]
    tcp: bool,
    /// UDP sockets
    #[arg(short, long)]
    udp: bool,
    /// Sockets in every state
    #[arg(short, long)]
    all: bool,
    /// Only listening sockets
    #[arg(short, long)]
    listening: bool,
    /// Addresses instead of names
    #[arg(short, long)]
    numeric: bool,
    /// The timer that runs, and the time in the present state
    #[arg(short, long)]
    options: bool,
    /// Round trips, windows and counts, of both ends
    #[arg(short, long)]
    info: bool,
    /// Memory of the socket
    #[arg(short, long)]
    memory: bool,
    /// User, inode and cookie
    #[arg(short, long)]
    extended: bool,
    /// Which processes have the socket, and which run it belongs to
    #[arg(short, long)]
    processes: bool,
    /// Numbers by state, with advice where one is suspicious
    #[arg(short, long)]
    summary: bool,
    /// Only IPv4
    #[arg(short = '4', long)]
    ipv4: bool,
    /// Only IPv6
    #[arg(short = '6', long)]
    ipv6: bool,
    /// No line of headings
    #[arg(short = 'H', long)]
    no_header: bool,
    /// All of a socket on one line
    #[arg(short = 'O', long)]
    oneline: bool,
    /// The sockets of finack's own stack instead of the program's
    #[arg(long)]
    finack: bool,
    /// Only this run: its process, or the name of its program
    #[arg(long, value_name = "PID|PROGRAM")]
    run: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let options = &args.options;
    let filter = match Filter::new(&args.filter, options.all, options.listening) {
        Ok(filter) => filter,
        Err(what) => return output::fail(2, &format!("filter: {what}")),
    };
    let found = finack_run::control::find();
    found.silent.iter().for_each(|line| output::say(&table::plain(line)));
    let runs: Vec<&FoundRun> = found.runs().iter().filter(|found| options.names(&found.run)).collect();
    if runs.is_empty() {
        return none(options, &found);
    }
    let all_answered = found.silent.is_empty() || options.run.is_some();
    let mut out = BufWriter::new(io::stdout().lock());
    let result = if options.summary {
        summaries(options, &runs, &mut out)
    } else {
        sockets(options, filter, &runs, &mut out)
    };
    match result.and_then(|complete| out.flush().map(|()| complete)) {
        Ok(complete) if complete && all_answered => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => output::finish(Err(error)),
    }
}

fn none(options: &Options, found: &Found) -> ExitCode {
    if options.json && options.run.is_none() && found.silent.is_empty() {
        return output::finish(io::stdout().write_all(b"[]\n"));
    }
    match &options.run {
        Some(run) if !found.runs().is_empty() => {
            let there: Vec<String> = found.runs().iter().map(|f| table::title(&f.run)).collect();
            output::fail(1, &format!("no finack run is called {run}; there is {}", there.join(", ")))
        }
        Some(run) => output::fail(1, &format!("no finack run is called {run}; none is running")),
        None if found.silent.is_empty() => {
            output::say("no finack run is running");
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

impl Options {
    /// Whether the run is one of those that are asked for.
    fn names(&self, run: &Run) -> bool {
        let Some(wanted) = &self.run else { return true };
        let program = run.command.first().map_or("", |c| c.rsplit('/').next().unwrap_or(c));
        wanted.parse() == Ok(run.pid) || wanted == program
    }

    fn protocols(&self) -> (bool, bool) {
        if self.tcp || self.udp { (self.tcp, self.udp) } else { (true, true) }
    }

    fn shows_family(&self, socket: &Socket) -> bool {
        let v4 = socket.local.is_ipv4();
        self.ipv4 == self.ipv6 || v4 == self.ipv4
    }
}

/// Asks every run; false where one did not answer to the end.
fn each_run(
    runs: &[&FoundRun],
    show: &Show,
    mut each: impl FnMut(&Run, Answer) -> io::Result<()>,
) -> io::Result<bool> {
    let mut complete = true;
    for found in runs {
        // What goes wrong with the output is told apart from what goes wrong with the run.
        let mut failed = None;
        let asked = found.ask(show.clone(), &mut |answer| {
            each(&found.run, answer).map_err(|error| {
                failed = Some(error);
                io::ErrorKind::Interrupted.into()
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if let Err(error) = asked {
            complete = false;
            output::say(&table::plain(&format!("{}: {error}", table::title(&found.run))));
        }
    }
    Ok(complete)
}

fn sockets(options: &Options, filter: Filter, runs: &[&FoundRun], out: &mut impl Write) -> io::Result<bool> {
    let (tcp, udp) = options.protocols();
    let end = if options.finack { End::Finack } else { End::Program };
    let details = options.info || options.memory || options.json;
    let show = Show::Sockets(Sockets { tcp, udp, end, details });
    let wanted = |socket: &Socket| options.shows_family(socket) && filter.takes(socket);
    if options.json {
        return json(runs, &show, wanted, out);
    }
    let look = Look {
        netid: tcp && udp,
        header: !options.no_header,
        numeric: options.numeric,
        options: options.options,
        info: options.info,
        memory: options.memory,
        extended: options.extended,
        runs: options.processes || runs.len() > 1,
        oneline: options.oneline,
        processes: options.processes.then(processes::by_inode),
    };
    let mut table = Table::new(look);
    let complete = each_run(runs, &show, |run, answer| match answer {
        Answer::Socket(socket) if wanted(&socket) => table.add(run, &socket, out),
        _ => Ok(()),
    })?;
    table.finish(out)?;
    Ok(complete)
}

/// One array, a socket on each line.
fn json(
    runs: &[&FoundRun],
    show: &Show,
    wanted: impl Fn(&Socket) -> bool,
    out: &mut impl Write,
) -> io::Result<bool> {
    let mut separator = "[\n";
    let complete = each_run(runs, show, |run, answer| {
        let Answer::Socket(socket) = answer else { return Ok(()) };
        if !wanted(&socket) {
            return Ok(());
        }
        let mut value = serde_json::to_value(&socket)?;
        value["run"] = run.pid.into();
        write!(out, "{}{value}", std::mem::replace(&mut separator, ",\n"))
    })?;
    out.write_all(if separator == "[\n" { b"[]\n" } else { b"\n]\n" })?;
    Ok(complete)
}

fn summaries(options: &Options, runs: &[&FoundRun], out: &mut impl Write) -> io::Result<bool> {
    let mut all: Vec<(Run, Summary)> = Vec::new();
    let complete = each_run(runs, &Show::Summary, |run, answer| {
        if let Answer::Summary(summary) = answer {
            all.push((run.clone(), summary));
        }
        Ok(())
    })?;
    if options.json {
        let all: Vec<_> =
            all.iter().map(|(run, s)| serde_json::json!({ "run": run, "summary": s })).collect();
        writeln!(out, "{:#}", serde_json::Value::Array(all))?;
        return Ok(complete);
    }
    for (index, (run, summary)) in all.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        write!(out, "{gap}{}", summary::text(run, summary))?;
    }
    Ok(complete)
}

/// The kind of socket, as `ss` calls it.
fn netid(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}
