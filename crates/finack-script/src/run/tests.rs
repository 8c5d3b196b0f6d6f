use std::path::Path;

use super::*;

fn drilled(text: &str) -> Report {
    drill(text, Path::new("/nonexistent"), &Options::default())
}

fn passes(text: &str) -> Report {
    let report = drilled(text);
    match &report.verdict {
        Verdict::Passed => report,
        Verdict::Failed(failure) => panic!("{}: {failure}", failure.pos),
        other => panic!("{other:?}"),
    }
}

fn fails(text: &str) -> Failure {
    match drilled(text).verdict {
        Verdict::Failed(failure) => *failure,
        other => panic!("{text}\n{other:?}"),
    }
}

fn not_run(text: &str) -> String {
    match drilled(text).verdict {
        Verdict::NotRun(why) => why,
        other => panic!("{text}\n{other:?}"),
    }
}

fn malformed(text: &str) -> String {
    match drilled(text).verdict {
        Verdict::Malformed(pos, what) => format!("{pos}: {what}"),
        other => panic!("{text}\n{other:?}"),
    }
}

const OPEN: &str = "\
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 7>
+.1 < . 1:1(0) ack 1 win 257
+0 accept(3, ..., ...) = 4
";

const TALK: &str = "\
+0 write(4, ..., 1000) = 1000
+0 > P. 1:1001(1000) ack 1
+.1 < . 1:1(0) ack 1001 win 257
+.1 < P. 1:501(500) ack 1001 win 257
+0~+.02 > . 1001:1001(0) ack 501 win 509
+0 read(4, ..., 1000) = 500
+0 close(4) = 0
+0 > F. 1001:1001(0) ack 501
";

#[test]
fn an_exchange_that_is_as_the_script_says_passes() {
    let report = passes(&format!("{OPEN}{TALK}"));
    assert_eq!((report.events, report.lasted / 1_000_000), (15, 300));
    assert_eq!(report.notes, Vec::<String>::new());
}

/// A runner that lets a wrong packet pass is worse than none.
#[test]
fn any_single_change_of_what_is_expected_fails() {
    let text = format!("{OPEN}{TALK}");
    passes(&text);
    for (from, to, field) in [
        ("> S. 0:0(0) ack 1", "> S 0:0(0) ack 1", "flags"),
        ("> S. 0:0(0) ack 1", "> SE. 0:0(0) ack 1", "flags"),
        ("> S. 0:0(0) ack 1", "> S. 0:0(0) ack 2", "ack"),
        ("<mss 1460,nop,nop,sackOK,nop,wscale 7>", "<mss 1459,nop,nop,sackOK,nop,wscale 7>", "option"),
        ("<mss 1460,nop,nop,sackOK,nop,wscale 7>", "<mss 1460,sackOK,nop,nop,nop,wscale 7>", "option"),
        ("<mss 1460,nop,nop,sackOK,nop,wscale 7>", "<mss 1460,nop,wscale 7>", "options"),
        ("> P. 1:1001(1000) ack 1", "> . 1:1001(1000) ack 1", "flags"),
        ("> P. 1:1001(1000) ack 1", "> P. 2:1002(1000) ack 1", "sequence number"),
        ("> P. 1:1001(1000) ack 1", "> P. 1:1000(999) ack 1", "payload length"),
        ("> P. 1:1001(1000) ack 1", "> P. 1:1001(1000) ack 0", "ack"),
        ("> P. 1:1001(1000) ack 1", "> P. 1:1001(1000) ack 1 urg 1", "urgent pointer"),
        ("> P. 1:1001(1000) ack 1", "> P. 1:1001(1000) ack 1 <nop,nop,nop,nop>", "options"),
        ("> P. 1:1001(1000) ack 1", "> [ect0] P. 1:1001(1000) ack 1", "TOS byte"),
        ("> P. 1:1001(1000) ack 1", "> [ttl 63] P. 1:1001(1000) ack 1", "TTL"),
        ("> P. 1:1001(1000) ack 1", "> udp (1000)", "protocol"),
        ("> P. 1:1001(1000) ack 1", "> icmp echo_reply", "protocol"),
        ("ack 501 win 509", "ack 501 win 510", "window"),
        ("+0~+.02 >", "+.02~+.03 >", "time"),
        ("+0~+.02 >", "+.03 >", "time"),
        ("write(4, ..., 1000) = 1000", "write(4, ..., 1000) = 999", "result"),
        ("read(4, ..., 1000) = 500", "read(4, ..., 1000) = -1 EAGAIN (no)", "result"),
        ("close(4) = 0", "close(4) = -1 EBADF (no)", "result"),
        ("> F. 1001:1001(0) ack 501", "> . 1001:1001(0) ack 501", "flags"),
    ] {
        assert!(text.contains(from), "{from}");
        let failure = fails(&text.replacen(from, to, 1));
        assert!(
            failure.fields.iter().any(|d| d.field.starts_with(field)),
            "{from} as {to}: {:?}",
            failure.fields
        );
    }
}

