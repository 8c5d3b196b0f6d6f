use super::*;

#[test]
fn addresses_come_back_as_they_went() {
    let addresses = ["192.0.2.1:80", "[fd00::1]:8080", "[::ffff:192.0.2.1]:1"];
    for address in addresses.map(|a| Address::Inet(a.parse().unwrap())) {
        assert_eq!(decoded(&encoded(address)), address);
    }
    assert_eq!(encoded(Address::Unspecified), [0; 16]);
    for short in [&[][..], &[2, 0, 0], &[10, 0, 0, 80, 1, 2]] {
        assert_eq!(decoded(short), Address::Unspecified, "{short:?}");
    }
}

#[test]
fn control_messages_are_found_one_behind_another_and_a_cut_one_ends_them() {
    let message = |kind, n| Control { level: abi::SOL_IP, kind, data: ControlData::Number(n) };
    let mut bytes = [control_bytes(&message(2, 64)), control_bytes(&message(1, 3))].concat();
    let read = |bytes: &[u8]| -> Vec<Control> {
        let data = |(level, kind, data)| Control { level, kind, data: control_data(level, kind, data) };
        control_messages(bytes).map(data).collect()
    };
    assert_eq!(read(&bytes), [message(2, 64), message(1, 3)]);
    bytes.truncate(bytes.len() - 5);
    assert_eq!(read(&bytes), [message(2, 64)]);
    // A length that leads nowhere is no reason to go on for ever.
    assert_eq!(read(&[0; 64]), []);
}

#[test]
fn buffers_of_a_send_lie_apart() {
    let out = Outgoing { data: b"abcdef".to_vec(), buffers: vec![1, 3, 9], ..Outgoing::default() };
    let prepared = Prepared::new(Call::Send(3, out));
    let parts: Vec<&[u8]> = prepared.buffers.iter().map(|r| &prepared.memory[r.clone()]).collect();
    assert_eq!(parts, [&b"a"[..], b"bcd", b"ef"]);
    assert!(prepared.buffers.windows(2).all(|w| w[1].start >= w[0].end + GAP));
}
