//! Sockets as lines, in the columns of ss(8).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;

use finack_core::tcp::State;
use finack_run::control::Info;
use finack_run::control::protocol::{Protocol, Run, Socket, TimerName};

use super::processes::Holder;

/// Sockets whose columns are lined up together: a list of any length needs no more memory.
const PAGE: usize = 4096;

/// What is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) netid: bool,
    pub(super) header: bool,
    pub(super) numeric: bool,
    pub(super) options: bool,
    pub(super) info: bool,
    pub(super) memory: bool,
    pub(super) extended: bool,
    /// Which run each belongs to.
    pub(super) runs: bool,
    pub(super) oneline: bool,
    /// Where processes are shown: who has which inode.
    pub(super) processes: Option<HashMap<u32, Vec<Holder>>>,
}

/// Columns before the free text.
const COLUMNS: usize = 8;
const HEADINGS: [&str; COLUMNS] =
    ["Netid", "State", "Recv-Q", "Send-Q", "Local Address:", "Port", "Peer Address:", "Port"];
/// Addresses end at their colon.
const RIGHT: [bool; COLUMNS] = [false, false, false, false, true, false, true, false];

struct Row {
    columns: [String; COLUMNS],
    rest: String,
}

/// A table that is written a page at a time.
pub(super) struct Table {
    look: Look,
    rows: Vec<Row>,
    widths: [usize; COLUMNS],
}

impl Table {
    pub(super) fn new(look: Look) -> Self {
        let mut rows = Vec::new();
        if look.header {
            let rest = if look.runs { "Process".to_owned() } else { String::new() };
            rows.push(Row { columns: HEADINGS.map(str::to_owned), rest });
        }
        Self { look, rows, widths: [0; COLUMNS] }
    }

    pub(super) fn add(&mut self, run: &Run, socket: &Socket, out: &mut impl Write) -> io::Result<()> {
        self.rows.push(self.look.row(run, socket));
        if self.rows.len() >= PAGE { self.flush(out) } else { Ok(()) }
    }

    pub(super) fn finish(mut self, out: &mut impl Write) -> io::Result<()> {
        self.flush(out)
    }