#[test]
fn what_differs_is_shown_side_by_side_with_what_led_to_it() {
    let failure =
        fails(&format!("{OPEN}{TALK}").replace("> P. 1:1001(1000) ack 1", "> P. 1:1001(1000) ack 7"));
    let text = failure.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let mark = format!("{:>35}", "^");
    let expected = [
        "another packet than expected: the ack differs",
        "  expected  > P. 1:1001(1000) ack 7",
        "  seen      > P. 1:1001(1000) ack 1",
        &mark,
        "  ack  expected 7, seen 1",
        "  finack says: new data",
        "  up to there:",
        "    0.000000 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3",
    ];
    assert_eq!(lines[..8], expected);
    assert_eq!(lines.last(), Some(&"    0.100000 write(4, ..., 1000) = 1000"));
    assert_eq!((failure.pos.line, failure.pos.column), (9, 1));
}

#[test]
fn what_does_not_come_is_missed_and_the_stack_says_why() {
    let failure = fails(&format!("{OPEN}+0 < . 900001:900002(1) ack 1 win 257\n+0 > . 1:1(0) ack 2\n"));
    assert!(failure.what.contains("the ack differs"), "{failure}");
    let failure = fails(&format!("{OPEN}+0 < R 900001:900001(0) win 0\n+.5 > . 1:1(0) ack 1\n"));
    assert_eq!(failure.what, "no packet came until 0.662500 s");
    assert!(failure.reasons.iter().any(|r| r.contains("outside the receive window")), "{failure}");
    let failure = fails(&format!("{OPEN}* > . 1:1(0) ack 1\n"));
    assert_eq!(failure.what, "no packet came, and none will");
}

#[test]
fn a_packet_that_the_script_passes_over_fails_where_the_next_is_expected() {
    let skipped = format!("{OPEN}{TALK}").replace("+0 > P. 1:1001(1000) ack 1\n", "");
    assert!(fails(&skipped).what.contains("another packet"), "{}", fails(&skipped));
}

#[test]
fn packets_behind_the_last_are_noted_or_fail() {
    let text =
        format!("{OPEN}+0 < P. 1:11(10) ack 1 win 257\n+0 > . 1:1(0) ack 11\n+0 write(4, ..., 10) = 10\n");
    let report = passes(&text);
    assert_eq!(report.notes, ["1 packet behind the script's last: 0.100000 > P. 1:11(10) ack 11 win 502"]);
    let options =
        Options { config: Config { nothing_left: true, ..Config::default() }, ..Options::default() };
    let report = drill(&text, Path::new("/"), &options);
    assert!(
        matches!(report.verdict, Verdict::Failed(f) if f.what == "1 packet that the script does not mention")
    );
}

