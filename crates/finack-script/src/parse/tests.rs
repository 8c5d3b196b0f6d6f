use super::*;
use crate::ast::*;

fn read(text: &str) -> Script {
    match parse(text, &Defines::default()) {
        Ok(script) => script,
        Err(error) => panic!("{text}\n{error}"),
    }
}

fn one(text: &str) -> Event {
    let mut script = read(text);
    assert_eq!(script.events.len(), 1, "{text}");
    script.events.remove(0)
}

fn tcp(text: &str) -> Tcp {
    match one(text).action {
        Action::Packet(Packet { body: Body::Tcp(tcp), .. }) => tcp,
        other => panic!("{text}: {other:?}"),
    }
}

fn call(text: &str) -> Call {
    match one(text).action {
        Action::Call(call) => call,
        other => panic!("{text}: {other:?}"),
    }
}

fn mistake(text: &str) -> String {
    parse(text, &Defines::default())
        .map_or_else(|error| error.to_string(), |s| panic!("{text} was read as\n{s}"))
}

#[test]
fn times_of_every_kind() {
    let when = |text: &str| one(&format!("{text} > . 1:1(0) ack 1")).when;
    assert_eq!(when("0"), When::Absolute(0));
    assert_eq!(when("1.5"), When::Absolute(1_500_000_000));
    assert_eq!(when("+.04"), When::Relative(40_000_000));
    assert_eq!(when("+0.000001"), When::Relative(1_000));
    assert_eq!(when("+0.123456789"), When::Relative(123_456_789));
    assert_eq!(when("*"), When::Any);
    assert_eq!(when("0.1~0.2"), When::AbsoluteRange(100_000_000, 200_000_000));
    assert_eq!(when("+0~+.04"), When::RelativeRange(0, 40_000_000));
}

#[test]
fn a_call_that_blocks_says_until_when() {
    let c = call("+0...0.100 read(4, ..., 2000) = 2000");
    assert_eq!((c.until, c.name.as_str()), (Some(100_000_000), "read"));
    assert_eq!(call("+.1...0.2 accept(3, ..., ...) = 4").until, Some(200_000_000));
    assert_eq!(call("0.0...3.5 connect(4, ..., ...) = 0").until, Some(3_500_000_000));
    assert_eq!(call("+0...0 connect(4, ..., ...) = 0").until, Some(0));
    assert_eq!(call("+0 read(4, ..., 10) = 10").until, None);
}

#[test]
fn errors_and_notes_follow_the_result() {
    let c = call("+0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)");
    assert_eq!((c.result, c.errno.as_deref()), (Expr::Int(-1), Some("EINPROGRESS")));
    assert_eq!(c.note.as_deref(), Some("Operation now in progress"));
    let c = call("+0 fcntl(3, F_GETFL) = 0x802 (flags O_RDWR|O_NONBLOCK)");
    assert_eq!(
        (c.result, c.errno, c.note.as_deref()),
        (Expr::Hex(0x802), None, Some("flags O_RDWR|O_NONBLOCK"))
    );
}

#[test]
fn segments_have_flags_numbers_windows_and_options() {
    let t = tcp("+0 < FP. 1:1001(1000) ack 5 win 257 urg 3 <nop,nop,TS val 700 ecr 100>");
    assert_eq!(t.flags.bits, Flags::FIN | Flags::PSH | Flags::ACK);
    assert_eq!((t.seq.start, t.seq.end(), t.seq.len), (1, 1001, 1000));
    assert_eq!((t.ack, t.win, t.urg), (Some(5), Some(257), Some(3)));
    let ts = TcpOption::Ts { val: 700, ecr: 100 };
    assert_eq!(t.options, TcpOptions::List(vec![TcpOption::Nop, TcpOption::Nop, ts]));
    assert_eq!(tcp("+0 > S 0:0(0) <...>").options, TcpOptions::Any);
    assert_eq!(tcp("+0 > - 0:0(0)").flags, Flags::default());
    assert_eq!(tcp("+0 > SEWA 0:0(0)").flags.bits, Flags::SYN | Flags::ECE | Flags::CWR | Flags::AE);
    assert_eq!(tcp("+0 > 1234 > 80 R 7:7(0)").ports, Some(Ports { src: 1234, dst: 80 }));
}

#[test]
fn a_count_stands_for_the_three_ecn_bits() {
    let flags = |text: &str| tcp(&format!("+0 > {text} 1:1(0) ack 1")).flags;
    assert_eq!(flags(".5"), Flags { bits: Flags::ACK | Flags::AE | Flags::ECE, ace: true });
    assert_eq!(flags("P.2"), Flags { bits: Flags::PSH | Flags::ACK | Flags::CWR, ace: true });
    assert_eq!(flags("S0"), Flags { bits: Flags::SYN, ace: true });
    assert!(mistake("+0 > E.2 1:1(0)").contains("not both"));
}

