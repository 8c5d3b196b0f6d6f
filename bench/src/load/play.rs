//! Requests at a steady rate, over connections that are used once, often, or for all.

use std::collections::BTreeMap;
use std::time::Duration;

use finack_core::settings::Settings;
use finack_core::{Error, Instant};

use super::world::{Closer, Ends, Setup, World, time_waits};
use crate::measure::processor_time;

/// Connections of a host that takes no part in the load: what a packet costs is measured on them.
const STANDING: usize = 1000;

/// Who asks, how often, and over what.
#[derive(Clone)]
pub struct Plan {
    pub clients: usize,
    /// Requests a second, of all clients together.
    pub rate: u32,
    pub seconds: u32,
    /// Requests that a connection carries.
    pub per_connection: u32,
    /// Connections that carry all requests beside each other; 0 where each is opened for its own.
    pub shared: usize,
    pub closer: Closer,
    pub server: Settings,
    pub client: Settings,
    /// Addresses of each client.
    pub addresses: usize,
    /// Ports of the server.
    pub ports: u16,
    /// How long a client waits that was refused.
    pub patience: Duration,
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    pub connections: u64,
    pub requests: u64,
    /// Requests that were answered.
    pub served: u64,
    /// Requests that found no connection, by what connect said.
    pub refused: BTreeMap<&'static str, u64>,
    pub first_refused: Option<Duration>,
    /// Connections and answers a second in the second half.
    pub connection_rate: f64,
    pub served_rate: f64,
    pub server_waits: usize,
    pub client_waits: usize,
    pub resets: u64,
    /// Distinct local ports of the client that has most.
    pub ports: usize,
    /// Bytes of the server's tables, less what they were before.
    pub server_memory: usize,
    /// Microseconds of the processor for a request (both ends), in the first and the last tenth of the time.
    pub micros: [f64; 2],
    /// Nanoseconds for a packet to a random one of the standing connections, at the end.
    pub packet_nanos: f64,
    /// What became of TIME-WAITs at the server and at the clients that a new connection met.
    pub reopened: u64,
    pub reused: u64,
}

/// What Linux calls it.
fn errno(error: Error) -> &'static str {
    match error {
        Error::AddrNotAvailable => "EADDRNOTAVAIL",
        Error::AddrInUse => "EADDRINUSE",
        Error::ConnectionRefused => "ECONNREFUSED",
        Error::ConnectionReset => "ECONNRESET",
        Error::TimedOut => "no answer",
        Error::NoBufferSpace => "ENOBUFS",
        _ => "another error",
    }
}

/// A connection that is used again.
#[derive(Clone, Copy)]
struct Kept {
    ends: Ends,
    left: u32,
}

struct Player<'a> {
    plan: &'a Plan,
    world: World,
    /// By client, or by shared connection.
    kept: Vec<Option<Kept>>,
    standing: Vec<Ends>,
    /// Clients that were refused: until when they do not ask again, and what they were told.
    blocked: Vec<Option<(Instant, Error)>>,
    outcome: Outcome,
}

/// Plays it.
pub fn play(plan: &Plan) -> Result<Outcome, String> {
    let told = |error: Error| format!("the load cannot be played: {error}");
    let setup = Setup {
        server: plan.server.clone(),
        client: plan.client.clone(),
        clients: plan.clients + 1,
        addresses: plan.addresses,
        ports: plan.ports,
        reuse_addr: false,
    };
    let mut world = World::new(&setup).map_err(told)?;
    let standing: Result<Vec<Ends>, Error> =
        (0..STANDING).map(|_| world.open(plan.clients, &mut 0)).collect();
    let mut player = Player {
        plan,
        standing: standing.map_err(told)?,
        kept: vec![None; plan.clients.max(plan.shared)],
        blocked: vec![None; plan.clients],
        world,
        outcome: Outcome::default(),
    };
    player.run().map_err(told)?;
    Ok(player.outcome)
}

