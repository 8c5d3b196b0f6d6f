//! What is known of how servers are worn down, each with a thousand honest clients beside it.

mod acks;
mod flood;
mod hold;
mod pieces;
mod small;

use finack_core::settings::Settings;

use super::siege::{self, Attack, Batch, Report};
use super::{count, mebibytes, progress};
use crate::measure::Options;
use crate::table::Table;

/// Each attack is played so often, and what a batch cost least counts: what else the machine did at the time does not.
const RUNS: usize = 3;

/// One row.
struct Case {
    name: &'static str,
    settings: Settings,
    seconds: u32,
    attack: fn(quick: bool) -> Box<dyn Attack>,
    /// What keeps the cost down.
    bound: &'static str,
    /// Bytes that the server's tables may take.
    most_memory: usize,
    /// Memory is meant to run short: honest flows may become slow.
    starves: bool,
}

fn cases(quick: bool) -> Vec<Case> {
    let long = |seconds: u32| if quick { 2 } else { seconds };
    let mut all = that_take_room(&long);
    all.extend(that_take_time(&long));
    all
}

/// Attacks that have the server keep what it cannot get rid of.
fn that_take_room(long: &dyn Fn(u32) -> u32) -> Vec<Case> {
    let settings = Settings::default;
    let small = Settings { tcp_mem: 64 << 20, ..Settings::default() };
    vec![
        Case {
            name: "SYN flood, 1,000,000 a second",
            settings: settings(),
            seconds: long(10),
            attack: |_| Box::new(flood::Flood::default()),
            bound: "tcp_max_syn_backlog, then SYN cookies",
            most_memory: 64 << 20,
            starves: false,
        },
        Case {
            name: "zero window (sockstress), 1,000 connections",
            settings: settings(),
            seconds: long(10),
            attack: |_| Box::new(hold::ZeroWindow::new(1_000)),
            bound: "tcp_wmem, for each connection",
            most_memory: 160 << 20,
            starves: false,
        },
        Case {
            name: "the same with 10,000, and tcp_mem of 64 MiB (sockstress)",
            settings: small,
            seconds: long(10).max(4),
            attack: |_| Box::new(hold::ZeroWindow::new(10_000)),
            bound: "tcp_mem; who is stuck for longest gives way",
            most_memory: 192 << 20,
            starves: true,
        },
        Case {
            name: "FIN-WAIT-2: our FIN acknowledged, none sent",
            settings: settings(),
            seconds: long(30),
            attack: |_| Box::new(hold::FinWait::new(true)),
            bound: "tcp_fin_timeout; tcp_max_orphans, the oldest give way",
            most_memory: 160 << 20,
            starves: false,
        },
        Case {
            name: "FIN-WAIT-1: our FIN never acknowledged",
            settings: settings(),
            seconds: long(30),
            attack: |_| Box::new(hold::FinWait::new(false)),
            bound: "tcp_orphan_retries; tcp_max_orphans, the oldest give way",
            most_memory: 320 << 20,
            starves: false,
        },
    ]
}

/// Attacks that have the server work.
fn that_take_time(long: &dyn Fn(u32) -> u32) -> Vec<Case> {
    let settings = Settings::default;
    vec![
        Case {
            name: "out of order, bytes apart (SegmentSmack)",
            settings: settings(),
            seconds: long(10),
            attack: |_| Box::new(pieces::Smack::default()),
            bound: "the receive buffer; what pieces cost counts in tcp_mem",
            most_memory: 64 << 20,
            starves: false,
        },
        Case {
            name: "segments of 48 bytes and SACK holes (SACK panic)",
            settings: settings(),
            seconds: long(4),
            attack: |_| Box::new(small::Panic::default()),
            bound: "tcp_min_snd_mss; the queue is not cut finer than 16,384 units",
            most_memory: 64 << 20,
            starves: false,
        },
        Case {
            name: "segments that must be answered (ACK storm)",
            settings: settings(),
            seconds: long(10),
            attack: |_| Box::new(acks::Storm::default()),
            bound: "tcp_invalid_ratelimit: an answer in 500 ms and connection",
            most_memory: 64 << 20,
            starves: false,
        },
        Case {
            name: "optimistic ACKs (Savage 1999)",
            settings: settings(),
            seconds: long(10),
            attack: |_| Box::new(acks::Eager::optimistic()),
            bound: "what was never sent is not acknowledged; the send buffer",
            most_memory: 64 << 20,
            starves: false,
        },
        Case {
            name: "divided ACKs (Savage 1999)",
            settings: settings(),
            seconds: long(10),
            attack: |_| Box::new(acks::Eager::divided()),
            bound: "bytes count, not ACKs (RFC 3465)",
            most_memory: 64 << 20,
            starves: false,
        },
    ]
}

