//! The algorithms against published vectors: RFC 9235 for TCP-AO, RFC 1321 for what RFC 2385 is made of.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// One packet of RFC 9235: section, algorithm, whether options are left out, both ISNs (sender's first), traffic key
/// and the packet from its IP header on.
struct Vector(&'static str, Algorithm, bool, u32, u32, &'static str, &'static str);

use Algorithm::{AesCmac128 as Aes, HmacSha1 as Sha1};

#[rustfmt::skip]
const VECTORS: &[Vector] = &[
    Vector("4.1.1", Sha1, false, 0xfbfb_ab5a, 0, "6d63ef1b02fe1509d4b1402707fd7b0416abb74f",
        "45e0004cdd0f4000ff06bf6b0a0b0c0dac1b1c1de9d700b3fbfbab5a00000000e002ffffcac40000\
         020405b4010303080402080a00155ab7000000001d103d542ee437c6f8ede6d7c4d602e7"),
    Vector("4.1.2", Sha1, false, 0x11c1_4261, 0xfbfb_ab5a, "d9e217e4834a80ca2f3fd8de2e41b8e6797fea96",
        "45e0004c65064000ff063775ac1b1c1d0a0b0c0d00b3e9d711c14261fbfbab5be012ffff37760000\
         020405b4010303080402080a84a50beb00155ab71d10543deeab0fe24c3010815116b3be"),
    Vector("4.1.3", Sha1, false, 0xfbfb_ab5a, 0x11c1_4261, "d2e59c65ffc7b1a39347656463b70edc24a13d71",
        "45e0008736a14000ff06659f0a0b0c0dac1b1c1de9d700b3fbfbab5b11c14262c0180104a1620000\
         0101080a00155ac184a50beb1d103d547064cf998cc6c315c2c2e2bfffffffffffffffffffffffffffffffff\
         00430104dabf00b40a0b0c0d26020601040001000102028000020202000202420002064104\
         0000dabf02084006006400010100"),
    Vector("4.2.1", Sha1, true, 0xcb0e_fbee, 0, "30eaa1560cf0be57dab5c045229fb10a423cd7ea",
        "45e0004c53994000ff0648e20a0b0c0dac1b1c1dff1200b3cb0efbee00000000e002ffff541f0000\
         020405b4010303080402080a00024cce000000001d103d5480af3cfeb85368937b8f9ec2"),
    Vector("4.2.4", Sha1, true, 0xacd5_b5e1, 0xcb0e_fbee, "b5b2896bb3664e8176b0edc6e799524101a8307f",
        "45e0008754374000ff064809ac1b1c1d0a0b0c0d00b3ff12acd5b5e2cb0efc32c018010046b60000\
         0101080a576772f300024cce1d10543d97766e48ac262de9ae61b4f9ffffffffffffffffffffffffffffffff\
         00430104dac000b4ac1b1c1d26020601040001000102028000020202000202420002064104\
         0000dac002084006006400010100"),
    Vector("5.1.1", Aes, false, 0x787a_1ddf, 0, "f5b8b3d5f34fdbb6eb8d4ab9660e60e3",
        "45e0004c7b9f4000ff0620dc0a0b0c0dac1b1c1dc4fa00b3787a1ddf00000000e002ffff5a0f0000\
         020405b4010303080402080a00017ed0000000001d103d54e477e99c8040765498e55091"),
    Vector("5.1.3", Aes, false, 0x787a_1ddf, 0xfadd_6de9, "8c8ae0e8371ec5cbb97ea79d90418391",
        "45e00087fb4f4000ff06a0f00a0b0c0dac1b1c1dc4fa00b3787a1de0fadd6deac018010495050000\
         0101080a00017ed093f4e9e81d103d5477412742fa4dc433eff0973effffffffffffffffffffffffffffffff\
         00430104dabf00b40a0b0c0d26020601040001000102028000020202000202420002064104\
         0000dabf02084006006400010100"),
    Vector("5.2.3", Aes, true, 0x389b_ed71, 0xd384_4a6f, "035bc400a341ffe595f59f58005006ca",
        "45e00087ee914000ff06adae0a0b0c0dac1b1c1dda1c00b3389bed72d3844a70c018010488510000\
         0101080a000185e1ce4598381d103d547585e9e9d5c3ec857b96f837ffffffffffffffffffffffffffffffff\
         00430104dabf00b40a0b0c0d26020601040001000102028000020202000202420002064104\
         0000dabf02084006006400010100"),
    Vector("6.1.1", Sha1, false, 0x176a_833f, 0, "625ec09d575836edc9b6428418bbf06989a361bb",
        "6e0891dc00380640fd000000000000000000000000000001fd000000000000000000000000000002\
         f7e400b3176a833f00000000e002ffff47210000020405a0010303080402080a0041d08700000000\
         1d103d549033ec3d7334b64c5edd039f"),
    Vector("7.1.1", Aes, false, 0x193c_ccec, 0, "fa5a2108882d39d0c71929175ab1b7b8",
        "6e04a70600380640fd000000000000000000000000000001fd000000000000000000000000000002\
         f85a00b3193cccec00000000e002ffffde5d0000020405a0010303080402080a13e4ab9900000000\
         1d103d5459b588107481ac6dc3927040"),
];

/// RFC 5926 2.2, 3.1, 3.2 and RFC 5925 5.1, 5.2: KDFs and MACs, for IPv4 and IPv6, with and without options, as the
/// packets of RFC 9235 have them.
#[test]
fn traffic_keys_and_macs_are_those_of_rfc_9235() {
    for Vector(section, algorithm, exclude_options, src_isn, dst_isn, key, packet) in VECTORS {
        let bytes = hex(packet);
        let ip = finack_wire::ip::parse(&bytes).unwrap();
        let segment = ip.payload(&bytes);
        let (header, text) = segment.split_at(usize::from(segment[12] >> 4) * 4);
        let context = KeyContext {
            src: ip.src,
            dst: ip.dst,
            src_port: u16::from_be_bytes([segment[0], segment[1]]),
            dst_port: u16::from_be_bytes([segment[2], segment[3]]),
            src_isn: *src_isn,
            dst_isn: *dst_isn,
        };
        let traffic = algorithm.traffic_key(b"testvector", &context);
        assert_eq!(traffic.as_bytes(), hex(key), "traffic key of section {section}");
        let at = header.windows(2).rposition(|w| w == [29, 16]).unwrap() + 4;
        let place = MacPlace { at: at..at + 12, exclude_options: *exclude_options };
        let payload = [text];
        let signable = Signable { src: ip.src, dst: ip.dst, header, payload: &payload };
        let mac = algorithm.mac(&traffic, 0, &signable, &place);
        assert!(same(&mac[..12], &header[at..at + 12]), "MAC of section {section}: {mac:02x?}");
        assert_ne!(mac, algorithm.mac(&traffic, 1, &signable, &place), "the SNE counts");
    }
}

/// RFC 2385 2.0: pseudo-header, header without options and with checksum 0, data, key: spelt out byte by byte here.
#[test]
fn the_md5_digest_covers_what_rfc_2385_says() {
    use md5::Digest;
    let src: IpAddr = [10, 0, 0, 1].into();
    let dst: IpAddr = [10, 0, 0, 2].into();
    let mut header = vec![0x1f, 0x90, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0xa0, 0x18, 0x10, 0, 0xab, 0xcd, 0, 0];
    header.extend([1, 1, 19, 18]);
    header.extend([7; 16]);
    let signable = Signable { src, dst, header: &header, payload: &[b"he", b"llo"] };
    let mut covered = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 45];
    covered.extend([0x1f, 0x90, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0xa0, 0x18, 0x10, 0, 0, 0, 0, 0]);
    covered.extend(b"hello");
    covered.extend(b"password");
    let expected: [u8; 16] = md5::Md5::digest(&covered).into();
    assert_eq!(md5_signature(&signable, b"password"), expected);
    assert_ne!(md5_signature(&signable, b"passwore"), expected);
    // RFC 1321 A.5, so that the primitive is what its name says.
    assert_eq!(md5::Md5::digest(b"abc").as_slice(), hex("900150983cd24fb0d6963f7d28e17f72"));
}

