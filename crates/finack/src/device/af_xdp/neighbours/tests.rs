use super::*;

const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 11]);
const V4: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 7);
const PEER_V4: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 254);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 7);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 2);

fn link() -> Neighbours {
    let addresses = vec![(V4.into(), 24), (V6.into(), 64)];
    Neighbours::new(US, addresses, vec![GATEWAY.into()], HashMap::new(), true)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The link addresses and the ARP packet of a frame.
fn arp_of(frame: &[u8]) -> (MacAddr, ArpPacket) {
    let header = EthernetHeader::parse(frame).unwrap();
    assert_eq!((header.src, header.ethertype), (US, EtherType::ARP));
    (header.dst, ArpPacket::parse(header.payload(frame)).unwrap())
}

fn ndp_of(frame: &[u8]) -> (MacAddr, IpAddr, NdpMessage) {
    let header = EthernetHeader::parse(frame).unwrap();
    assert_eq!((header.src, header.ethertype), (US, EtherType::IPV6));
    let ip = ip::parse(header.payload(frame)).unwrap();
    (header.dst, ip.dst, ndp::parse(&ip, ip.payload(header.payload(frame))).unwrap())
}

/// An IPv6 packet with a message of neighbour discovery.
fn message(src: Ipv6Addr, dst: Ipv6Addr, message: NdpMessage) -> Vec<u8> {
    let mut packet = link().ndp_frame(PEER, src, dst, &message).unwrap();
    packet.drain(..HEADER_LEN);
    packet
}

fn packet_of(reply: ArpPacket) -> [u8; arp::LEN] {
    let mut bytes = [0; arp::LEN];
    reply.emit(&mut bytes);
    bytes
}

#[test]
fn rfc_826_a_packet_waits_for_the_answer_to_one_question() {
    let (mut link, now) = (link(), Instant::now());
    let Route::Unknown(hop, Some(question)) = link.route(PEER_V4.into(), now) else { panic!() };
    let (to, asked) = arp_of(&question);
    assert_eq!((to, asked), (MacAddr::BROADCAST, ArpPacket::request(US, V4, PEER_V4)));
    assert!(link.wait(hop, vec![1]));
    // RFC 1122 2.3.2.1: not more often than once a second.
    assert_eq!(link.route(PEER_V4.into(), now + seconds(1) / 2), Route::Unknown(hop, None));
    assert!(link.wait(hop, vec![2]));
    assert!(matches!(link.route(PEER_V4.into(), now + seconds(1)), Route::Unknown(_, Some(_))));
    let outcome = link.arp(&packet_of(asked.reply(PEER)), now + seconds(1));
    assert_eq!(outcome.released, Some((PEER, VecDeque::from([vec![1], vec![2]]))));
    assert_eq!(outcome.reply, None);
    assert_eq!(link.route(PEER_V4.into(), now + seconds(2)), Route::To(PEER, None));
}

#[test]
fn who_asks_is_answered_and_remembered() {
    let (mut link, now) = (link(), Instant::now());
    let question = ArpPacket::request(PEER, PEER_V4, V4);
    let outcome = link.arp(&packet_of(question), now);
    assert_eq!(arp_of(&outcome.reply.unwrap()), (PEER, question.reply(US)));
    assert_eq!(link.route(PEER_V4.into(), now), Route::To(PEER, None));
    // RFC 5227: who probes has no address yet.
    let probe = ArpPacket::request(OTHER, Ipv4Addr::UNSPECIFIED, V4);
    assert!(link.arp(&packet_of(probe), now).reply.is_some());
    // What others ask of each other is nothing to us.
    let outcome = link.arp(&packet_of(ArpPacket::request(OTHER, GATEWAY, PEER_V4)), now);
    assert!(outcome.reply.is_none());
    assert!(matches!(link.route(GATEWAY.into(), now), Route::Unknown(..)));
}

#[test]
fn rfc_4861_neighbours_are_asked_for_in_their_group_and_answered() {
    let (mut link, now) = (link(), Instant::now());
    let Route::Unknown(hop, Some(question)) = link.route(PEER_V6.into(), now) else { panic!() };
    let group = ndp::solicited_node(PEER_V6);
    let asked = NdpMessage::Solicitation { target: PEER_V6, source_link: Some(US) };
    assert_eq!(ndp_of(&question), (MacAddr::from_multicast_v6(group), group.into(), asked));
    assert!(link.wait(hop, vec![6]));
    let told = NdpMessage::Advertisement {
        target: PEER_V6,
        router: false,
        solicited: true,
        override_: true,
        target_link: Some(PEER),
    };
    let outcome = link.ndp(&message(PEER_V6, V6, told), now).unwrap();
    assert_eq!(outcome.released, Some((PEER, VecDeque::from([vec![6]]))));
    assert_eq!(link.route(PEER_V6.into(), now), Route::To(PEER, None));

    let asked = NdpMessage::Solicitation { target: V6, source_link: Some(PEER) };
    let outcome = link.ndp(&message(PEER_V6, ndp::solicited_node(V6), asked), now).unwrap();
    let (to, ip, answer) = ndp_of(&outcome.reply.unwrap());
    assert_eq!((to, ip), (PEER, PEER_V6.into()));
    assert!(matches!(answer, NdpMessage::Advertisement { target: V6, target_link: Some(US), .. }));
    // 7.2.4: a probe for a duplicate is answered to all nodes.
    let probe = NdpMessage::Solicitation { target: V6, source_link: None };
    let outcome = link.ndp(&message(Ipv6Addr::UNSPECIFIED, ndp::solicited_node(V6), probe), now).unwrap();
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    assert_eq!(ndp_of(&outcome.reply.unwrap()).1, IpAddr::V6(all));
}

#[test]
fn rfc_4861_an_advertisement_that_does_not_override_changes_nothing() {
    let (mut link, now) = (link(), Instant::now());
    let tell = |mac, override_| {
        message(
            PEER_V6,
            V6,
            NdpMessage::Advertisement {
                target: PEER_V6,
                router: false,
                solicited: true,
                override_,
                target_link: Some(mac),
            },
        )
    };
    // 7.2.5: nobody asked.
    link.ndp(&tell(PEER, true), now).unwrap();
    assert!(matches!(link.route(PEER_V6.into(), now), Route::Unknown(..)));
    link.ndp(&tell(PEER, false), now).unwrap();
    link.ndp(&tell(OTHER, false), now).unwrap();
    assert_eq!(link.route(PEER_V6.into(), now), Route::To(PEER, None));
    link.ndp(&tell(OTHER, true), now).unwrap();
    assert_eq!(link.route(PEER_V6.into(), now), Route::To(OTHER, None));
}

#[test]
fn what_was_not_confirmed_for_long_is_asked_for_and_at_last_forgotten() {
    let (mut link, now) = (link(), Instant::now());
    link.arp(&packet_of(ArpPacket::request(PEER, PEER_V4, V4)), now);
    assert_eq!(link.route(PEER_V4.into(), now + HOLDS - seconds(1)), Route::To(PEER, None));
    for second in 0..u64::from(TRIES) {
        let Route::To(PEER, Some(question)) = link.route(PEER_V4.into(), now + HOLDS + seconds(second))
        else {
            panic!()
        };
        assert_eq!(arp_of(&question).0, PEER, "whom it concerns is asked, and nobody else");
    }
    let late = now + HOLDS + seconds(TRIES.into());
    let Route::Unknown(_, Some(question)) = link.route(PEER_V4.into(), late) else { panic!() };
    assert_eq!(arp_of(&question).0, MacAddr::BROADCAST);
    link.arp(&packet_of(ArpPacket::request(US, V4, PEER_V4).reply(OTHER)), late);
    assert_eq!(link.route(PEER_V4.into(), late + seconds(2)), Route::To(OTHER, None));
}

#[test]
fn the_way_leads_to_the_neighbour_the_gateway_or_nowhere() {
    let (mut link, now) = (link(), Instant::now());
    let Route::Unknown(hop, _) = link.route(FAR.into(), now) else { panic!() };
    assert_eq!(hop, IpAddr::from(GATEWAY));
    assert_eq!(link.route("2001:db8::1".parse().unwrap(), now), Route::None, "no gateway of that family");
    let link_local = "fe80::1".parse().unwrap();
    assert!(matches!(link.route(link_local, now), Route::Unknown(hop, _) if hop == link_local));
    for all in ["10.66.0.255", "255.255.255.255"] {
        assert_eq!(link.route(all.parse().unwrap(), now), Route::To(MacAddr::BROADCAST, None));
    }
    let group = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(link.route("ff02::1".parse().unwrap(), now), Route::To(group, None));
}

#[test]
fn where_nothing_may_be_asked_who_sends_shows_the_way() {
    let now = Instant::now();
    let fixed = HashMap::from([(IpAddr::from(PEER_V4), OTHER)]);
    let mut link = Neighbours::new(US, vec![(V4.into(), 24)], vec![GATEWAY.into()], fixed, false);
    assert_eq!(link.route(PEER_V4.into(), now), Route::To(OTHER, None), "known from the start");
    assert!(matches!(link.route(FAR.into(), now), Route::Unknown(_, None)));
    link.seen(FAR.into(), PEER, now);
    assert_eq!(link.route(FAR.into(), now + HOLDS * 2), Route::To(PEER, None), "through the gateway");
}

#[test]
fn what_waits_and_what_is_remembered_has_bounds() {
    let (mut link, now) = (link(), Instant::now());
    link.addresses = vec![(Ipv4Addr::new(10, 0, 0, 1).into(), 8)];
    let neighbour = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a01_0000 + n));
    for n in 0..MOST_WAITING as u8 {
        link.route(neighbour(0), now);
        assert!(link.wait(neighbour(0), vec![n]));
    }
    assert!(!link.wait(neighbour(0), vec![0xff]), "the oldest made room for it");
    assert_eq!(link.entries[&neighbour(0)].waiting.front(), Some(&vec![1]));
    for n in 1..3 * MOST_NEIGHBOURS as u32 {
        link.route(neighbour(n), now + seconds(1));
        link.wait(neighbour(n), vec![0]);
        assert!(link.entries.len() <= MOST_NEIGHBOURS && link.waiting <= MOST_WAITING_IN_ALL);
    }
    let waiting: usize = link.entries.values().map(|entry| entry.waiting.len()).sum();
    assert_eq!(link.waiting, waiting);
    // One that has answered is not displaced by those that have not.
    let known = neighbour(3 * MOST_NEIGHBOURS as u32 - 1);
    let IpAddr::V4(v4) = known else { panic!() };
    link.arp(&packet_of(ArpPacket::request(US, V4, v4).reply(PEER)), now);
    for n in 0..2 * MOST_NEIGHBOURS as u32 {
        link.route(neighbour(n + 100_000), now + seconds(2));
    }
    assert_eq!(link.route(known, now), Route::To(PEER, None));
}

#[test]
fn nobody_can_take_our_own_address_or_be_a_group() {
    let (mut link, now) = (link(), Instant::now());
    link.arp(&packet_of(ArpPacket::request(OTHER, V4, V4)), now);
    link.arp(&packet_of(ArpPacket::request(MacAddr::BROADCAST, PEER_V4, V4)), now);
    link.arp(&packet_of(ArpPacket::request(OTHER, FAR, V4)), now);
    assert!(link.entries.is_empty());
    assert!(link.arp(&[0; 10], now).reply.is_none());
    assert!(link.ndp(&[0x60; 50], now).is_none());
}