#[test]
fn times_are_judged_by_the_language_s_tolerance() {
    // The ACK of a FIN behind data waits for 40 ms; an eighth more or less is let pass, or 4 ms.
    let at = |time: &str| {
        format!(
            "{OPEN}+0 < P. 1:11(10) ack 1 win 257\n+0 > . 1:1(0) ack 11\n+0 read(4, ..., 10) = 10\n\
             +0 < F. 11:11(0) ack 1 win 257\n{time} > . 1:1(0) ack 12\n"
        )
    };
    passes(&at("+.04"));
    passes(&at("+.036"));
    passes(&at("+.044"));
    passes(&at("+.045"));
    assert_eq!(fails(&at("+.047")).what, "the packet is right, its time is not");
    assert!(fails(&at("+.035")).what.starts_with("no packet came until"));
    let exact = |time: &str| format!("--tolerance_usecs=0\n--tolerance_percent=0\n{}", at(time));
    passes(&exact("+.04"));
    fails(&exact("+.040001"));
    passes(&at("0.14"));
    passes(&at("*"));
}

#[test]
fn a_call_that_blocks_returns_when_the_script_says() {
    let text = |returns: &str| {
        format!(
            "{OPEN}+0...{returns} read(4, ..., 2000) = 500\n+.1 < P. 1:501(500) ack 1 win 257\n\
             +0 > . 1:1(0) ack 501\n"
        )
    };
    passes(&text("0.1"));
    assert!(fails(&text("0.2")).fields.iter().any(|d| d.field == "time"));
    let forever = format!("{OPEN}+0...0.1 read(4, ..., 2000) = 500\n+.2 write(4, ..., 1) = 1\n");
    assert_eq!(fails(&forever).what, "read still blocks at 0.212500 s");
    let at_once = format!("{OPEN}+0 read(4, ..., 2000) = 500\n");
    assert_eq!(fails(&at_once).what, "read blocks, and the script says that it returns at once");
}

/// What a blocked write queues as room comes is sent at once.
#[test]
fn a_write_that_blocks_goes_on_as_it_is_acknowledged() {
    passes(&format!(
        "{OPEN}+0 setsockopt(4, SOL_SOCKET, SO_SNDBUF, [10000], 4) = 0\n+0...0.2 write(4, ..., 30000) = 30000\n\
         +0 > P. 1:10001(10000) ack 1\n+.1 < . 1:1(0) ack 10001 win 257\n+0 > P. 10001:26001(16000) ack 1\n\
         +.1 < . 1:1(0) ack 20001 win 257\n+0 > P. 26001:30001(4000) ack 1\n"
    ));
}

#[test]
fn a_unit_may_be_written_as_one_packet_or_as_several() {
    let text = |expected: &str| format!("{OPEN}+0 write(4, ..., 3000) = 3000\n{expected}");
    passes(&text("+0 > P. 1:3001(3000) ack 1\n"));
    let cut = "`ethtool -K tun0 tso off`\n";
    let three = "+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:2001(1000) ack 1\n+0 > P. 2001:3001(1000) ack 1\n";
    passes(&format!("{cut}{}", text(three)));
    passes(&format!("{cut}{}", text("+0 > P. 1:3001(3000) ack 1\n")));
    fails(&format!("{cut}{}", text("+0 > . 1:3001(3000) ack 1\n")));
    let strict = format!("--strict_segments\n{cut}{}", text("+0 > P. 1:3001(3000) ack 1\n"));
    assert!(fails(&strict).fields.iter().any(|d| d.field == "payload length"));
}

#[test]
fn timestamps_are_mapped_and_counted_where_the_script_asks() {
    let open = |options: &str, first: &str, second: &str| {
        format!(
            "{options}0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0...0.1 connect(3, ..., ...) = 0\n\
             +0 > S 0:0(0) <mss 1460,sackOK,TS val {first} ecr 0,nop,wscale 7>\n\
             +.1 < S. 0:0(0) ack 1 win 5792 <mss 1460,sackOK,TS val 700 ecr {first},nop,wscale 7>\n\
             +0 > . 1:1(0) ack 1 <nop,nop,TS val {second} ecr 700>\n"
        )
    };
    passes(&open("", "100", "5"));
    passes(&open("--tcp_ts_tick_usecs=1000\n", "100", "200"));
    assert!(fails(&open("--tcp_ts_tick_usecs=1000\n", "100", "210")).fields[0].expected.contains("val 210"));
    let echo = fails(&open("", "100", "200").replace("ecr 700>", "ecr 701>"));
    assert_eq!(echo.fields[0].field, "option");
    let unsent = fails(&open("", "100", "200").replace("val 700 ecr 100", "val 700 ecr 99"));
    assert_eq!(unsent.what, "no packet from the stack had TS val 99 so far");
}