#[test]
fn sequence_numbers_may_wrap() {
    let t = tcp("+0 > . 4294967290:4(10) ack 1");
    assert_eq!((t.seq.start, t.seq.end()), (4_294_967_290, 4));
}

#[test]
fn options_of_every_kind() {
    let list = |text: &str| match tcp(&format!("+0 < S 0:0(0) win 1 <{text}>")).options {
        TcpOptions::List(list) => list,
        TcpOptions::Any => panic!("{text}"),
    };
    use TcpOption as O;
    assert_eq!(list("mss 1460,wscale 7"), [O::Mss(1460), O::Wscale(7)]);
    assert_eq!(list("sackOK, eol"), [O::SackOk, O::Eol]);
    assert_eq!(list("sack 1:2 3:4 5:6"), [O::Sack(vec![(1, 2), (3, 4), (5, 6)])]);
    assert_eq!(list("FO"), [O::FastOpen(vec![])]);
    assert_eq!(list("FO 0123456789abcdef"), [O::FastOpen(vec![1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef])]);
    assert_eq!(list("FO 12345678"), [O::FastOpen(vec![0x12, 0x34, 0x56, 0x78])]);
    assert_eq!(list("FOEXP a1b2"), [O::FastOpenExperimental(vec![0xa1, 0xb2])]);
    assert_eq!(list("md5 0a0b"), [O::Md5(vec![10, 11])]);
    let counters = vec![(Counter::E1b, 1), (Counter::Ceb, 0), (Counter::E0b, 1)];
    assert_eq!(list("ECN e1b 1 ceb 0 e0b 1,nop"), [O::AccEcn(counters), O::Nop]);
    assert_eq!(list("ao keyid 1 rnext 2 mac 0011"), [O::Ao { key_id: 1, next: 2, mac: vec![0, 0x11] }]);
    assert_eq!(list("kind 200 0102"), [O::Kind(200, vec![1, 2])]);
    assert_eq!(list("raw 0201"), [O::Raw(vec![2, 1])]);
    assert_eq!(list("mp_capable v1 flags[flag_h] nokey,nop").len(), 2);
}

#[test]
fn ip_headers_are_described_before_the_packet() {
    let info = |text: &str| match one(&format!("+0 > {text} . 1:1(0) ack 1")).action {
        Action::Packet(p) => p.ip,
        other => panic!("{other:?}"),
    };
    let tos = |text: &str| info(text).tos;
    assert_eq!(tos("[noecn]"), Some(Tos::Ecn(0)));
    assert_eq!(tos("[ect1]"), Some(Tos::Ecn(1)));
    assert_eq!(tos("[ect0]"), Some(Tos::Ecn(2)));
    assert_eq!(tos("(ce)"), Some(Tos::Ecn(3)));
    assert_eq!(tos("[ect01]"), Some(Tos::Ect01));
    assert_eq!(tos("(tos 0x10)"), Some(Tos::Byte(0x10)));
    assert_eq!(info("[ttl 5]").ttl, Some(5));
    assert_eq!(info("[ect0, flowlabel 0x1]").flow_label, Some(1));
}