/// What the batches of identical runs cost, others' work left out.
#[derive(Default)]
struct Cost {
    packets: u64,
    median: f64,
    /// Of a packet, on average over the batch.
    worst: f64,
    timers_micros: f64,
}

fn cost(runs: &[Report]) -> Cost {
    let Some(first) = runs.first() else { return Cost::default() };
    let least = |i: usize| {
        let all = runs.iter().filter_map(|run| run.batches.get(i));
        all.map(|batch| batch.nanos).min().map_or(f64::NAN, f64::from)
    };
    let packets = |batch: &Batch| f64::from(batch.packets + batch.answers);
    let mut each: Vec<f64> =
        first.batches.iter().enumerate().map(|(i, batch)| least(i) / packets(batch)).collect();
    each.sort_by(f64::total_cmp);
    Cost {
        packets: first.batches.iter().map(|batch| u64::from(batch.packets)).sum(),
        median: each.get(each.len() / 2).copied().unwrap_or(f64::NAN),
        worst: each.last().copied().unwrap_or(f64::NAN),
        timers_micros: runs.iter().map(|run| run.timers).min().unwrap_or_default().as_secs_f64() * 1e6,
    }
}

pub fn table(options: &Options, wrong: &mut Vec<String>) -> Result<Option<Table>, String> {
    let title = "A server under attack, 1,000 honest clients and two bulk flows beside";
    let note = "Costs are nanoseconds of the server's processor for each packet that came or was sent in turn, its program's \
                calls included, taken over batches of up to 32: in the median, and of the worst batch, least of three \
                identical runs. Timers: the most that was due at once, in microseconds. Memory: the tables of the server, at \
                first and at most. Goodput: what honest flows carried, in per cent of what they carry without an attack.";
    let columns = [
        "attack",
        "packets",
        "answers each",
        "ns a packet",
        "worst",
        "timers",
        "MiB",
        "honest served",
        "goodput down",
        "up",
        "what holds",
    ];
    let mut table = Table::new(title, note, &columns);
    for case in cases(options.quick).into_iter().filter(|case| options.wants(case.name)) {
        progress(case.name);
        let calm = siege::run(&case.settings, case.seconds, None)?;
        let runs: Result<Vec<Report>, String> = (0..RUNS)
            .map(|_| siege::run(&case.settings, case.seconds, Some(&mut *(case.attack)(options.quick))))
            .collect();
        let runs = runs?;
        wrong.extend(runs.first().and_then(|run| complaint(&case, &calm, run)));
        table.rows.push(row(&case, &calm, &runs));
    }
    Ok((!table.rows.is_empty()).then_some(table))
}

/// What an attack must not bring about.
fn complaint(case: &Case, calm: &Report, run: &Report) -> Option<String> {
    let Report { served, asked, memory_peak, .. } = *run;
    if served < asked {
        return Some(format!("{}: {served} of {asked} honest clients were served", case.name));
    }
    if memory_peak > case.most_memory {
        let most = case.most_memory;
        return Some(format!("{}: {memory_peak} bytes of memory, where {most} are the bound", case.name));
    }
    let least = |bytes: u64| bytes / 10 * 9;
    let carried = run.fetched >= least(calm.fetched) && run.brought >= least(calm.brought);
    let slow = "honest flows carried less than 90 % of what they carry without";
    (!carried && !case.starves).then(|| format!("{}: {slow}", case.name))
}

fn row(case: &Case, calm: &Report, runs: &[Report]) -> Vec<String> {
    let (cost, report) = (cost(runs), runs.first().cloned().unwrap_or_default());
    let percent = |now: u64, before: u64| format!("{:.0} %", 100.0 * now as f64 / before as f64);
    vec![
        case.name.into(),
        count(cost.packets),
        format!("{:.2}", report.answers as f64 / cost.packets as f64),
        format!("{:.0}", cost.median),
        format!("{:.0}", cost.worst),
        format!("{:.0}", cost.timers_micros),
        format!("{} → {}", mebibytes(report.memory_before), mebibytes(report.memory_peak)),
        format!("{} of {}", count(report.served), count(report.asked)),
        percent(report.fetched, calm.fetched),
        percent(report.brought, calm.brought),
        case.bound.into(),
    ]
}