fn key(peers: Peers, send_id: u8, recv_id: u8) -> AoKey {
    AoKey::new(peers, send_id, recv_id, Secret::new(b"secret").unwrap())
}

/// RFC 5925 3.1: identifiers of keys must not overlap where their peers do, and may be any value; 2.2: no peer has keys
/// of both kinds.
#[test]
fn keys_that_would_be_confused_are_refused() {
    let net = |a, len| Peers::network([10, 0, a, 0].into(), len).unwrap();
    let mut keys = Keys::new();
    keys.add_ao(key(net(1, 24), 0, 255)).unwrap();
    assert_eq!(keys.add_ao(key(net(0, 16), 0, 1)), Err(KeyError::Exists));
    assert_eq!(keys.add_ao(key(net(0, 16), 1, 255)), Err(KeyError::Exists));
    keys.add_ao(key(net(0, 16), 255, 0)).unwrap();
    keys.add_ao(key(net(2, 24), 0, 255)).unwrap();
    let md5 = |peers| Md5Key { peers, secret: Secret::new(b"x").unwrap() };
    assert_eq!(keys.set_md5(md5(net(1, 25))), Err(KeyError::OtherKind));
    keys.set_md5(md5(Peers::host([192, 0, 2, 1].into()))).unwrap();
    assert_eq!(keys.add_ao(key(Peers::network([0; 4].into(), 0).unwrap(), 9, 9)), Err(KeyError::OtherKind));
    let long = AoKey { mac_len: 17, ..key(net(9, 24), 7, 7) };
    assert_eq!(keys.add_ao(long), Err(KeyError::MacTooLong));
    assert_eq!(keys.remove_ao(&net(1, 24), 0, 254), Err(KeyError::NotFound));
    assert_eq!(Secret::new(&[0; 81]).unwrap_err(), KeyError::Length);
    assert_eq!(Peers::network([10, 0, 0, 0].into(), 33), Err(KeyError::Prefix));
}

