use super::*;
use crate::ip::{self, Fragment};
use crate::samples::{self, hex};
use std::string::ToString;

fn tuple(sample: &str) -> Option<FourTuple> {
    let packet = hex(sample);
    let ip = ip::parse(&packet).unwrap();
    FourTuple::from_packet(&ip, ip.payload(&packet))
}

#[test]
fn the_destination_is_local() {
    let flow = tuple(samples::SYN_V4).unwrap();
    assert_eq!(flow.local, "192.0.2.2:80".parse().unwrap());
    assert_eq!(flow.remote, "192.0.2.1:36888".parse().unwrap());
    assert_eq!(flow.to_string(), "192.0.2.2:80 <-> 192.0.2.1:36888");
    let flow = tuple(samples::UDP_V6).unwrap();
    assert_eq!(flow.local, "[2001:db8::2]:53".parse().unwrap());
    assert_eq!(flow.remote, "[2001:db8::1]:4000".parse().unwrap());
}

#[test]
fn without_ports() {
    assert_eq!(tuple(samples::ECHO_REPLY_V4), None);
    assert_eq!(tuple(samples::MLD), None);
    let ip = ip::parse(&hex(samples::UDP_V4)).unwrap();
    assert_eq!(FourTuple::from_packet(&ip, &[1, 2, 3]), None);
    assert!(FourTuple::from_packet(&ip, &[1, 2, 3, 4]).is_some());
    let fragment = |offset| Some(Fragment { id: 1, offset, more: true });
    let first = IpHeader { fragment: fragment(0), ..ip };
    assert!(FourTuple::from_packet(&first, &[1, 2, 3, 4]).is_some());
    let second = IpHeader { fragment: fragment(8), ..ip };
    assert_eq!(FourTuple::from_packet(&second, &[1, 2, 3, 4]), None);
}

#[test]
fn canonical_is_the_same_for_both_directions() {
    for sample in [samples::SYN_V4, samples::UDP_V6] {
        let flow = tuple(sample).unwrap();
        assert_ne!(flow, flow.reversed());
        assert_eq!(flow, flow.reversed().reversed());
        assert_eq!(flow.canonical(), flow.reversed().canonical());
        assert_eq!(flow.canonical(), flow.canonical().canonical());
        assert!(flow.canonical() == flow || flow.canonical() == flow.reversed());
    }
}
