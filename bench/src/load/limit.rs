//! The client's limit: a four-tuple is taken for as long as its TIME-WAIT lasts.

use std::time::Duration;

use finack_core::settings::Settings;

use super::lesson::refusals;
use super::play::{Plan, play};
use super::world::Closer;
use super::{count, progress};
use crate::measure::Options;
use crate::table::Table;

/// One client that opens a connection to one destination for each request, and closes first.
fn plain(rate: u32, seconds: u32) -> Plan {
    let settings = Settings { tcp_max_tw_buckets: 1_000_000, ..Settings::default() };
    Plan {
        clients: 1,
        rate,
        seconds,
        per_connection: 1,
        shared: 0,
        closer: Closer::Client,
        server: settings.clone(),
        client: settings,
        addresses: 1,
        ports: 1,
        patience: Duration::from_secs(1),
    }
}

/// Nothing is done about it.
const PLAIN: &str = "none";

/// What is done about it, and the rate that asks more than that gives.
fn remedies(quick: bool) -> Vec<(&'static str, Plan)> {
    // The minute that counts is the second: by then all ports have been used.
    let plan = |full: u32, short: u32| plain(if quick { short } else { full }, 120);
    let short =
        |rate: u32| Plan { patience: Duration::from_millis(100), ..plain(rate, if quick { 4 } else { 10 }) };
    let with = |change: fn(&mut Settings), plan: Plan| {
        let mut client = plan.client.clone();
        change(&mut client);
        Plan { client, ..plan }
    };
    vec![
        (PLAIN, plan(10_000, 1_000)),
        (
            "a wider range, 1024 to 65535",
            with(|s| s.ip_local_port_min = 1024, with(|s| s.ip_local_port_max = 65_535, plan(10_000, 2_000))),
        ),
        ("4 addresses of the client's", Plan { addresses: 4, ..plan(10_000, 2_000) }),
        ("4 ports of the server's", Plan { ports: 4, ..plan(10_000, 2_000) }),
        ("tcp_tw_reuse=1 (with timestamps)", with(|s| s.tcp_tw_reuse = 1, short(40_000))),
        (
            "the same without timestamps",
            with(|s| s.tcp_timestamps = 0, with(|s| s.tcp_tw_reuse = 1, plan(10_000, 2_000))),
        ),
        ("SO_LINGER 0", Plan { closer: Closer::ClientAborts, ..short(40_000) }),
        ("closing second", Plan { closer: Closer::Server, ..short(40_000) }),
        ("kept alive for 10 requests", Plan { per_connection: 10, ..plan(10_000, 2_000) }),
        ("kept alive for 100 requests", Plan { per_connection: 100, ..plan(20_000, 2_000) }),
        ("all over 8 connections", Plan { shared: 8, ..short(40_000) }),
    ]
}

pub fn table(options: &Options, wrong: &mut Vec<String>) -> Result<Option<Table>, String> {
    let title = "The client's limit: 28,232 ports, and 60 s for each";
    let note = "One client, one destination, a connection for each request, closed by the client first where nothing else is \
                said. Asked for is more than there can be, where there is a limit; a client that was refused waits, for 1 s or (where 40,000 are asked for) for 0.1 s. \
                Rates are those of the second half, when every port has been used.";
    let columns = [
        "remedy",
        "asked for, 1/s",
        "connections/s",
        "answers/s",
        "first refused",
        "refused",
        "TIME-WAIT at client",
        "at server",
        "ports",
        "RSTs",
        "taken over",
    ];
    let mut table = Table::new(title, note, &columns);
    for (name, plan) in remedies(options.quick) {
        if !options.wants(name) {
            continue;
        }
        progress(name);
        let out = play(&plan)?;
        // 28,232 ports in 60 s.
        if name == PLAIN && (out.connection_rate - 470.5).abs() > 5.0 {
            wrong.push(format!(
                "{name}: {:.1} connections a second, where 470.5 are the limit",
                out.connection_rate
            ));
        }
        let first = out.first_refused.map_or("never".into(), |at| format!("{:.1} s", at.as_secs_f64()));
        table.rows.push(vec![
            name.into(),
            count(u64::from(plan.rate)),
            count(out.connection_rate.round() as u64),
            count(out.served_rate.round() as u64),
            first,
            refusals(&out),
            count(out.client_waits as u64),
            count(out.server_waits as u64),
            count(out.ports as u64),
            count(out.resets),
            count(out.reopened + out.reused),
        ]);
    }
    Ok((!table.rows.is_empty()).then_some(table))
}