#[test]
fn numbers_count_from_the_syn_that_the_script_chose() {
    passes(
        "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0...0.1 connect(3, ..., ...) = 0\n\
         +0 > S 500:500(0) <...>\n+.1 < S. 123:123(0) ack 501 win 5840 <mss 1000,sackOK,nop,nop>\n\
         +0 > . 1:1(0) ack 1\n+0 write(3, ..., 100) = 100\n+0 > P. 1:101(100) ack 1\n\
         +.1 < P. 11:21(10) ack 101 win 5840\n+0 > . 101:101(0) ack 1 <nop,nop,sack 11:21>\n\
         +.1 < P. 1:11(10) ack 101 win 5840\n+0 > . 101:101(0) ack 21\n+0 read(3, ..., 100) = 20\n",
    );
}

#[test]
fn two_connections_are_told_apart_by_their_ports() {
    passes(
        "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 bind(3, ..., ...) = 0\n+0 listen(3, 5) = 0\n\
         +0 < 1111 > 8080 S 0:0(0) win 1000 <mss 1000>\n+0 > 8080 > 1111 S. 0:0(0) ack 1 <mss 1460>\n\
         +0 < 2222 > 8080 S 5:5(0) win 1000 <mss 1000>\n+0 > 8080 > 2222 S. 0:0(0) ack 6 <mss 1460>\n\
         +0 < 1111 > 8080 . 1:1(0) ack 1 win 1000\n+0 < 2222 > 8080 . 1:1(0) ack 1 win 1000\n\
         +0 accept(3, ..., ...) = 4\n+0 accept(3, ..., ...) = 5\n+0 write(5, ..., 10) = 10\n\
         +0 > 8080 > 2222 P. 1:11(10) ack 1\n+0 write(4, ..., 10) = 10\n+0 > 8080 > 1111 P. 1:11(10) ack 1\n",
    );
}

#[test]
fn datagrams_and_messages() {
    let udp = "0 socket(..., SOCK_DGRAM, IPPROTO_UDP) = 3\n+0 connect(3, ..., ...) = 0\n+0 write(3, ..., 100) = 100\n\
               +0 > udp (100)\n";
    passes(udp);
    passes(&format!("{udp}+.1 < udp (50)\n+0 recv(3, ..., 99, 0) = 50\n"));
    fails(&udp.replace("> udp (100)", "> udp (99)"));
    let refused = format!(
        "{udp}+.1 < icmp unreachable port_unreachable [udp (100)]\n\
         +0 read(3, ..., 10) = -1 ECONNREFUSED (Connection refused)\n"
    );
    passes(&refused);
    passes(&format!("--ip_version=ipv6\n{refused}"));
    passes("0 < icmp echo_request id 7\n+0 > icmp echo_reply id 7\n");
    fails("0 < icmp echo_request id 7\n+0 > icmp echo_reply id 8\n");
}

#[test]
fn each_version_of_ip() {
    let text = format!("{OPEN}{TALK}").replace(" win 509", "");
    passes(&format!("--ip_version=ipv4-mapped-ipv6\n{text}"));
    passes(&format!("--ip_version=ipv6\n{}", text.replace("mss 1460", "mss 1440")));
}

#[test]
fn descriptors_are_those_of_the_script() {
    passes(
        "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 17\n+0 dup(17) = 90\n+0 close(17) = 0\n\
         +0 close(17) = -1 EBADF (Bad file descriptor)\n+0 close(90) = 0\n+0 read(5, ..., 1) = -1 EBADF (no)\n",
    );
}

