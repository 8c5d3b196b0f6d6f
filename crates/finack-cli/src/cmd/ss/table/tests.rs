use super::*;

fn socket(value: serde_json::Value) -> Socket {
    serde_json::from_value(value).unwrap()
}

fn run() -> Run {
    Run { pid: 4711, command: vec!["curl".into(), "-s".into()], ..Run::default() }
}

fn shown(look: Look, sockets: &[Socket]) -> String {
    let mut out = Vec::new();
    let mut table = Table::new(look);
    sockets.iter().for_each(|s| table.add(&run(), s, &mut out).unwrap());
    table.finish(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn three() -> Vec<Socket> {
    vec![
        socket(serde_json::json!({
            "protocol": "tcp", "state": "ESTABLISHED", "local": "198.18.0.2:40122", "peer": "198.18.0.80:80",
            "peer_name": "hello.finack", "recv_q": 0, "send_q": 118, "inode": 77, "uid": 1000, "cookie": 255,
            "timer": { "name": "on", "remaining": 0.2, "retries": 1 }, "time_in_state": 3.25,
        })),
        socket(serde_json::json!({
            "protocol": "tcp", "state": "LISTEN", "local": "[::]:8000", "recv_q": 1, "send_q": 128,
        })),
        socket(serde_json::json!({
            "protocol": "udp", "state": "CLOSED", "local": "0.0.0.0:53",
        })),
    ]
}

#[test]
fn columns_line_up_at_their_colons() {
    let look = Look { header: true, netid: true, ..Look::default() };
    assert_eq!(
        shown(look, &three()),
        "\
Netid State  Recv-Q Send-Q Local Address:Port  Peer Address:Port
tcp   ESTAB  0      118       198.18.0.2:40122 hello.finack:80
tcp   LISTEN 1      128             [::]:8000             *:*
udp   UNCONN -      -            0.0.0.0:53               *:*
"
    );
}

#[test]
fn numbers_timers_and_owners_are_those_of_ss() {
    let holders = vec![Holder { name: "cu\u{1b}rl".into(), pid: 9, fd: 5 }];
    let look = Look {
        numeric: true,
        options: true,
        extended: true,
        runs: true,
        processes: Some(HashMap::from([(77, holders)])),
        ..Look::default()
    };
    assert_eq!(
        shown(look, &three()[..1]),
        "ESTAB 0 118 198.18.0.2:40122 198.18.0.80:80 users:((\"cu?rl\",pid=9,fd=5)) run:(\"curl\",pid=4711) \
         timer:(on,200ms,1) for:3.2sec uid:1000 ino:77 sk:ff\n"
    );
}

#[test]
fn both_ends_are_told_with_i() {
    let s = socket(serde_json::json!({
        "protocol": "tcp", "state": "ESTABLISHED", "local": "198.18.0.2:40122", "peer": "198.18.0.80:80",
        "recv_q": 0, "send_q": 0, "memory": [0, 131072, 0, 87040, 0, 0, 0, 0, 0],
        "info": { "congestion": "cubic", "timestamps": true, "sack": true, "wscale": [7, 8], "rto": 0.204,
            "rtt": 0.000125, "rttvar": 0.00006, "ato": 0.04, "mss": 1448, "pmtu": 1500, "rcv_mss": 536, "adv_mss": 1448,
            "cwnd": 10, "bytes_sent": 78, "bytes_acked": 79, "bytes_received": 500, "segs_out": 5, "segs_in": 4,
            "last_sent": 1.5, "last_received": 1.5, "last_ack": 1.5, "delivery_rate": 1000000, "rcv_space": 14480 },
        "other": { "protocol": "tcp", "state": "SYN-RECEIVED", "local": "198.18.0.80:80", "recv_q": 3, "send_q": 4,
            "held": true, "time_in_state": 61.0 },
    }));
    let look = Look { info: true, memory: true, ..Look::default() };
    assert_eq!(
        shown(look, &[s]),
        "ESTAB 0 0 198.18.0.2:40122 198.18.0.80:80
\t skmem:(r0,rb131072,t0,tb87040,f0,w0,o0,bl0,d0)
\t ts sack cubic wscale:7,8 rto:204 rtt:0.125/0.06 ato:40 mss:1448 pmtu:1500 rcvmss:536 advmss:1448 cwnd:10 \
bytes_sent:78 bytes_acked:79 bytes_received:500 segs_out:5 segs_in:4 send 926.7Mbps lastsnd:1500 lastrcv:1500 \
lastack:1500 delivery_rate 8.0Mbps rcv_space:14480
\t finack: SYN-RECV recv-q:3 send-q:4 for:1min01sec undecided
"
    );
}

#[test]
fn times_are_short() {
    let times = [0.0, 0.2, 1.0, 6.68, 59.0, 119.0, 540.0, 7190.0, 90_000.0, 1e9, f64::INFINITY, f64::NAN];
    let shown: Vec<String> = times.iter().map(|t| time(*t)).collect();
    assert_eq!(shown.join(" "), "0ms 200ms 1sec 6.6sec 59sec 1min59sec 9min 119min 25h 11574d 11574074d 0ms");
}
