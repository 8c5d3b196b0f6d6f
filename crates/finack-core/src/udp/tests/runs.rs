//! Many datagrams with one call, and joined ones that arrive.

use super::*;
use crate::stack::UdpRecv;
use crate::udp::recv::MAX_RUN;

/// UDP_SEGMENT: what goes as one packet is on the wire what single calls would have sent.
#[test]
fn a_run_is_on_the_wire_as_its_datagrams_sent_one_by_one() {
    let data = [7u8; 3000];
    for (from, to) in [("10.0.0.1:5000", "10.0.0.2:53"), ("[fd00::1]:5000", "[fd00::2]:53")] {
        for sizes in
            [&[1400, 1400][..], &[5, 5, 5, 1], &[1000, 1000, 1000], &[9], &[3, 4], &[0, 0], &[2000, 2000]]
        {
            for discovery in [0, 1] {
                let mut hosts = [Host::a(), Host::a()];
                let parts: Vec<&[u8]> = sizes.iter().map(|len| &data[..*len]).collect();
                let [whole, single] = &mut hosts.each_mut().map(|host| {
                    host.settings.ip_no_pmtu_disc = discovery;
                    let socket = host.bind(from);
                    (host, socket)
                });
                assert_eq!(whole.0.send_run(whole.1, to, &parts, true), Ok(parts.len()));
                for part in &parts {
                    assert_eq!(single.0.send_to(single.1, to, part), Ok(part.len()));
                }
                assert!(whole.0.transmit_cut() == single.0.transmit_cut(), "{sizes:?} to {to}");
            }
        }
    }
}

#[test]
fn a_run_to_a_device_that_cuts_nothing_goes_one_by_one() {
    let mut a = Host::a();
    let s = a.bind("10.0.0.1:5000");
    assert_eq!(a.send_run(s, "10.0.0.2:53", &[b"aa", b"bb", b"c"], false), Ok(3));
    assert_eq!(core::iter::from_fn(|| a.transmit()).count(), 3);
    assert!(a.ip.out.lent_unit().is_none());
}

#[test]
fn a_run_that_finds_no_room_is_not_sent() {
    let mut a = Host::a();
    let s = a.bind("10.0.0.1:5000");
    let part = [7; 1400];
    let parts = [&part[..]; 40];
    let mut sent = 0;
    while a.send_run(s, "10.0.0.2:53", &parts, true) == Ok(40) {
        sent += 40;
        assert!(sent < 10_000, "no bound");
    }
    assert_eq!(a.send_run(s, "10.0.0.2:53", &parts, true), Err(Error::WouldBlock));
    assert_eq!(a.transmit_cut().len(), sent);
    assert_eq!(a.events(), [(s, Ready::WRITABLE)]);
    assert_eq!(a.send_run(s, "10.0.0.2:53", &parts, true), Ok(40));
}

fn receive_joined(host: &mut Host, from: &str, to: &str, data: &[u8], each: u16) -> u32 {
    let bytes = bytes::Bytes::from(datagram(from, to, data));
    let header = ip::parse(&bytes).unwrap();
    let segments = data.len().div_ceil(usize::from(each)) as u16;
    let meta = PacketMeta { segments, segment_size: each, ..PacketMeta::default() };
    let packet = Packet { meta, ..Packet::shared(bytes) };
    host.udp.input(&header, &packet, Cast::One, true).map_or(0, |d| d.taken)
}

/// What does not fit into the receive buffer is dropped datagram by datagram, as if each had come by itself.
#[test]
fn joined_datagrams_fill_the_buffer_as_single_ones_do() {
    let data = [7; 60 * 1000];
    for before in 0..4 {
        let mut taken = vec![];
        for joined in [true, false] {
            let mut a = Host::a();
            let s = a.bind("10.0.0.1:53");
            a.udp.set_buffers(s, Some(40_000), None).unwrap();
            for _ in 0..before {
                a.receive(&datagram("10.0.0.2:9", "10.0.0.1:53", &[1; 700])).unwrap();
            }
            let count = match joined {
                true => receive_joined(&mut a, "10.0.0.2:9", "10.0.0.1:53", &data, 1000),
                false => data
                    .chunks(1000)
                    .map(|one| a.receive(&datagram("10.0.0.2:9", "10.0.0.1:53", one)).unwrap_or(0))
                    .sum(),
            };
            let drops = a.udp.drops(s).unwrap();
            let lens: Vec<usize> =
                core::iter::from_fn(|| a.recv(s).ok()).map(|(data, _)| data.len()).collect();
            taken.push((count, drops, lens));
            assert_eq!(a.udp.queued, 0, "all is given back");
        }
        assert_eq!(taken[0], taken[1], "with {before} before");
    }
}

