//! Two honest hosts that a third has set at odds: each takes the other's ACK for nonsense, and says so (Joncheray 1995).

use std::collections::VecDeque;
use std::time::Duration;

use finack_core::device::Packet;
use finack_core::options::{RecvFlags, SocketOptions};
use finack_core::settings::Settings;
use finack_core::{Error, Instant, Stack};
use finack_sim::packet::{Body, Pkt, Tcp, build, flag, parse};

use super::count;
use super::world::{PORT, SERVER, client_address, host};
use crate::measure::Options;
use crate::table::Table;

/// One way from host to host.
const WAY: Duration = Duration::from_millis(1);
const SECONDS: u64 = 60;

pub fn table(options: &Options, wrong: &mut Vec<String>) -> Result<Option<Table>, String> {
    let rows = [
        ("ACK storm, settings as they are", Settings::default()),
        ("ACK storm, tcp_invalid_ratelimit=0", Settings { tcp_invalid_ratelimit: 0, ..Settings::default() }),
    ];
    let title = "Two hosts set at odds by data that neither sent: ACKs in a minute, a millisecond apart";
    let mut table = Table::new(title, "", &["settings", "packets", "a second"]);
    for (name, settings) in rows.into_iter().filter(|(name, _)| options.wants(name)) {
        let packets = play(&settings).map_err(|e| format!("{name}: {e}"))?;
        // Two hosts, an answer in 500 ms each.
        if settings.tcp_invalid_ratelimit > 0 && packets > SECONDS * 4 {
            wrong.push(format!("{name}: {packets} packets"));
        }
        table.rows.push(vec![name.into(), count(packets), format!("{:.1}", packets as f64 / SECONDS as f64)]);
    }
    Ok((!table.rows.is_empty()).then_some(table))
}

/// Packets on their way: when they arrive, and at which of the two.
type Way = VecDeque<(Instant, usize, Vec<u8>)>;

struct Two {
    hosts: [Stack; 2],
    now: Instant,
    way: Way,
    carried: u64,
    /// The last packet of each.
    last: [Vec<u8>; 2],
}

impl Two {
    fn run(&mut self, until: Instant) {
        while self.now < until {
            self.now += WAY;
            while let Some((_, to, bytes)) = self.way.pop_front_if(|(due, ..)| *due <= self.now) {
                self.hosts[to].handle_packets(self.now, &[Packet::borrowed(&bytes)]);
            }
            for (from, stack) in self.hosts.iter_mut().enumerate() {
                stack.handle_timeout(self.now);
                while stack.poll_event().is_some() {}
                while let Some(packet) = stack.poll_transmit(self.now) {
                    let mut bytes = Vec::with_capacity(packet.len());
                    packet.write_to(&mut bytes);
                    self.last[from].clone_from(&bytes);
                    self.way.push_back((self.now + WAY, 1 - from, bytes));
                    self.carried += 1;
                }
            }
        }
    }

    /// Gives each host data that the other did not send.
    fn set_at_odds(&mut self) {
        // The client spoke last, and with a bare ACK: both sides' numbers stand in it.
        let Ok(packet) = parse(&self.last[0]) else { return };
        let Body::Tcp(tcp) = &packet.body else { return };
        let (client, server) = (packet.from(), packet.to());
        let data = |seq, ack| Tcp {
            seq,
            ack,
            flags: flag::ACK,
            window: 1000,
            payload: vec![1; 100],
            ..Tcp::default()
        };
        let to_server = Pkt::tcp(client, server, data(tcp.seq, tcp.ack));
        let to_client = Pkt::tcp(server, client, data(tcp.ack, tcp.seq));
        for (to, packet) in [(0, to_client), (1, to_server)] {
            self.hosts[to].handle_packets(self.now, &[Packet::borrowed(&build(&packet))]);
        }
    }
}

fn play(settings: &Settings) -> Result<u64, Error> {
    // Without timestamps: what is made up passes for real.
    let settings = Settings { tcp_timestamps: 0, ..settings.clone() };
    let hosts = [host(&[client_address(1)], settings.clone(), 1), host(&[SERVER], settings, 2)];
    let mut two = Two {
        hosts,
        now: Instant::from_secs(1),
        way: Way::new(),
        carried: 0,
        last: [Vec::new(), Vec::new()],
    };
    let at = std::net::SocketAddr::new(SERVER, PORT);
    let bind = two.hosts[1].tcp_bind(two.now, at, Default::default())?;
    let listener = two.hosts[1].tcp_listen(two.now, bind, 8, SocketOptions::default())?;
    two.hosts[0].tcp_connect(two.now, None, at, SocketOptions::default())?;
    two.run(two.now + Duration::from_secs(1));
    let (conn, _) = two.hosts[1].tcp_accept(two.now, listener)?;
    two.set_at_odds();
    let before = two.carried;
    two.run(two.now + Duration::from_secs(SECONDS));
    let got = two.hosts[1].tcp_recv(two.now, conn, &mut [0; 200], RecvFlags::default())?;
    assert_eq!(got, 100, "what was made up was not taken");
    Ok(two.carried - before)
}
