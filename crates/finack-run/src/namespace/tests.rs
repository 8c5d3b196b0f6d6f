//! What can be shown without a namespace; the rest is in `tests/private_network`.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::channel::{Channel, Decoder, Encoder};
use super::exit_code;
use super::files::{address_selection, name_switch};
use super::maps::identity;
use super::setup::is_local_route;

#[test]
fn messages_arrive_whole_with_their_descriptors() {
    let (a, b) = Channel::pair().unwrap();
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| i as u8).collect();
    let mut body = Encoder::default();
    body.int(-7).bytes(&large).list(&["one", ""]);
    let sender = std::thread::spawn(move || {
        let mut file = File::from(rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        file.write_all(b"passed on").unwrap();
        a.send(1, &body.0, &[file.as_fd()]).unwrap();
        a.send(2, &[], &[]).unwrap();
    });
    let first = b.recv().unwrap().unwrap();
    let mut fields = Decoder(&first.body);
    assert_eq!(fields.int().unwrap(), -7);
    assert_eq!(fields.bytes().unwrap(), large);
    assert_eq!(fields.list().unwrap(), [&b"one"[..], b""]);
    assert!(fields.int().is_err(), "nothing more");
    assert_eq!((first.tag, first.fds.len()), (1, 1));
    let mut file = File::from(first.fds.into_iter().next().unwrap());
    let mut contents = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut contents).unwrap();
    assert_eq!(contents, "passed on");
    assert_eq!(b.recv().unwrap().unwrap().tag, 2);
    sender.join().unwrap();
    assert!(b.recv().unwrap().is_none(), "the other end is closed");
}

#[test]
fn fields_that_lie_about_their_length_are_refused() {
    for body in [&[0xff, 0xff, 0xff, 0xff][..], &[0, 0, 0, 9, 1], &[0, 0], &[0x7f, 0xff, 0xff, 0xff]] {
        assert!(Decoder(body).bytes().is_err());
        assert!(Decoder(body).list().is_err() || body[0] == 0xff);
    }
}

#[test]
fn names_come_from_files_and_dns_only() {
    let text = "passwd: files sss\n hosts: mymachines resolve [!UNAVAIL=return] files dns\nnetworks: files";
    assert_eq!(name_switch(text), "hosts: files dns\npasswd: files sss\nnetworks: files\n");
    assert_eq!(name_switch(""), "hosts: files dns\n");
}

/// RFC 6724 2.1: unique local addresses come after IPv4, unless the system has its own preference.
#[test]
fn addresses_are_selected_by_the_newer_table() {
    let text = address_selection("# a comment\nlabel ::1/128 0").unwrap();
    assert!(text.starts_with("# a comment\nlabel ::1/128 0\nprecedence ::1/128 50\n"), "{text}");
    assert!(text.contains("\nprecedence fc00::/7 3\n") && text.contains("\nprecedence ::ffff:0:0/96 35\n"));
    assert_eq!(address_selection("  precedence ::/0 40\n"), None);
    assert!(address_selection("#precedence ::/0 40").is_some());
}

#[test]
fn all_identities_are_mapped_to_themselves() {
    assert_eq!(identity("         0          0 4294967295\n"), "0 0 4294967295\n");
    assert_eq!(identity("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    assert_eq!(identity("garbage\n"), "");
}

#[test]
fn exit_codes_are_those_of_a_shell() {
    assert_eq!(exit_code(ExitStatus::from_raw(42 << 8)), 42);
    assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    assert_eq!(exit_code(ExitStatus::from_raw(11 | 0x80)), 139, "with a core");
}

#[test]
fn the_route_to_an_own_address_is_told_from_others() {
    let line = "fd66696e61636b000000000000000002 80 00000000000000000000000000000000 00 \
                00000000000000000000000000000000 00000000 00000002 00000000 80200001  finack0";
    let address = "fd66:696e:6163:6b00::2".parse().unwrap();
    assert!(is_local_route(line, address));
    assert!(!is_local_route(line, "fd66:696e:6163:6b00::3".parse().unwrap()));
    assert!(!is_local_route(&line.replace(" 80 ", " 40 "), address), "a prefix");
    assert!(!is_local_route(&line.replace("80200001", "00200001"), address), "not to this host");
    assert!(!is_local_route("", address));
}