/// UDP_GRO: one call takes what one sender sent in one size, in order, and loses none of the rest.
#[test]
fn a_run_is_received_as_far_as_it_is_of_one_kind() {
    let mut a = Host::a();
    let s = a.bind("10.0.0.1:53");
    receive_joined(&mut a, "10.0.0.2:9", "10.0.0.1:53", b"aaabbbcc", 3);
    receive_joined(&mut a, "10.0.0.2:9", "10.0.0.1:53", b"dddeee", 3);
    for (from, data) in
        [("10.0.0.2:9", &b"fff"[..]), ("10.0.0.2:9", b""), ("10.0.0.2:8", b"ggg"), ("10.0.0.2:8", b"hhhh")]
    {
        a.receive(&datagram(from, "10.0.0.1:53", data)).unwrap();
    }
    let mut buf = [0; 100];
    let mut next = |room: usize| {
        let (first, len) = a.udp.recv_run(s, &mut buf[..room]).ok()?;
        Some((first.len, first.full_len, buf[..len].to_vec()))
    };
    assert_eq!(next(5), Some((3, 3, b"aaa".to_vec())), "as many as fit");
    assert_eq!(next(100), Some((3, 3, b"bbbcc".to_vec())), "a shorter one ends a run");
    assert_eq!(next(100), Some((3, 3, b"dddeeefff".to_vec())), "also over what came together");
    assert_eq!(next(100), Some((0, 0, vec![])), "one without data stands alone");
    assert_eq!(next(100), Some((3, 3, b"ggg".to_vec())), "a longer one begins the next");
    assert_eq!(next(2), Some((2, 4, b"hh".to_vec())), "what does not fit of the first is lost");
    assert_eq!(next(100), None);
}

/// A run is what single calls would have given, however its datagrams came, joined or not.
#[test]
fn a_run_is_received_as_single_calls_would_have_received_it() {
    let mut seed = 7_u32;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    for _ in 0..300 {
        let mut hosts = [Host::a(), Host::a()];
        let sockets = hosts.each_mut().map(|host| host.bind("10.0.0.1:53"));
        for number in 0..1 + random(6) {
            let (each, len) = (1 + random(3), random(100));
            let data: Vec<u8> = (0..len).map(|i| (number * 100 + i) as u8).collect();
            let from = ["10.0.0.2:9", "10.0.0.2:8"][usize::from(random(5) == 0)];
            let joined = len > each && random(3) > 0;
            for host in &mut hosts {
                match joined {
                    true => assert!(receive_joined(host, from, "10.0.0.1:53", &data, each as u16) > 0),
                    false => assert_eq!(host.receive(&datagram(from, "10.0.0.1:53", &data)), Ok(1)),
                }
            }
        }
        let [whole, single] = &mut hosts;
        for _ in 0..700 {
            let room = 1 + random(120);
            let mut buf = [0; 120];
            let run = whole.udp.recv_run(sockets[0], &mut buf[..room]);
            assert_eq!(
                run.map(|(first, len)| (first, buf[..len].to_vec())),
                by_single_calls(single, sockets[1], room)
            );
            assert_eq!(whole.udp.queued, single.udp.queued);
        }
        assert_eq!(whole.udp.queued, 0, "all was received");
    }
}

fn by_single_calls(host: &mut Host, socket: UdpId, room: usize) -> Result<(UdpRecv, Vec<u8>), Error> {
    let mut buf = [0; 120];
    let first = host.udp.recv(socket, &mut buf[..room], false)?;
    let mut all = buf[..first.len].to_vec();
    let mut last = first.full_len;
    for _ in 1..MAX_RUN {
        let Ok(next) = host.udp.recv(socket, &mut buf, true) else { break };
        let alike = (next.from, next.to) == (first.from, first.to);
        if !alike || last != first.len || !(1..=first.len).contains(&next.len) || all.len() + next.len > room
        {
            break;
        }
        host.udp.recv(socket, &mut buf, false)?;
        all.extend_from_slice(&buf[..next.len]);
        last = next.len;
    }
    Ok((first, all))
}