    fn flush(&mut self, out: &mut impl Write) -> io::Result<()> {
        for row in &self.rows {
            for (width, text) in self.widths.iter_mut().zip(&row.columns) {
                *width = (*width).max(text.chars().count());
            }
        }
        for row in self.rows.drain(..) {
            let mut line = String::new();
            for (index, text) in row.columns.iter().enumerate().skip(usize::from(!self.look.netid)) {
                let width = self.widths[index];
                let _ = if RIGHT[index] {
                    write!(line, "{text:>width$}")
                } else {
                    write!(line, "{text:<width$} ")
                };
            }
            if row.rest.starts_with('\n') {
                line.truncate(line.trim_end().len());
            }
            line.push_str(&row.rest);
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Look {
    fn row(&self, run: &Run, s: &Socket) -> Row {
        let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let (local, local_port) = self.end(Some(s.local), None);
        let (peer, peer_port) = self.end(s.peer, s.peer_name.as_deref());
        Row {
            columns: [
                super::netid(s.protocol).to_owned(),
                state_name(s).to_owned(),
                number(s.recv_q),
                number(s.send_q),
                local,
                local_port,
                peer,
                peer_port,
            ],
            rest: self.rest(run, s),
        }
    }

    /// Address with its colon, and port.
    fn end(&self, end: Option<SocketAddr>, name: Option<&str>) -> (String, String) {
        let Some(end) = end else { return ("*:".to_owned(), "*".to_owned()) };
        let port = if end.port() == 0 { "*".to_owned() } else { end.port().to_string() };
        let address = match name.filter(|_| !self.numeric) {
            Some(name) => plain(name),
            None if end.is_ipv6() => format!("[{}]", end.ip()),
            None => end.ip().to_string(),
        };
        (format!("{address}:"), port)
    }

    fn rest(&self, run: &Run, s: &Socket) -> String {
        let mut words = Vec::new();
        words.extend(self.users(s));
        if self.runs {
            let program = run.command.first().map_or("", String::as_str);
            words.push(format!("run:(\"{}\",pid={})", plain(program), run.pid));
        }
        words.extend(self.state_words(s));
        if self.extended {
            words.extend(s.uid.map(|uid| format!("uid:{uid}")));
            words.extend(s.inode.map(|inode| format!("ino:{inode}")));
            words.extend(s.cookie.map(|cookie| format!("sk:{cookie:x}")));
        }
        let mut text = words.join(" ");
        let gap = if self.oneline { " " } else { "\n\t " };
        let mut more = self.details(s);
        if self.info
            && let Some(other) = &s.other
        {
            more.push(self.other_end(other, self.numeric));
        }
        for line in more.iter().filter(|line| !line.is_empty()) {
            text.push_str(gap);
            text.push_str(line);
        }
        text
    }

    fn users(&self, s: &Socket) -> Option<String> {
        let holders = self.processes.as_ref()?.get(&s.inode?)?;
        let one = |h: &Holder| format!("(\"{}\",pid={},fd={})", plain(&h.name), h.pid, h.fd);
        Some(format!("users:({})", holders.iter().map(one).collect::<Vec<_>>().join(",")))
    }

    /// Timer, time in state and what is special about it.
    fn state_words(&self, s: &Socket) -> Vec<String> {
        let mut words = Vec::new();
        if self.options {
            words.extend(s.timer.map(|timer| {
                let name = match timer.name {
                    TimerName::On => "on",
                    TimerName::Keepalive => "keepalive",
                    TimerName::Timewait => "timewait",
                    TimerName::Persist => "persist",
                };
                format!("timer:({name},{},{})", time(timer.remaining), timer.retries)
            }));
            words.extend(s.time_in_state.map(|seconds| format!("for:{}", time(seconds))));
        }
        if self.options || self.info {
            words.extend(s.held.then(|| "undecided".to_owned()));
            words.extend(s.inferred.then(|| "inferred".to_owned()));
        }
        words
    }

    /// Memory and the connection's inner state.
    fn details(&self, s: &Socket) -> Vec<String> {
        let memory = s.memory.filter(|_| self.memory).map(|m| {
            let [r, rb, t, tb, f, w, o, bl, d] = m;
            format!("skmem:(r{r},rb{rb},t{t},tb{tb},f{f},w{w},o{o},bl{bl},d{d})")
        });
        let info = s.info.as_ref().filter(|_| self.info).map(|info| info_words(info, self.numeric).join(" "));
        memory.into_iter().chain(info).collect()
    }

    /// The same connection at the other end of the private network.
    fn other_end(&self, other: &Socket, numeric: bool) -> String {
        let whose = if other.inferred { "program" } else { "finack" };
        let mut words = vec![format!("{whose}: {}", state_name(other))];
        if let (Some(recv), Some(send)) = (other.recv_q, other.send_q) {
            words.push(format!("recv-q:{recv} send-q:{send}"));
        }
        words.extend(Self { options: true, ..self.clone_without_processes() }.state_words(other));
        words.extend(other.info.iter().flat_map(|info| info_words(info, numeric)));
        words.retain(|word| word != "inferred");
        words.join(" ")
    }

    fn clone_without_processes(&self) -> Self {
        Self { info: self.info, ..Self::default() }
    }
}

/// The name that `ss` has for a state.
pub(super) fn state_name(s: &Socket) -> &'static str {
    match s.state.0 {
        State::Established => "ESTAB",
        State::SynReceived => "SYN-RECV",
        State::Closed if s.protocol == Protocol::Udp => "UNCONN",
        other => other.as_str(),
    }
}

/// A run for messages and titles.
pub(super) fn title(run: &Run) -> String {
    let command = plain(&run.command.join(" "));
    format!("run {} ({command})", run.pid)
}

/// Text of somebody else's without what could steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A length of time as `ss -o` has it: `119min`, `1min59sec`, `59sec`, `6.6sec`, `200ms`.
pub(super) fn time(seconds: f64) -> String {
    let millis = (seconds.clamp(0.0, 1e12) * 1000.0).round() as u64;
    let (whole, minutes) = (millis / 1000, millis / 60_000);
    match whole {
        0 => format!("{millis}ms"),
        1..=9 if millis % 1000 >= 100 => format!("{whole}.{}sec", millis % 1000 / 100),
        1..=59 => format!("{whole}sec"),
        60..=539 if whole % 60 > 0 => format!("{minutes}min{:02}sec", whole % 60),
        _ if minutes < 600 => format!("{minutes}min"),
        _ if minutes < 48 * 60 => format!("{}h", minutes / 60),
        _ => format!("{}d", minutes / 1440),
    }
}

/// Bits a second from bytes a second.
fn rate(bytes: f64, numeric: bool) -> String {
    let bits = bytes * 8.0;
    match bits {
        _ if numeric => format!("{bits:.0}bps"),
        1e9.. => format!("{:.1}Gbps", bits / 1e9),
        1e6.. => format!("{:.1}Mbps", bits / 1e6),
        1e3.. => format!("{:.1}Kbps", bits / 1e3),
        _ => format!("{bits:.0}bps"),
    }
}

/// Milliseconds without noise behind the point.
fn millis(seconds: f64) -> String {
    let text = format!("{:.3}", seconds * 1000.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// In the order and by the names of `ss -i`.
fn info_words(i: &Info, numeric: bool) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut flag = |on: bool, word: &str| words.extend(on.then(|| word.to_owned()));
    flag(i.timestamps, "ts");
    flag(i.sack, "sack");
    words.extend(i.congestion.as_deref().map(plain));
    words.extend(i.wscale.map(|(peer, own)| format!("wscale:{peer},{own}")));
    words.push(format!("rto:{}", millis(i.rto)));
    let mut some = |name: &str, value: u64| words.extend((value > 0).then(|| format!("{name}:{value}")));
    some("backoff", i.backoff);
    if i.rtt > 0.0 {
        words.push(format!("rtt:{}/{}", millis(i.rtt), millis(i.rttvar)));
    }
    words.extend(i.ato.map(|ato| format!("ato:{}", millis(ato))));
    words.push(format!("mss:{}", i.mss));
    let mut some = |name: &str, value: u64| words.extend((value > 0).then(|| format!("{name}:{value}")));
    some("pmtu", i.pmtu);
    some("rcvmss", i.rcv_mss);
    some("advmss", i.adv_mss.unwrap_or(0));
    some("cwnd", i.cwnd);
    some("ssthresh", i.ssthresh.unwrap_or(0));
    some("bytes_sent", i.bytes_sent);
    some("bytes_retrans", i.bytes_retrans);
    some("bytes_acked", i.bytes_acked);
    some("bytes_received", i.bytes_received);
    some("segs_out", i.segs_out);
    some("segs_in", i.segs_in);
    words.extend(i.send_rate().map(|bytes| format!("send {}", rate(bytes, numeric))));
    // Before anything came in the kernel counts these from its own start.
    let times = if i.segs_in > 0 { 3 } else { 0 };
    for (name, seconds) in [("lastsnd", i.last_sent), ("lastrcv", i.last_received), ("lastack", i.last_ack)]
        .into_iter()
        .take(times)
    {
        words.push(format!("{name}:{}", (seconds * 1000.0).round() as u64));
    }
    words.extend(i.pacing_rate.map(|bytes| format!("pacing_rate {}", rate(bytes as f64, numeric))));
    if i.delivery_rate > 0 {
        words.push(format!("delivery_rate {}", rate(i.delivery_rate as f64, numeric)));
    }
    words.extend(i.app_limited.then(|| "app_limited".to_owned()));
    words.extend(i.busy.map(|seconds| format!("busy:{}ms", (seconds * 1000.0).round() as u64)));
    let mut some = |name: &str, value: u64| words.extend((value > 0).then(|| format!("{name}:{value}")));
    some("unacked", i.unacked);
    words.extend((i.retrans_total > 0).then(|| format!("retrans:{}/{}", i.retrans, i.retrans_total)));
    let mut some = |name: &str, value: u64| words.extend((value > 0).then(|| format!("{name}:{value}")));
    some("lost", i.lost);
    some("sacked", i.sacked);
    some("rcv_space", i.rcv_space);
    some("notsent", i.not_sent);
    words.extend(i.min_rtt.map(|seconds| format!("minrtt:{}", millis(seconds))));
    words.extend(i.snd_wnd.map(|bytes| format!("snd_wnd:{bytes}")));
    words.extend(i.rcv_wnd.map(|bytes| format!("rcv_wnd:{bytes}")));
    words
}

#[cfg(test)]
mod tests;