#[test]
fn datagrams_messages_and_tunnels() {
    let packet = |text: &str| match one(text).action {
        Action::Packet(p) => p,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(packet("+0 < udp (100)").body, Body::Udp(Udp { ports: None, len: 100 }));
    assert!(matches!(packet("+0 > udp 53>99 (0)").body, Body::Udp(Udp { ports: Some(_), len: 0 })));
    let Body::Icmp(icmp) = packet("+0 < icmp unreachable frag_needed mtu 1000 [1:1001(1000)]").body else {
        panic!("no ICMP")
    };
    assert_eq!((icmp.kind.as_str(), icmp.code.as_deref()), ("unreachable", Some("frag_needed")));
    assert_eq!((icmp.mtu, icmp.quoted), (Some(1000), Some(Quoted::Tcp(SeqRange { start: 1, len: 1000 }))));
    let Body::Icmp(echo) = packet("+0 < icmp echo_request id 7 [raw (64)]").body else { panic!("no ICMP") };
    assert_eq!((echo.id, echo.code, echo.quoted), (Some(7), None, Some(Quoted::Raw(64))));
    let p =
        packet("+0 < ipv4 2.2.2.2 > 1.1.1.1: gre: mpls (label 9, tc 1, [S], ttl 255): . 1:2(1) ack 1 win 3");
    assert_eq!(p.encapsulation.len(), 3);
    let p = packet(
        "+0 > ipv6 [ttl 9] 1::1111 > 2::2222: gre flags 0xb000, sum 5, off 6, key 0x7, seq 8: . 1:2(1)",
    );
    assert!(matches!(p.encapsulation[0], Outer::Ipv6 { .. }));
    let gre = Gre { flags: 0xb000, sum: 5, off: 6, key: 7, seq: 8 };
    assert_eq!(p.encapsulation[1], Outer::Gre(Some(gre)));
}

#[test]
fn arguments_of_every_kind() {
    let arg = |text: &str| call(&format!("+0 f({text}) = 0")).args.remove(0);
    let word = |w: &str| Expr::Word(w.into());
    assert_eq!(arg("..."), Expr::Ellipsis);
    assert_eq!(arg("-5"), Expr::Int(-5));
    assert_eq!(
        arg("O_RDWR|O_NONBLOCK | 0x4"),
        Expr::Or(vec![word("O_RDWR"), word("O_NONBLOCK"), Expr::Hex(4)])
    );
    assert_eq!(arg("[1, X]"), Expr::List(vec![Expr::Int(1), word("X")]));
    assert_eq!(arg(r#""a\"b" "c""#), Expr::Str { parts: vec![r#"a\"b"#.into(), "c".into()], open: false });
    assert_eq!(arg(r#""abc"..."#), Expr::Str { parts: vec!["abc".into()], open: true });
    assert_eq!(arg("TCP_NLA=5"), Expr::Assign("TCP_NLA".into(), Box::new(Expr::Int(5))));
    let Expr::Struct(fields) =
        arg(r#"{sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr("1.2.3.4")}"#)
    else {
        panic!("no structure")
    };
    assert_eq!(fields[0], Field { name: Some("sa_family".into()), count: None, value: word("AF_INET") });
    assert_eq!(fields[1].value, Expr::Apply("htons".into(), vec![Expr::Int(80)]));
    let Expr::Struct(fields) = arg("{msg_name(...)=..., msg_iov(1)=[{...,10}], msg_flags=0, msg_control=[]}")
    else {
        panic!("no structure")
    };
    assert_eq!((&fields[0].count, &fields[1].count), (&Some(Expr::Ellipsis), &Some(Expr::Int(1))));
    assert_eq!(fields[3].value, Expr::List(vec![]));
    assert!(matches!(arg("{events=EPOLLIN|EPOLLOUT, fd=4}"), Expr::Struct(f) if f.len() == 2));
}

#[test]
fn options_commands_comments_and_code_stand_around_the_events() {
    let script = read(
        "// what it shows\n--tolerance_usecs=10000 // loose\n--ip_version=ipv6\n--local_ip=fd00::1\n--dry_run\n\
         `sysctl -q net.ipv4.tcp_sack=1\nsecond line`\n\
         0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3 /* three\nfour */\n# five\n\
         +0 %{ assert tcpi_state == TCP_LISTEN, \"}\" }%\n+0 `true`\n`./cleanup.sh`\n",
    );
    let options: Vec<_> = script.options.iter().map(|o| (o.name.as_str(), o.value.as_deref())).collect();
    assert_eq!(
        options,
        [
            ("tolerance_usecs", Some("10000")),
            ("ip_version", Some("ipv6")),
            ("local_ip", Some("fd00::1")),
            ("dry_run", None),
        ]
    );
    assert_eq!(script.init.unwrap().text, "sysctl -q net.ipv4.tcp_sack=1\nsecond line");
    let Action::Code(code) = &script.events[1].action else { panic!("no code") };
    assert_eq!(
        (code.text.as_str(), code.pos),
        ("assert tcpi_state == TCP_LISTEN, \"}\"", Pos { line: 11, column: 7 })
    );
    assert_eq!(script.events[2].action, Action::Command("true".into()));
    assert_eq!(script.cleanup.unwrap().text, "./cleanup.sh");
}

#[test]
fn defined_symbols_stand_for_words_strings_numbers_and_commands() {
    let text = "--define=CC=\"new reno\"\n--define=CLEAN=`a b`\n--define=MSS=1400\n0 f(CC, PROTO, MSS) = 0\n\
                +0 < S 0:0(0) win 1 <mss MSS,FO COOKIE>\nCLEAN";
    let mut defines = Defines::default();
    defines.set_pair("PROTO=IPPROTO_TCP").unwrap();
    defines.set_pair("COOKIE=3021b9d8").unwrap();
    defines.set("MSS", "1");
    let script = parse(text, &defines).unwrap();
    assert_eq!(script.events[0].to_string(), "0 f(\"new reno\", IPPROTO_TCP, 1400) = 0");
    assert_eq!(script.events[1].to_string(), "+0 < S 0:0(0) win 1 <mss 1400,FO 3021b9d8>");
    assert_eq!(script.cleanup.unwrap().text, "a b");
    assert!(Defines::default().set_pair("no-pair").is_err());
    assert_eq!(
        mistake("0 < S 0:0(0) win 1 <FO COOKIE>"),
        "1:24: expected a cookie: pairs of hexadecimal digits, found 'COOKIE>'"
    );
}

#[test]
fn mistakes_are_named_at_their_place() {
    for (text, said) in [
        (
            "",
            "1:1: expected an event: a time (0, +0.1, *) and what happens then, found the end of the script",
        ),
        (
            "+0 < S 0:0(0)",
            "1:14: expected 'win' and a number: an injected segment needs a window, found the end of the script",
        ),
        ("0 a() = 0\n+0 < . 1:3(1) ack 1 win 5", "2:10: expected '1:2(1)', because 1 + 1 = 2, found '3(1)'"),
        ("+0 > S 0:0(0) <mss 70000>", "1:20: expected a segment size from 0 to 65535, found '70000>'"),
        (
            "+0 > S 0:0(0) <foo>",
            "1:16: expected a TCP option: mss, wscale, sackOK, sack, TS, nop, eol, FO, FOEXP, ECN, md5, ao, kind or raw, found 'foo>'",
        ),
        ("+0 > X 0:0(0)", "1:6: expected flags (letters of FSRPEWAU, '.' for ACK; '-' for none), found 'X'"),
        (
            "* socket() = 3",
            "1:1: expected a single time: '*' and '~' are for packets from the stack ('>'), found '*'",
        ),
        (
            "+0~+1 < S 0:0(0) win 1",
            "1:1: expected a single time: '*' and '~' are for packets from the stack ('>'), found '+0~+1'",
        ),
        ("+1~+.5 > S 0:0(0)", "1:5: expected a range whose end is not before its beginning, found '.5'"),
        (
            "+0 < S 0:0(0) win 1 <...>",
            "1:21: expected options by name: '<...>' is for packets from the stack ('>'), found '<...>'",
        ),
        ("+0 socket(..., 1 = 3", "1:18: expected ',' or ')', found '='"),
        ("+0 < S 0:0(0) win 1 <TS val 1>", "1:30: expected 'ecr', found '>'"),
        ("0 f(\"abc) = 0", "1:5: expected another \" that ends this text, found '\"abc)'"),
        ("0 `ls", "1:3: expected another ` that ends this text, found '`ls'"),
        ("0 %{ assert", "1:3: expected '}%' somewhere after this '%{', found '%{'"),
        ("/* open", "1:1: expected '*/' somewhere after this '/*', found '/*'"),
        ("0 f() = 0 (note", "1:11: expected ')' on the same line, found '(note'"),
        ("-- 1\n", "1:3: expected the name of an option right after '--', found a blank"),
        (
            "0 f() = 0\n`a`\n+0 f() = 0",
            "3:1: expected nothing after the command that cleans up (events begin with a time), found '+0'",
        ),
        (
            "+0 < [ect01] . 1:1(0) ack 1 win 1",
            "1:7: expected ect0 or ect1 (ect01 is for packets from the stack), found 'ect01]'",
        ),
        (
            "0.0000000001 f() = 0",
            "1:1: expected a time: 0.1, +0.1 or *, in seconds with at most nine decimals, found '0.0000000001'",
        ),
        (
            "99999999999999999999 f() = 0",
            "1:1: expected a time: 0.1, +0.1 or *, in seconds with at most nine decimals, found '99999999999999999999'",
        ),
        (
            "0 ü",
            "1:3: expected a packet ('<' or '>'), a system call, a command in backquotes or python in %{ }%, found 'ü'",
        ),
    ] {
        assert_eq!(mistake(text), said, "{text}");
    }
}

#[test]
fn what_takes_more_than_forty_bytes_is_no_option_list() {
    let text = "+0 < S 0:0(0) win 1 <raw 00112233445566778899001122334455667788990011223344556677889900112233445566778899,nop>";
    assert!(mistake(text).contains("at most 40 bytes of options (these take 41)"));
}

#[test]
fn braces_are_bounded() {
    let deep = format!("0 f({}1{}) = 0", "[".repeat(5000), "]".repeat(5000));
    assert!(mistake(&deep).contains("at most 32 braces"));
    let deep = format!("0 f({}1) = 0", "a=".repeat(5000));
    assert!(mistake(&deep).contains("at most 32 braces"));
}

#[test]
fn any_prefix_of_a_script_is_read_or_refused_without_harm() {
    let text = "--define=X=\"y\"\n`a`\n0 f(X, {a=[1|2], b(1)=\"c\"...}, ...) = -1 E (n)\n\
                +.1~+.2 > [ect0] ipv4 1.2.3.4 > 1.2.3.5: SE. 1:2(1) ack 3 win 4 <sack 1:2,TS val 1 ecr 2>\n%{ x }%";
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        let _ = parse(&text[..end], &Defines::default());
    }
}