#[test]
fn options_poll_and_messages_are_compared_in_full() {
    let text = format!(
        "{OPEN}+0 setsockopt(4, SOL_SOCKET, SO_LINGER, {{onoff=1, linger=5}}, 8) = 0\n\
         +0 getsockopt(4, SOL_SOCKET, SO_LINGER, {{onoff=1, linger=5}}, [8]) = 0\n\
         +0 setsockopt(4, SOL_TCP, TCP_CONGESTION, \"reno\", 4) = 0\n\
         +0 getsockopt(4, SOL_TCP, TCP_CONGESTION, \"reno\", [16]) = 0\n\
         +0 getsockopt(4, SOL_TCP, TCP_MAXSEG, [1000], [4]) = 0\n\
         +0 poll([{{fd=4, events=POLLIN|POLLOUT, revents=POLLOUT}}], 1, 0) = 1\n\
         +0 < P. 1:11(10) ack 1 win 257\n\
         +0 ioctl(4, SIOCINQ, [10]) = 0\n\
         +0 getpeername(4, {{sa_family = AF_INET, sin_port = htons(54321), sin_addr = inet_addr(\"192.0.2.1\")}}, \
         [16]) = 0\n\
         +0 recvmsg(4, {{msg_name(...)=..., msg_iov(2)=[{{..., 4}}, {{..., 4}}], msg_flags=0, msg_control=[]}}, 0) \
         = 8\n"
    );
    passes(&text);
    for (from, to) in [
        ("{onoff=1, linger=5}, [8]", "{onoff=1, linger=6}, [8]"),
        ("\"reno\", [16]", "\"cubic\", [16]"),
        ("[1000], [4]", "[1001], [4]"),
        ("revents=POLLOUT", "revents=POLLIN|POLLOUT"),
        ("SIOCINQ, [10]", "SIOCINQ, [11]"),
        ("htons(54321)", "htons(54322)"),
        ("msg_flags=0", "msg_flags=MSG_TRUNC"),
        ("= 8\n", "= 7\n"),
    ] {
        assert!(text.contains(from), "{from}");
        fails(&text.replacen(from, to, 1));
    }
}

#[test]
fn commands_set_what_they_can_and_are_named_where_not() {
    let text =
        |command: &str| format!("`{command}`\n{OPEN}").replace("sackOK,nop,wscale 7>\n+.1", "sackOK>\n+.1");
    let no_scale = text("sysctl -q net.ipv4.tcp_window_scaling=0");
    passes(&no_scale);
    assert!(not_run(&text("modprobe x")).contains("`modprobe x`"));
    let report = passes(&format!("`sysctl -q net.ipv4.tcp_thin_dupack=2 net.ipv4.tcp_fack=0`\n{OPEN}"));
    assert_eq!(report.notes, ["not set: net.ipv4.tcp_thin_dupack=2 (finack has no such setting)"]);
    assert!(not_run(&format!("{OPEN}+0 mmap(3, 4) = 0\n")).contains("the call mmap"));
    assert!(not_run("--wire_client\n0 socket(..., 1, 6) = 3\n").contains("--wire_client"));
    assert!(not_run("0 < ipv4 1.1.1.1 > 2.2.2.2: . 1:1(0) ack 1 win 1\n").contains("inside other packets"));
}

