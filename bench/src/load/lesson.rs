//! A server under the load of the lessons: a connection for each request, closed by the server.

use std::time::Duration;

use finack_core::Error;
use finack_core::settings::Settings;

use super::play::{Outcome, Plan, play};
use super::world::{Closer, PORT, Setup, World, time_waits};
use super::{count, mebibytes, progress, share_of};
use crate::measure::Options;
use crate::table::Table;

/// Hosts that ask: 60 s of connections need more four-tuples than one host has ports.
const CLIENTS: usize = 64;

/// Settings with room for every TIME-WAIT.
fn roomy() -> Settings {
    Settings { tcp_max_tw_buckets: 1_000_000, ..Settings::default() }
}

/// The load: `rate` requests a second for a minute.
fn load(rate: u32) -> Plan {
    Plan {
        clients: CLIENTS,
        rate,
        seconds: 60,
        per_connection: 1,
        shared: 0,
        closer: Closer::Server,
        server: roomy(),
        client: roomy(),
        addresses: 1,
        ports: 1,
        patience: Duration::from_secs(1),
    }
}

fn rate(options: &Options) -> u32 {
    if options.quick { 1_000 } else { 10_000 }
}

/// Requests a second, with what is done about TIME-WAIT.
fn arrangements(rate: u32) -> Vec<(&'static str, Plan)> {
    let plan = load(rate);
    let reuse = Settings { tcp_tw_reuse: 1, ..roomy() };
    vec![
        ("settings as they are", Plan { server: Settings::default(), ..plan.clone() }),
        ("room for all TIME-WAITs (tcp_max_tw_buckets)", plan.clone()),
        ("tcp_tw_reuse=1 at the server", Plan { server: reuse, ..plan.clone() }),
        ("SO_LINGER 0 at the server", Plan { closer: Closer::ServerAborts, ..plan.clone() }),
        ("the clients close first", Plan { closer: Closer::Client, ..plan.clone() }),
        ("kept alive for 10 requests", Plan { per_connection: 10, ..plan.clone() }),
        ("kept alive for 100 requests", Plan { per_connection: 100, ..plan.clone() }),
        ("all over 64 connections, one a client", Plan { shared: CLIENTS, ..plan }),
    ]
}

pub fn table(options: &Options, wrong: &mut Vec<String>) -> Result<Option<Table>, String> {
    let rate = rate(options);
    let title = format!("A server under load: {rate} requests a second for 60 s, from {CLIENTS} hosts");
    let note = "The server closes first where nothing else is said. Memory: the server's tables, beyond what 1,000 standing \
                connections take. A request costs both ends, in the first and the last tenth of the time; a packet goes to a \
                random one of the standing connections, at the end.";
    let columns = [
        "arrangement",
        "connections",
        "answered",
        "refused",
        "TIME-WAIT at server",
        "at clients",
        "RSTs",
        "ports of a client",
        "memory, MiB",
        "us a request",
        "ns a packet",
    ];
    let mut table = Table::new(title, note, &columns);
    for (name, plan) in arrangements(rate) {
        if !options.wants(name) {
            continue;
        }
        progress(name);
        let out = play(&plan)?;
        if out.served < out.requests {
            wrong.push(format!("{name}: {} of {} requests were answered", out.served, out.requests));
        }
        table.rows.push(row(name, &out));
    }
    Ok((!table.rows.is_empty()).then_some(table))
}

fn row(name: &str, out: &Outcome) -> Vec<String> {
    vec![
        name.into(),
        count(out.connections),
        share_of(out.served, out.requests),
        refusals(out),
        count(out.server_waits as u64),
        count(out.client_waits as u64),
        count(out.resets),
        count(out.ports as u64),
        mebibytes(out.server_memory),
        format!("{:.1} → {:.1}", out.micros[0], out.micros[1]),
        format!("{:.0}", out.packet_nanos),
    ]
}

/// How many found no connection, and what they were told.
pub fn refusals(out: &Outcome) -> String {
    if out.refused.is_empty() {
        return "0".into();
    }
    let each = out.refused.iter().map(|(error, n)| format!("{} {error}", count(*n)));
    each.collect::<Vec<_>>().join(", ")
}

/// How long a server that ends must wait before it can begin again.
pub fn restart(options: &Options, wrong: &mut Vec<String>) -> Result<Option<Table>, String> {
    let cases = [("restart, plain", false), ("restart with SO_REUSEADDR", true)];
    let title = "The server is restarted, with its connections in TIME-WAIT";
    let mut table =
        Table::new(title, "", &["arrangement", "TIME-WAIT then", "bind says", "it listens again after"]);
    for (name, reuse_addr) in cases.into_iter().filter(|(name, _)| options.wants(name)) {
        let told = |error: Error| format!("{name}: {error}");
        let (waits, first, after) = restarted(reuse_addr).map_err(told)?;
        if reuse_addr && first.is_some() {
            wrong.push(format!("{name}: bind says {first:?}"));
        }
        let first = first.map_or("that it is done".into(), |error| format!("EADDRINUSE ({error})"));
        table.rows.push(vec![name.into(), count(waits as u64), first, format!("{} s", after.as_secs())]);
    }
    Ok((!table.rows.is_empty()).then_some(table))
}

fn restarted(reuse_addr: bool) -> Result<(usize, Option<Error>, Duration), Error> {
    let settings = Settings::default();
    let setup =
        Setup { server: settings.clone(), client: settings, clients: 1, addresses: 1, ports: 1, reuse_addr };
    let mut world = World::new(&setup)?;
    for _ in 0..10_000 {
        let ends = world.open(0, &mut 0)?;
        world.exchange(0, ends, &mut 0)?;
        world.close(0, ends, Closer::Server, &mut 0)?;
        world.pass(Duration::from_micros(100), 0);
    }
    world.stop_listening()?;
    let (waits, begun) = (time_waits(&world.server), world.now);
    let mut first = None;
    loop {
        match world.listen(PORT, reuse_addr) {
            Ok(_) => return Ok((waits, first, world.now.since(begun))),
            Err(error) if world.now.since(begun) < Duration::from_secs(600) => {
                first.get_or_insert(error);
                world.pass(Duration::from_secs(1), 0);
            }
            Err(error) => return Err(error),
        }
    }
}