/// As Linux: of several MD5 keys the longest prefix counts, of several of TCP-AO the one added last.
#[test]
fn the_key_that_names_the_peer_best_is_used() {
    let mut keys = Keys::new();
    for (addr, len, secret) in
        [([10, 0, 0, 0], 8, b"wide"), ([10, 0, 0, 1], 32, b"host"), ([10, 0, 0, 0], 24, b"near")]
    {
        let peers = Peers::network(addr.into(), len).unwrap();
        keys.set_md5(Md5Key { peers, secret: Secret::new(secret).unwrap() }).unwrap();
    }
    let used = |last| keys.md5_for([10, 0, 0, last].into()).unwrap().secret.as_bytes();
    assert_eq!((used(1), used(2)), (&b"host"[..], &b"near"[..]));
    assert_eq!(keys.md5_for([11, 0, 0, 1].into()), None);
    let mut keys = Keys::new();
    let peers = Peers::host([10, 0, 0, 1].into());
    keys.add_ao(key(peers, 1, 1)).unwrap();
    keys.add_ao(key(peers, 2, 2)).unwrap();
    assert_eq!(keys.ao_by_send_id(peers.addr(), None).unwrap().send_id, 2);
    assert_eq!(keys.ao_by_send_id(peers.addr(), Some(1)).unwrap().send_id, 1);
}

/// RFC 5925 2.2: two options of a kind, both kinds, and impossible lengths.
#[test]
fn options_that_sign_are_taken_only_when_they_stand_alone() {
    let md5 = [&[19, 18][..], &[0; 16]].concat();
    let ao = [29, 4, 1, 1];
    assert_eq!(mark(&[]), Some(Mark::None));
    assert_eq!(mark(&[1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]), Some(Mark::None));
    assert_eq!(mark(&md5), Some(Mark::Md5));
    assert_eq!(mark(&ao), Some(Mark::Ao));
    for bad in [[&ao[..], &ao].concat(), [&md5[..], &ao].concat(), vec![29, 3, 1], vec![29, 2], vec![29, 1]] {
        assert_eq!(mark(&bad), None, "{bad:?}");
    }
    assert_eq!(mark(&[&md5[..17], &[1, 1, 1]].concat()), Some(Mark::Md5), "18 bytes are 18 bytes");
    assert_eq!(mark(&[19, 17, 0, 0]), None);
    // Behind the end of the list nothing counts.
    assert_eq!(mark(&[&[0][..], &ao].concat()), Some(Mark::None));
}

/// RFC 5925 6.2: the extension counts the turns of the 32-bit number, from zero at the SYN; what is late belongs to
/// the turn before.
#[test]
fn the_extension_is_the_upper_half_of_the_position() {
    let isn = 0xffff_fff0;
    assert_eq!(extension(isn, 0), 0);
    assert_eq!(extension(isn, 15), 0);
    assert_eq!(extension(isn, 16), 1);
    assert_eq!(extension(isn, 16 + (1 << 32)), 2);
    assert_eq!(received_extension(isn, 20, 4), 1);
    assert_eq!(received_extension(isn, 20, 0xffff_fff8), 0);
    assert_eq!(received_extension(isn, 10, 5), 1);
}

/// No key is printed by mistake.
#[test]
fn secrets_are_not_shown() {
    let shown = std::format!("{:?}", key(Peers::host([10, 0, 0, 1].into()), 1, 1));
    assert!(!shown.contains("secret\"") && !shown.contains("115"), "{shown}");
}

/// RFC 5926 3.1.1.3: the names of user interfaces, and the default; beside them Linux's.
#[test]
fn algorithms_have_the_names_that_interfaces_use() {
    assert_eq!(Algorithm::named("SHA1"), Some(Sha1));
    assert_eq!(Algorithm::named("AES128"), Some(Aes));
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::named(algorithm.linux_name()), Some(*algorithm));
    }
    assert_eq!(Algorithm::named("hmac(md5)"), None);
    assert_eq!(Algorithm::default(), Sha1);
    assert_eq!(key(Peers::host([10, 0, 0, 1].into()), 1, 1).algorithm, Sha1);
}