#[test]
fn assertions_look_at_the_connection_as_it_was_then() {
    let text = |assertion: &str| {
        format!("{OPEN}+0 write(4, ..., 1000) = 1000\n+0 %{{ {assertion} }}%\n{TALK}").replace(
        TALK,
        "+0 > P. 1:1001(1000) ack 1\n+.1 < . 1:1(0) ack 1001 win 257\n+0 %{ assert tcpi_unacked == 0 }%\n",
    )
    };
    passes(&text(
        "assert tcpi_state == TCP_ESTABLISHED and tcpi_unacked == 1 and tcpi_snd_mss == 1000, tcpi_unacked",
    ));
    let failure = fails(&text("assert tcpi_unacked == 2, tcpi_unacked"));
    assert_eq!(failure.what, "the assertion does not hold: AssertionError: 1");
    assert_eq!(failure.pos.line, 9);
    assert_eq!(
        not_run(&text("assert tcpi_total_rto_time == 2")),
        "line 9: tcpi_total_rto_time is not known to finack"
    );
    assert_eq!(not_run(&text("assert tcpi_nonesuch == 2")), "line 9: tcpi_nonesuch is not known to finack");
    let nobody = fails("0 %{ assert tcpi_state == TCP_CLOSE }%\n");
    assert!(nobody.what.contains("the script holds none"));
}

#[test]
fn scripts_that_make_no_sense_are_refused_with_their_place() {
    for (text, said) in [
        ("1 socket(..., 1, 6) = 3\n", "1:1: the first event must be at time 0"),
        (
            "0 socket(..., 1, 6) = 3\n5 close(3) = 0\n4 close(3) = 0\n",
            "3:1: time goes back: an event before it is later",
        ),
        (
            "0 < S 0:0(0) win 1 <mss 1000,nop>\n",
            "1:1: the options take 5 bytes: pad them with nop or eol to a multiple of 4",
        ),
        (
            "0 socket(..., SOCK_FOO, 6) = 3\n",
            "1:1: 'SOCK_FOO' is not a symbol that is known here (-D SOCK_FOO=VALUE defines it)",
        ),
        ("0 close(3) = 0\n+8640001 close(3) = 0\n", "2:1: a time of more than 100 days"),
        ("0...18000000000 close(3) = 0\n", "1:1: a time of more than 100 days"),
        ("0 frobnicate(1) = 3\n", "1:1: there is no system call 'frobnicate' here"),
        ("0 close(3) = -1 EFOO (x)\n", "1:1: there is no error 'EFOO'"),
        ("0 < icmp nonsense\n", "1:1: 'nonsense' is no type of ICMP that is known here"),
        ("--mtu=3\n0 close(3) = 0\n", "1:1: --mtu: '3' is not a number from 68 to 65535"),
        ("0 < S 0:1(0) win 1\n", "1:9: expected '0:0(0)', because 0 + 0 = 0, found '1(0)'"),
    ] {
        assert_eq!(malformed(text), said);
    }
}

/// Whatever a script says, it harms nobody.
#[test]
fn scripts_that_ask_for_the_impossible_fail() {
    let other_version = "0 socket(..., SOCK_DGRAM, IPPROTO_UDP) = 3\n\
        +0 connect(3, {sa_family = AF_INET6, sin_port = htons(1), sin_addr = inet_addr(\"::1\")}, 28) = -1 EAFNOSUPPORT (x)\n\
        +0 < udp (5)\n";
    assert!(fails(other_version).what.contains("not of the script's IP version"));
    assert!(fails("0 < udp (5)\n").what.contains("no UDP socket"));
    let early = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0...1 connect(3, ..., ...) = 0\n+0 < S. 0:0(0) ack 1 win 1\n";
    assert!(
        fails(early).what.contains("its SYN was not seen") || fails(early).what.contains("SYN was not seen")
    );
    let large =
        format!("{OPEN}+0 < . 1:65436(65435) ack 1 win 1 <nop,nop,TS val 1 ecr 0,sack 1:2 3:4,nop,nop>\n");
    assert!(fails(&large).what.contains("TS val 0"));
    assert!(malformed("0 read(3, ..., 999999999999) = 0\n").contains("a buffer of 999999999999 bytes"));
}

#[test]
fn a_dry_run_only_reads() {
    assert_eq!(passes("--dry_run\n0 socket(..., 1, 6) = 99\n+0 > . 1:1(0)\n").lasted, 0);
}

#[test]
fn runs_are_the_same_every_time() {
    let text = format!("{OPEN}{TALK}").replace("ack 501 win 509", "ack 501 win 510");
    assert_eq!(fails(&text), fails(&text));
}
