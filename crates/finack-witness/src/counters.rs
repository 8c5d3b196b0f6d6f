//! What the kernel counts in a script's namespace: its only words for what it did and why.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Longest text of one file of counters.
const MOST: usize = 64 << 10;

/// Counters that change with every packet say nothing.
const NOISE: [&str; 14] = [
    "InSegs",
    "OutSegs",
    "TCPPureAcks",
    "TCPHPAcks",
    "TCPHPHits",
    "TCPOrigDataSent",
    "TCPDelivered",
    "TCPAutoCorking",
    "CurrEstab",
    "InReceives",
    "InDelivers",
    "OutRequests",
    "OutTransmits",
    "TCPAckCompressed",
];

/// The protocols whose counters are of interest.
const GROUPS: [&str; 5] = ["Tcp:", "TcpExt:", "Udp:", "Icmp:", "Ip:"];

#[derive(Debug)]
pub(crate) struct Counters {
    files: Vec<File>,
    before: BTreeMap<String, i64>,
}

impl Counters {
    /// Those of the calling thread's network namespace.
    pub(crate) fn open() -> Self {
        let paths = ["/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"];
        let files = paths.iter().filter_map(|path| File::open(path).ok()).collect();
        let mut counters = Self { files, before: BTreeMap::new() };
        let _ = counters.changes();
        counters
    }

    /// What grew since this was last asked.
    pub(crate) fn changes(&mut self) -> Vec<String> {
        let mut now = BTreeMap::new();
        for file in &self.files {
            let mut text = vec![0; MOST];
            let len = file.read_at(&mut text, 0).unwrap_or(0);
            parse(&String::from_utf8_lossy(&text[..len]), &mut now);
        }
        let grown = |(name, value): (&String, &i64)| {
            let before = self.before.get(name).copied().unwrap_or(0);
            (*value > before).then(|| format!("{name} +{}", value - before))
        };
        let changes = now.iter().filter_map(grown).collect();
        self.before = now;
        changes
    }
}

/// Lines come in pairs: names, then values.
fn parse(text: &str, out: &mut BTreeMap<String, i64>) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (mut names, mut values) = (names.split_whitespace(), values.split_whitespace());
        let group = names.next();
        if group != values.next() || !group.is_some_and(|g| GROUPS.contains(&g)) {
            continue;
        }
        let prefix = if group == Some("TcpExt:") { "" } else { group.unwrap_or("").trim_end_matches(':') };
        for (name, value) in names.zip(values).filter(|(name, _)| !NOISE.contains(name)) {
            if let Ok(value) = value.parse() {
                out.insert(format!("{prefix}{name}"), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_lines_are_names_and_values() {
        let mut out = BTreeMap::new();
        let text = "Tcp: RtoMin InSegs OutRsts\nTcp: 200 9 2\nTcpExt: TCPChallengeACK\nTcpExt: 1\nIpExt: X\nIpExt: 7\n";
        parse(text, &mut out);
        let shown: Vec<String> = out.iter().map(|(name, n)| format!("{name} {n}")).collect();
        assert_eq!(shown, ["TCPChallengeACK 1", "TcpOutRsts 2", "TcpRtoMin 200"]);
    }
}
