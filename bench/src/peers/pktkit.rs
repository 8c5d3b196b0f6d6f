//! pktkit's `vtcp`: bare connections that are handed segments. There is no IP, no checksum and no table of
//! connections, so it does less than the others; its clock is the real one.

use pktkit::vtcp::{Conn, ConnConfig, Segment, State};

/// Two connections that talk to each other.
pub struct Pair {
    client: Conn,
    server: Conn,
}

fn config(local: u16, remote: u16) -> ConnConfig {
    // Pacing would make this a measurement of a timer.
    ConnConfig::default().local_port(local).remote_port(remote).nodelay(true).pacing(false)
}

impl Pair {
    pub fn open() -> Self {
        let mut client = Conn::new(config(40_000, 80));
        let mut server = Conn::new(config(80, 40_000));
        let syn = client.connect();
        let answer = server.accept_syn(&Segment::parse(&syn[0]).expect("a SYN"));
        let mut pair = Self { client, server };
        pair.settle(Vec::new(), answer);
        assert_eq!(pair.server.state(), State::Established);
        pair
    }

    /// Carries segments until neither side has any; answers how many.
    fn settle(&mut self, mut there: Vec<Vec<u8>>, mut back: Vec<Vec<u8>>) -> u64 {
        let mut carried = 0;
        while !there.is_empty() || !back.is_empty() {
            carried += (there.len() + back.len()) as u64;
            let deliver = |conn: &mut Conn, segments: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
                segments
                    .iter()
                    .flat_map(|s| conn.handle_segment(&Segment::parse(s).expect("a segment")))
                    .collect()
            };
            let from_server = deliver(&mut self.server, there);
            let from_client = deliver(&mut self.client, back);
            (there, back) = (from_client, from_server);
        }
        carried
    }

    /// One turn of a bulk transfer; answers the bytes read.
    pub fn bulk(&mut self, data: &[u8], into: &mut [u8]) -> u64 {
        let (_, segments) = self.client.write(data);
        let carried = self.settle(segments, Vec::new());
        let mut total = 0;
        loop {
            let n = self.server.read(into);
            total += n as u64;
            if n < into.len() {
                break;
            }
        }
        let updates = self.server.take_outgoing();
        if carried == 0 && updates.is_empty() {
            let (there, back) = (self.client.tick(), self.server.tick());
            self.settle(there, back);
        } else {
            self.settle(Vec::new(), updates);
        }
        total
    }

    /// One byte there and one back; answers the segments that took.
    pub fn round_trip(&mut self) -> u64 {
        let mut byte = [1];
        let (_, request) = self.client.write(&byte);
        let mut carried = self.settle(request, Vec::new());
        assert_eq!(self.server.read(&mut byte), 1);
        let (_, response) = self.server.write(&byte);
        carried += self.settle(Vec::new(), response);
        assert_eq!(self.client.read(&mut byte), 1);
        carried
    }

    /// Opens, asks, answers and closes; the client's TIME-WAIT is dropped with it.
    pub fn whole_life() -> u64 {
        let mut pair = Self::open();
        let mut carried = 3 + pair.round_trip();
        let fin = pair.client.close();
        carried += pair.settle(fin, Vec::new());
        let fin = pair.server.close();
        carried + pair.settle(Vec::new(), fin)
    }
}