impl Player<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let Plan { rate, seconds, clients, .. } = *self.plan;
        let before = self.world.server.memory();
        let (total, step) = (u64::from(rate) * u64::from(seconds), Duration::from_secs(1) / rate);
        let begun = self.world.now;
        let mut half = (0, 0);
        let mut marks = [processor_time(); 4];
        for n in 0..total {
            match n {
                _ if n == total / 2 => half = (self.outcome.connections, self.outcome.served),
                _ if n == total / 10 => marks[1] = processor_time(),
                _ if n == total - total / 10 => marks[2] = processor_time(),
                _ => {}
            }
            let client = (n % clients as u64) as usize;
            self.world.pass(step, client);
            self.outcome.requests += 1;
            if let Err(error) = self.request(n, client)? {
                *self.outcome.refused.entry(errno(error)).or_default() += 1;
                self.outcome.first_refused.get_or_insert(self.world.now.since(begun));
            }
        }
        marks[3] = processor_time();
        let tenth = (total / 10) as f64;
        self.outcome.micros =
            [marks[1] - marks[0], marks[3] - marks[2]].map(|time| time.as_secs_f64() * 1e6 / tenth);
        let seconds = f64::from(seconds) / 2.0;
        self.outcome.connection_rate = (self.outcome.connections - half.0) as f64 / seconds;
        self.outcome.served_rate = (self.outcome.served - half.1) as f64 / seconds;
        self.finish(before)
    }

    /// A request, on a connection that is there or is opened for it. The inner error is connect's.
    fn request(&mut self, n: u64, client: usize) -> Result<Result<(), Error>, Error> {
        let Plan { shared, per_connection, closer, .. } = *self.plan;
        let place = if shared > 0 { (n % shared as u64) as usize } else { client };
        let client = if shared > 0 { place % self.plan.clients } else { client };
        let mut kept = match self.kept[place] {
            Some(kept) => kept,
            None => match self.connect(client) {
                Ok(ends) => Kept { ends, left: if shared > 0 { u32::MAX } else { per_connection } },
                Err(error) => return Ok(Err(error)),
            },
        };
        self.world.exchange(client, kept.ends, &mut 0)?;
        self.outcome.served += 1;
        kept.left -= 1;
        self.kept[place] = (kept.left > 0).then_some(kept);
        if kept.left == 0 {
            self.world.close(client, kept.ends, closer, &mut 0)?;
        }
        Ok(Ok(()))
    }

    /// Who was refused a moment ago does not ask again at once: a search through all ports is slow.
    fn connect(&mut self, client: usize) -> Result<Ends, Error> {
        if let Some((_, error)) = self.blocked[client].filter(|(until, _)| self.world.now < *until) {
            return Err(error);
        }
        let opened = self.world.open(client, &mut 0);
        match opened {
            Ok(_) => self.outcome.connections += 1,
            Err(error) => self.blocked[client] = Some((self.world.now + self.plan.patience, error)),
        }
        opened
    }

    fn finish(&mut self, memory_before: usize) -> Result<(), Error> {
        for place in 0..self.kept.len() {
            if let Some(kept) = self.kept[place].take() {
                self.world.close(place % self.plan.clients, kept.ends, self.plan.closer, &mut 0)?;
            }
        }
        let (world, clients) = (&self.world, self.plan.clients);
        let out = &mut self.outcome;
        out.server_waits = time_waits(&world.server);
        out.client_waits = world.clients.iter().map(time_waits).sum();
        let stacks = || world.clients.iter().chain([&world.server]);
        out.resets = stacks().map(|stack| stack.counters().tcp_out_rsts).sum();
        out.ports = (0..clients).map(|c| world.ports_used(c)).max().unwrap_or(0);
        out.server_memory = world.server.memory().saturating_sub(memory_before);
        out.reopened = stacks().map(|stack| stack.counters().tcp_time_wait_reopened).sum();
        out.reused = stacks().map(|stack| stack.counters().tcp_time_wait_reused).sum();
        self.outcome.packet_nanos = self.cost_of_a_packet()?;
        Ok(())
    }

    /// Round trips on random standing connections; nanoseconds of the processor for each packet sent and received.
    fn cost_of_a_packet(&mut self) -> Result<f64, Error> {
        const ROUNDS: u32 = 20_000;
        let (mut state, mut packets) = (0x9e37_79b9_u32, 0);
        let begun = processor_time();
        for _ in 0..ROUNDS {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let ends = self.standing[state as usize % self.standing.len()];
            self.world.pass(Duration::from_micros(10), self.plan.clients);
            self.world.exchange(self.plan.clients, ends, &mut packets)?;
        }
        Ok((processor_time() - begun).as_nanos() as f64 / packets.max(1) as f64)
    }
}
