//! The events themselves: packets in, packets out, calls.

use std::net::SocketAddr;

use finack_posix::{Address, Answer, Call as Posix, Reply, abi};
use finack_sim::packet::{Body as LiveBody, Pkt, flag};
use finack_sim::pattern;

use super::calls::{self, Context, Trouble};
use super::compare::{self, Difference};
use super::finack::at_once;
use super::flow::{Flow, PEER};
use super::packets::{self, Quote};
use super::report::{Verdict, seconds};
use super::runner::{Blocked, Emitted, LONGEST, Phase, Runner, Span, Stop, UdpFlow};
use super::sign::Signatures;
use super::target::Begun;
use crate::ast::{
    Action, Body, Call, Direction, Event, Expr, Flags, Icmp, IpInfo, Nanos, Packet, SeqRange, Tcp, TcpOption,
    TcpOptions, Udp,
};

impl Runner<'_> {
    // ---- packets in

    pub(super) fn inject(&mut self, packet: &Packet) -> Result<(), Stop> {
        let (line, bytes) = (format!("{} {packet}", seconds(self.target.now())), self.bytes_of(packet));
        let bytes =
            bytes.map_err(|why| self.failure(why, Some(packet.to_string()), None, Vec::new(), Vec::new()))?;
        self.note_in_ladder(line);
        let payload = match &packet.body {
            Body::Tcp(tcp) => tcp.seq.len,
            _ => 0,
        };
        let size = if self.config.mss > 0 && payload > self.config.mss { self.config.mss } else { 0 };
        // Only what happens from here on explains what comes.
        let _ = self.target.remarks();
        self.target.inject(&bytes, size);
        self.collect();
        self.check_returned()
    }

    fn bytes_of(&mut self, packet: &Packet) -> Result<Vec<u8>, String> {
        match &packet.body {
            Body::Tcp(tcp) => {
                let flow = self.flow_for_injection(tcp)?;
                let flow = &mut self.flows[flow];
                flow.urgent |= tcp.flags.has(Flags::URG);
                let Some(mut reserved) = self.signatures.reserve(tcp, flow.remote.ip())? else {
                    return packets::inject_tcp(flow, tcp, &packet.ip, self.config);
                };
                let unsigned = packets::inject_tcp(flow, &reserved, &packet.ip, self.config)?;
                self.signatures.fill(tcp, &mut reserved, &unsigned, flow)?;
                packets::inject_tcp(flow, &reserved, &packet.ip, self.config)
            }
            Body::Udp(udp) => {
                let (local, remote) = self.udp_ends()?;
                Ok(packets::inject_udp(remote, local, udp, &packet.ip))
            }
            Body::Icmp(message) => self.icmp_bytes(message, &packet.ip),
        }
    }

    /// The flow that an injected segment belongs to; a new one where a socket listens, or where there is none.
    fn flow_for_injection(&mut self, tcp: &Tcp) -> Result<usize, String> {
        let local = |port| SocketAddr::new(self.config.local_ip, port);
        let remote = |port| SocketAddr::new(self.config.remote_ip, port);
        if let Some(ports) = tcp.ports {
            let ends = (local(ports.dst), remote(ports.src));
            let known = self.flows.iter().rposition(|f| (f.local, f.remote) == ends);
            let index = known.unwrap_or_else(|| {
                self.flows.push(Flow::new(ends.0, ends.1));
                self.flows.len() - 1
            });
            if known.is_none() {
                self.flows[index].begin_anew(tcp.seq.start);
            }
            self.current = Some(index);
            self.phase = Phase::Flow;
            return Ok(index);
        }
        if self.phase == Phase::Listening || self.current.is_none() {
            if matches!(self.phase, Phase::Connecting { .. }) {
                return Err("the socket's SYN was not seen so far: no segment can answer it".into());
            }
            let mut flow = Flow::new(local(self.config.bind_port), remote(self.next_port));
            self.next_port = self.next_port.wrapping_add(1).max(1024);
            flow.begin_anew(tcp.seq.start);
            self.flows.push(flow);
            self.current = Some(self.flows.len() - 1);
            self.phase = Phase::Flow;
        }
        let index = self.current.unwrap_or(0);
        let flow = &mut self.flows[index];
        let opens = tcp.flags.has(Flags::SYN) && !tcp.flags.has(Flags::RST);
        if opens && (tcp.flags.has(Flags::ACK) || !flow.is_known()) {
            flow.remote_isn = tcp.seq.start;
        } else if opens {
            // Perhaps the peer begins anew with the same four-tuple: a SYN,ACK will tell.
            flow.proposed = Some(tcp.seq.start);
        }
        Ok(index)
    }

    /// Both ends of the UDP socket under test.
    fn udp_ends(&mut self) -> Result<(SocketAddr, SocketAddr), String> {
        let udp = self.udp.ok_or("no UDP socket stands that it could be for")?;
        let fd = self.fds.get(&udp.fd).copied().unwrap_or(-1);
        let local = match at_once(self.target, Posix::SocketName(fd)) {
            Some(Ok(Reply::Name(Address::Inet(local)))) => local.port(),
            _ => self.config.bind_port,
        };
        let local =
            SocketAddr::new(self.config.local_ip, if local == 0 { self.config.bind_port } else { local });
        let remote = udp.remote.unwrap_or(SocketAddr::new(self.config.remote_ip, self.config.connect_port));
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        if remote.is_ipv6() != local.is_ipv6() {
            return Err(format!("the socket's peer {remote} is not of the script's IP version"));
        }
        Ok((local, remote))
    }

    fn icmp_bytes(&mut self, message: &Icmp, info: &IpInfo) -> Result<Vec<u8>, String> {
        let (from, to) = (self.config.remote_ip, self.config.local_ip);
        if self.udp.is_some() && self.current.is_none() {
            let (local, remote) = self.udp_ends()?;
            let quote = Quote::Udp(local, remote);
            return packets::inject_icmp(remote.ip(), local.ip(), message, &quote, info);
        }
        let quote = match self.current {
            Some(index) => Quote::Tcp(&self.flows[index]),
            None => Quote::Nothing,
        };
        packets::inject_icmp(from, to, message, &quote, info)
    }

    // ---- packets out

    pub(super) fn expect(&mut self, packet: &Packet, span: Span, event: &Event) -> Result<(), Stop> {
        let mut emitted = self.next_for(packet, span, event)?;
        self.rest_of_unit(packet, &mut emitted);
        let live = match &emitted.packet {
            Ok(live) => live.clone(),
            Err(wrong) => {
                let what = format!("the stack sent a malformed packet: {wrong}");
                return Err(self.failure(what, Some(event.to_string()), None, Vec::new(), emitted.why));
            }
        };
        let flow = self.learn(packet, &live);
        let of_flow = flow.map(|i| &self.flows[i]);
        let mut seen = packets::seen(&live, emitted.flow_label, of_flow, packet, self.config);
        self.signatures.confirm(&live, of_flow, packet, &mut seen);
        let slack = self.config.tolerance.checked_div(self.config.ts_tick).unwrap_or(u64::MAX);
        let mut fields = compare::packets(packet, &seen, slack);
        self.check_flow_label(packet, emitted.flow_label, &mut fields);
        if fields.is_empty() {
            fields.extend(self.payload_differs(&live, packet, flow));
        }
        let late = self.time_differs(span, emitted.at);
        let line = format!("{} {seen}", seconds(emitted.at));
        if fields.is_empty() && late.is_none() {
            self.note_in_ladder(line);
            return Ok(());
        }
        let what = match (fields.first(), &late) {
            (None, _) => "the packet is right, its time is not".to_owned(),
            (Some(first), _) if fields.len() == 1 => {
                format!("another packet than expected: the {} differs", first.field)
            }
            (Some(_), _) => format!("another packet than expected: {} fields differ", fields.len()),
        };
        fields.extend(late);
        if self.config.non_fatal_packets {
            self.notes.push(format!("line {}: {what}: {seen} instead of {packet}", self.pos.line));
            self.note_in_ladder(line);
            return Ok(());
        }
        Err(self.failure(what, Some(packet.to_string()), Some(seen.to_string()), fields, emitted.why))
    }

    /// The next packet from the stack that the script's is about, waited for as long as it may take.
    fn next_for(&mut self, packet: &Packet, span: Span, event: &Event) -> Result<Emitted, Stop> {
        let patience = self.tolerance(span.since, span.to);
        let deadline = if span.any {
            self.target.now().saturating_add(LONGEST)
        } else {
            span.to.saturating_add(patience)
        };
        loop {
            self.collect();
            self.check_returned()?;
            let at = self.waiting.iter().position(|e| self.is_candidate(packet, e));
            if let Some(emitted) = at.and_then(|at| self.waiting.remove(at)) {
                return Ok(emitted);
            }
            let idle = span.any && self.target.is_idle();
            if self.target.now() >= deadline || idle {
                let what = if span.any {
                    "no packet came, and none will".to_owned()
                } else {
                    format!("no packet came until {} s", seconds(deadline))
                };
                return Err(self.failure(what, Some(event.to_string()), None, Vec::new(), Vec::new()));
            }
            self.target.wait(deadline);
        }
    }

    /// Whether a packet is of the kind and the connection that the script's event is about.
    fn is_candidate(&self, packet: &Packet, emitted: &Emitted) -> bool {
        let Ok(live) = &emitted.packet else { return true };
        match (&packet.body, &live.body) {
            (Body::Tcp(tcp), LiveBody::Tcp(segment)) => {
                if let Some(ports) = tcp.ports {
                    return (segment.sport, segment.dport) == (ports.src, ports.dst);
                }
                if matches!(self.phase, Phase::Connecting { .. }) {
                    // A four-tuple of old may be taken again (tcp_tw_reuse): then the SYN has another number.
                    let opens = segment.flags & (flag::SYN | flag::ACK) == flag::SYN;
                    let again = |i: usize| opens && self.flows[i].to_live(0, false) != segment.seq;
                    return self.flow_of(live).is_none_or(again);
                }
                self.current.is_none() || self.flow_of(live) == self.current
            }
            (Body::Udp(_), LiveBody::Udp(_)) => true,
            // A message may come where something else is expected: that is a difference, not another connection.
            (Body::Icmp(_), _) | (_, LiveBody::Icmp(_) | LiveBody::Other { .. }) => true,
            (Body::Tcp(_), LiveBody::Udp(_)) | (Body::Udp(_), LiveBody::Tcp(_)) => true,
        }
    }

    /// What the script has as one packet may come as several of the same size in a row.
    fn rest_of_unit(&mut self, packet: &Packet, emitted: &mut Emitted) {
        let Body::Tcp(expected) = &packet.body else { return };
        let wanted = usize::from(expected.seq.len);
        if self.config.strict_segments {
            return;
        }
        while let Ok(Pkt { body: LiveBody::Tcp(first), .. }) = &emitted.packet {
            let have = first.payload.len();
            if have == 0 || have >= wanted {
                return;
            }
            self.collect();
            let next_seq = first.seq.wrapping_add(have as u32);
            let continues = |e: &Emitted| {
                let Ok(Pkt { body: LiveBody::Tcp(next), .. }) = &e.packet else { return false };
                // Only what is sent in the same instant is one, and nothing follows a FIN.
                next.seq == next_seq
                    && (next.sport, next.dport, next.ack) == (first.sport, first.dport, first.ack)
                    && (next.window, &next.options, next.urgent)
                        == (first.window, &first.options, first.urgent)
                    && first.flags & flag::FIN == 0
                    && e.at.abs_diff(emitted.at) <= self.target.jitter()
                    && !next.payload.is_empty()
                    && have + next.payload.len() <= wanted
            };
            let Some(at) = self.waiting.iter().position(|e| self.is_candidate(packet, e)) else { return };
            if !self.waiting.get(at).is_some_and(continues) {
                return;
            }
            let Some(Emitted { packet: Ok(Pkt { body: LiveBody::Tcp(next), .. }), why, .. }) =
                self.waiting.remove(at)
            else {
                return;
            };
            if let Ok(Pkt { body: LiveBody::Tcp(first), .. }) = &mut emitted.packet {
                first.payload.extend(next.payload);
                // The last one's flags count: what is cut up carries PSH or not as it pleases.
                first.flags = first.flags & !flag::PSH | next.flags & (flag::FIN | flag::PSH);
            }
            emitted.why.extend(why);
        }
    }

    /// What a packet teaches of its flow: addresses, initial sequence number, timestamps. Answers which flow it is of.
    fn learn(&mut self, packet: &Packet, live: &Pkt) -> Option<usize> {
        let (Body::Tcp(expected), LiveBody::Tcp(segment)) = (&packet.body, &live.body) else {
            return self.current;
        };
        if let Phase::Connecting { fd } = self.phase
            && segment.flags & (flag::SYN | flag::ACK) == flag::SYN
        {
            let mut flow = Flow::new(live.from(), live.to());
            flow.fd = Some(fd);
            self.flows.push(flow);
            self.current = Some(self.flows.len() - 1);
            self.phase = Phase::Flow;
        }
        if expected.ports.is_some() {
            self.current = self.flow_of(live).or(self.current);
        }
        let index = self.flow_of(live).or(self.current)?;
        let flow = &mut self.flows[index];
        if segment.flags & flag::SYN != 0 && expected.flags.has(Flags::SYN) {
            if let Some(isn) = flow.proposed.take_if(|isn| segment.ack.wrapping_sub(*isn) <= 1 << 16) {
                flow.begin_anew(isn);
            }
            flow.learn(expected.seq.start, segment.seq);
        }
        let stamp = match &expected.options {
            TcpOptions::List(list) => list.iter().find_map(|o| match o {
                TcpOption::Ts { val, .. } => Some(*val),
                _ => None,
            }),
            TcpOptions::Any => None,
        };
        if let (Some(script), Some((live, _))) = (stamp, segment.timestamps()) {
            flow.stamp(script, live);
        }
        Some(index)
    }

    /// A flow label stands for one that is the same for the same number, and another for another.
    fn check_flow_label(&mut self, packet: &Packet, live: u32, fields: &mut Vec<Difference>) {
        let Some(script) = packet.ip.flow_label.filter(|label| *label != 0) else { return };
        let wrong = match self.flow_label {
            _ if live == 0 => Some("none"),
            Some((known, label)) if known == script && label != live => Some("another than before"),
            Some((known, label)) if known != script && label == live => Some("the same as before"),
            _ => None,
        };
        self.flow_label = Some((script, live));
        fields.extend(wrong.map(|seen| Difference {
            field: "flow label".into(),
            expected: format!("{script:#x}"),
            seen: seen.into(),
        }));
    }

    /// The bytes of a packet must be those that were written there.
    fn payload_differs(&mut self, live: &Pkt, packet: &Packet, flow: Option<usize>) -> Option<Difference> {
        let differ = |at: usize| Difference {
            field: "payload".into(),
            expected: "what was written".into(),
            seen: format!("other bytes from byte {at} of the packet on"),
        };
        match (&live.body, &packet.body) {
            (LiveBody::Tcp(segment), Body::Tcp(expected)) if !segment.payload.is_empty() => {
                let flow = &self.flows[flow?];
                let written = self.written.get(&flow.fd?)?;
                let from = flow.stack_offset(expected.seq.start, expected.flags.has(Flags::SYN));
                let from = usize::try_from(from).ok()?;
                let truth = written.get(from..).unwrap_or(&[]);
                let same = segment.payload.iter().zip(truth).take_while(|(a, b)| a == b).count();
                (same < segment.payload.len()).then(|| differ(same))
            }
            (LiveBody::Udp(datagram), Body::Udp(_)) => {
                let written = self.datagrams.pop_front()?;
                let same = datagram.payload.iter().zip(&written).take_while(|(a, b)| a == b).count();
                (datagram.payload != written).then(|| differ(same))
            }
            _ => None,
        }
    }

    /// Whether something that was to be within `span` was not.
    pub(super) fn time_differs(&self, span: Span, at: Nanos) -> Option<Difference> {
        let slack = self.tolerance(span.since, span.from);
        let fits = span.any || (at.saturating_add(slack) >= span.from && at <= span.to.saturating_add(slack));
        (!fits).then(|| {
            let expected = if span.from == span.to {
                format!("{} s", seconds(span.from))
            } else {
                format!("{} to {} s", seconds(span.from), seconds(span.to))
            };
            let expected = format!("{expected} (give or take {} s)", seconds(slack));
            Difference { field: "time".into(), expected, seen: format!("{} s", seconds(at)) }
        })
    }

    /// A packet that no event asked for, as the script would write it.
    pub(super) fn in_script_terms(&self, live: &Pkt) -> Packet {
        let body = match &live.body {
            LiveBody::Tcp(_) => Body::Tcp(Tcp {
                ports: None,
                flags: Flags::default(),
                seq: SeqRange { start: 0, len: 0 },
                ack: None,
                win: Some(0),
                urg: None,
                options: TcpOptions::List(Vec::new()),
            }),
            LiveBody::Udp(_) => Body::Udp(Udp { ports: None, len: 0 }),
            _ => Body::Icmp(Icmp { kind: String::new(), code: None, mtu: None, id: None, quoted: None }),
        };
        let like = Packet {
            direction: Direction::Out,
            encapsulation: Vec::new(),
            ip: IpInfo::default(),
            body,
            changes: None,
        };
        packets::seen(live, 0, self.flow_of(live).map(|i| &self.flows[i]), &like, self.config)
    }

    // ---- calls

    fn context(&self) -> Context<'_> {
        Context {
            config: self.config,
            fds: &self.fds,
            twins: &self.twins,
            written: &self.written,
            info: None,
        }
    }

    fn trouble(&self, trouble: Trouble) -> Stop {
        Box::new(match trouble {
            Trouble::Malformed(what) => Verdict::Malformed(self.pos, what),
            Trouble::Unsupported(what) => {
                Verdict::NotRun(format!("line {}: finack does not support {what}", self.pos.line))
            }
        })
    }

    pub(super) fn call(&mut self, spec: &Call, due: Option<Nanos>, span: Span) -> Result<(), Stop> {
        self.finish_blocked()?;
        let call = calls::prepare(spec, &self.context()).map_err(|t| self.trouble(t))?;
        self.note_in_ladder(format!("{} {}", seconds(self.target.now()), Action::Call(spec.clone()).text()));
        self.remember(spec, &call);
        let before = self.target.now();
        let key = Signatures::of_call(&call);
        match self.target.call(call) {
            Begun::Returned(answer) => {
                self.collect();
                if let Some((name, value)) = key.filter(|_| answer.is_ok()) {
                    self.signatures.note(name, &value);
                }
                self.answered(spec, &answer)?;
                match due.and_then(|due| self.time_differs(Span { from: due, to: due, ..span }, before)) {
                    Some(late) => {
                        self.call_failed(spec, "the call returns at another time", vec![late], &answer)
                    }
                    None => Ok(()),
                }
            }
            Begun::Blocked(id) => {
                self.collect();
                let Some(due) = due else {
                    let what = format!("{} blocks, and the script says that it returns at once", spec.name);
                    return Err(self.failure(
                        what,
                        Some(Action::Call(spec.clone()).text()),
                        None,
                        Vec::new(),
                        Vec::new(),
                    ));
                };
                let pos = self.pos;
                self.blocked = Some(Blocked { id, spec: spec.clone(), pos, due, since: span.from });
                self.check_returned()
            }
        }
    }

    /// What a call means for the packets that follow.
    fn remember(&mut self, spec: &Call, call: &Posix) {
        let script_fd = match spec.args.first() {
            Some(Expr::Int(fd)) => *fd,
            _ => -1,
        };
        let of_udp = self.udp_fds.contains(&script_fd);
        match call {
            Posix::Listen(..) => self.phase = Phase::Listening,
            Posix::Connect(_, Address::Inet(to)) if of_udp => {
                self.udp = Some(UdpFlow { fd: script_fd, remote: Some(*to) });
            }
            Posix::Connect(_, Address::Inet(_)) => {
                let open = self.flows.iter().any(|f| f.fd == Some(script_fd));
                if !open {
                    self.phase = Phase::Connecting { fd: script_fd };
                }
            }
            Posix::Bind(..) if of_udp => self.udp = Some(UdpFlow { fd: script_fd, remote: None }),
            Posix::Send(_, out) if of_udp => {
                let before = self.udp.filter(|u| u.fd == script_fd).and_then(|u| u.remote);
                let to = match out.to {
                    Some(Address::Inet(to)) => Some(to),
                    _ => before,
                };
                self.udp = Some(UdpFlow { fd: script_fd, remote: to });
                self.datagrams.push_back(out.data.clone());
            }
            Posix::Send(_, out) => {
                let open = self.flows.iter().any(|f| f.fd == Some(script_fd));
                if out.flags & abi::MSG_FASTOPEN != 0 && !open {
                    self.phase = Phase::Connecting { fd: script_fd };
                }
                let known = self.known_as(script_fd);
                self.written.entry(known).or_default().extend_from_slice(&out.data);
            }
            Posix::Close(_) => {
                // The descriptor may come back as another file.
                self.fds.remove(&script_fd);
                self.udp_fds.retain(|fd| *fd != script_fd);
            }
            _ => {}
        }
    }

    /// Compares a call's answer, and takes note of what it means.
    fn answered(&mut self, spec: &Call, answer: &Answer) -> Result<(), Stop> {
        let mut opened = Vec::new();
        let info = self.info_asked_for(spec);
        let differences = calls::differences(spec, answer, &Context { info, ..self.context() }, &mut opened);
        let differences = differences.map_err(|t| self.trouble(t))?;
        for (script, live) in opened {
            self.opened(spec, answer, script, live);
        }
        self.count_bytes(spec, answer);
        self.carry(spec, answer);
        if !differences.is_empty() {
            return self.call_failed(spec, "the call answers otherwise", differences, answer);
        }
        match self.read_differs(spec, answer) {
            Some(difference) => {
                self.call_failed(spec, "the call reads other bytes", vec![difference], answer)
            }
            None => Ok(()),
        }
    }

    /// `tcp_info`, where a call names fields of it.
    fn info_asked_for(&mut self, spec: &Call) -> Option<Vec<finack_posix::info::Field>> {
        let fields = matches!(spec.args.get(3), Some(Expr::Struct(_)));
        let (true, Some(Expr::Int(fd))) = (fields && spec.name == "getsockopt", spec.args.first()) else {
            return None;
        };
        self.target.tcp_info(self.fds.get(fd).copied()?).ok()
    }

    fn opened(&mut self, spec: &Call, answer: &Answer, script: i64, live: finack_posix::Fd) {
        self.fds.insert(script, live);
        self.hand_over(script);
        if let (true, Some(Expr::Int(old))) = (spec.name == "dup", spec.args.first()) {
            self.twins.insert(script, self.known_as(*old));
        }
        for flow in &mut self.flows {
            // An older connection had the number.
            if flow.fd == Some(script) {
                flow.fd = None;
            }
        }
        if let Ok(Reply::Accepted(_, Address::Inet(peer))) = answer {
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            if let Some(flow) = self.flows.iter_mut().rev().find(|f| f.remote == peer) {
                flow.fd = Some(script);
            }
        }
        let dgram = |e: &Expr| e.to_string().contains("SOCK_DGRAM");
        if spec.name == "socket" && spec.args.get(1).is_some_and(dgram) {
            self.udp_fds.push(script);
            self.udp = Some(UdpFlow { fd: script, remote: None });
        }
    }

    /// The descriptor that a file is known by: the first that it had, if others are duplicates of it.
    pub(super) fn known_as(&self, fd: i64) -> i64 {
        self.twins.get(&fd).copied().unwrap_or(fd)
    }

    /// A number is another file's from now on: what was known by it is known by a duplicate, if there is one.
    fn hand_over(&mut self, fd: i64) {
        self.twins.remove(&fd);
        let written = self.written.remove(&fd);
        let Some(heir) = self.twins.iter().find(|(_, known)| **known == fd).map(|(twin, _)| *twin) else {
            return;
        };
        self.twins.remove(&heir);
        self.twins.values_mut().filter(|known| **known == fd).for_each(|known| *known = heir);
        self.written.extend(written.map(|bytes| (heir, bytes)));
        self.flows.iter_mut().filter(|f| f.fd == Some(fd)).for_each(|f| f.fd = Some(heir));
    }

    /// A send that took less than it was given wrote less.
    fn count_bytes(&mut self, spec: &Call, answer: &Answer) {
        let Some(Expr::Int(fd)) = spec.args.first() else { return };
        if !matches!(spec.name.as_str(), "write" | "writev" | "send" | "sendto" | "sendmsg") {
            return;
        }
        let Ok(call) = calls::prepare(spec, &self.context()) else { return };
        let Posix::Send(_, out) = call else { return };
        let taken = answer.as_ref().map_or(0, Reply::returned).max(0).unsigned_abs() as usize;
        if self.udp_fds.contains(fd) {
            if answer.is_err() {
                self.datagrams.pop_back();
            }
            return;
        }
        if let Some(written) = self.written.get_mut(&self.known_as(*fd)) {
            let kept = written.len().saturating_sub(out.data.len().saturating_sub(taken));
            written.truncate(kept);
        }
    }

    /// What is read must be what was injected there.
    fn read_differs(&mut self, spec: &Call, answer: &Answer) -> Option<Difference> {
        let Ok(Reply::Received(received)) = answer else { return None };
        let Some(Expr::Int(fd)) = spec.args.first() else { return None };
        let special = |e: &Expr| {
            let text = e.to_string();
            ["MSG_OOB", "MSG_ERRQUEUE"].iter().any(|flag| text.contains(flag))
        };
        if spec.args.iter().skip(2).any(special) {
            return None;
        }
        let peeks = spec.args.iter().any(|e| e.to_string().contains("MSG_PEEK"));
        let known = self.known_as(*fd);
        let (offset, checked) = if self.udp_fds.contains(fd) {
            (0, true)
        } else {
            let flow = self.flows.iter_mut().find(|f| f.fd == Some(known))?;
            let count = received.count as u64;
            let offset = flow.read + if peeks { flow.peeked.unwrap_or(0) } else { 0 };
            if peeks {
                flow.peeked = flow.peeked.map(|at| at + count);
            } else {
                flow.read += count;
                flow.peeked = flow.peeked.map(|at| at.saturating_sub(count));
            }
            (offset, !flow.urgent)
        };
        let wrong = pattern::mismatch(PEER, offset, &received.data).filter(|_| checked)?;
        Some(Difference {
            field: "data".into(),
            expected: "what was injected".into(),
            seen: format!("other bytes from byte {wrong} on"),
        })
    }

    fn call_failed(
        &mut self,
        spec: &Call,
        what: &str,
        fields: Vec<Difference>,
        answer: &Answer,
    ) -> Result<(), Stop> {
        let shown = match answer {
            Ok(reply) => reply.returned().to_string(),
            Err(errno) => format!("-1 {errno}"),
        };
        let mut expected = Action::Call(spec.clone()).text();
        let mut seen = expected.clone();
        if let Some(at) = seen.rfind(") = ") {
            seen.truncate(at + 4);
            seen.push_str(&shown);
            expected = expected.trim().to_owned();
        }
        if self.config.non_fatal_calls {
            self.notes.push(format!("line {}: {what}: {}", self.pos.line, seen.trim()));
            return Ok(());
        }
        let reasons = self.target.remarks();
        let late = reasons.len().saturating_sub(4);
        let reasons = reasons.into_iter().skip(late).collect();
        Err(self.failure(what.into(), Some(expected), Some(seen.trim().to_owned()), fields, reasons))
    }

    /// Calls that blocked and have returned.
    pub(super) fn check_returned(&mut self) -> Result<(), Stop> {
        while let Some(returned) = self.target.returned() {
            let Some(blocked) = self.blocked.take_if(|b| b.id == returned.id) else { continue };
            let pos = std::mem::replace(&mut self.pos, blocked.pos);
            let Blocked { spec, due, since, .. } = blocked;
            self.answered(&spec, &returned.answer)?;
            let span = Span { from: due, to: due, any: false, since };
            if let Some(late) = self.time_differs(span, returned.at) {
                self.call_failed(&spec, "the call returns at another time", vec![late], &returned.answer)?;
            }
            self.pos = pos;
        }
        Ok(())
    }

    /// A call that blocks must have returned before the next is made, and before the script ends.
    pub(super) fn finish_blocked(&mut self) -> Result<(), Stop> {
        while let Some(Blocked { due, since, .. }) = &self.blocked {
            let deadline = due.saturating_add(self.tolerance(*since, *due));
            self.check_returned()?;
            self.collect();
            let Some(blocked) = &self.blocked else { return Ok(()) };
            if self.target.now() >= deadline {
                self.pos = blocked.pos;
                let what = format!("{} still blocks at {} s", blocked.spec.name, seconds(deadline));
                let text = Action::Call(blocked.spec.clone()).text();
                return Err(self.failure(what, Some(text), None, Vec::new(), Vec::new()));
            }
            self.target.wait(deadline);
        }
        Ok(())
    }
}

impl Action {
    /// As the script has it, without a time.
    fn text(&self) -> String {
        let event =
            Event { pos: Default::default(), when: crate::ast::When::Relative(0), action: self.clone() };
        event.to_string().trim_start_matches("+0").trim().to_owned()
    }
}
