//! What is printed parses to what was printed, and may be run.

use std::path::Path;

use finack_script::ast::*;
use finack_script::run::{Options, drill};
use finack_script::{Script, parse};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn time() -> impl Strategy<Value = Nanos> {
    prop_oneof![Just(0), 0..5_000_000_000_u64, any::<u32>().prop_map(|n| u64::from(n) * 1_000_000)]
}

fn word() -> impl Strategy<Value = String> {
    "[a-z_][a-zA-Z_0-9]{0,8}"
}

fn ip_info(out: bool) -> impl Strategy<Value = IpInfo> {
    let tos = prop_oneof![(0..4_u8).prop_map(Tos::Ecn), any::<u8>().prop_map(Tos::Byte), Just(Tos::Ect01)];
    let tos = tos.prop_map(move |t| if t == Tos::Ect01 && !out { Tos::Ecn(1) } else { t });
    (option::of(tos), option::of(0..0x10_0000_u32), option::of(any::<u8>()))
        .prop_map(|(tos, flow_label, ttl)| IpInfo { tos, flow_label, ttl })
}

fn seq() -> impl Strategy<Value = SeqRange> {
    (any::<u32>(), 0..60_000_u16).prop_map(|(start, len)| SeqRange { start, len })
}

fn tcp_option() -> impl Strategy<Value = TcpOption> {
    let counter = prop_oneof![Just(Counter::E0b), Just(Counter::Ceb), Just(Counter::E1b)];
    prop_oneof![
        Just(TcpOption::Nop),
        Just(TcpOption::Eol),
        Just(TcpOption::SackOk),
        any::<u16>().prop_map(TcpOption::Mss),
        any::<u8>().prop_map(TcpOption::Wscale),
        vec(any::<(u32, u32)>(), 1..2).prop_map(TcpOption::Sack),
        any::<(u32, u32)>().prop_map(|(val, ecr)| TcpOption::Ts { val, ecr }),
        vec(any::<u8>(), 1..9).prop_map(TcpOption::Md5),
        vec(any::<u8>(), 0..9).prop_map(TcpOption::FastOpen),
        vec(any::<u8>(), 0..9).prop_map(TcpOption::FastOpenExperimental),
        vec((counter, 0..0x100_0000_u32), 1..3).prop_map(TcpOption::AccEcn),
        (any::<(u8, u8)>(), vec(any::<u8>(), 1..9)).prop_map(|((key_id, next), mac)| TcpOption::Ao {
            key_id,
            next,
            mac
        }),
        (any::<u8>(), vec(any::<u8>(), 0..9)).prop_map(|(kind, data)| TcpOption::Kind(kind, data)),
        vec(any::<u8>(), 1..9).prop_map(TcpOption::Raw),
    ]
}

fn flags() -> impl Strategy<Value = Flags> {
    // A count alone would be read as a port.
    (0..0x200_u16, any::<bool>()).prop_map(|(bits, ace)| Flags { bits, ace: ace && bits & 0x3f != 0 })
}

fn tcp(out: bool) -> impl Strategy<Value = Tcp> {
    let ports = option::of(any::<(u16, u16)>().prop_map(|(src, dst)| Ports { src, dst }));
    let options = prop_oneof![
        3 => vec(tcp_option(), 0..3).prop_map(TcpOptions::List),
        1 => Just(TcpOptions::Any),
    ];
    let options =
        options.prop_map(move |o| if o == TcpOptions::Any && !out { TcpOptions::List(vec![]) } else { o });
    let numbers = (option::of(any::<u32>()), option::of(any::<u16>()), option::of(any::<u16>()));
    (ports, flags(), seq(), numbers, options).prop_map(
        move |(ports, flags, seq, (ack, win, urg), options)| Tcp {
            ports,
            flags,
            seq,
            ack,
            win: if out { win } else { Some(win.unwrap_or(7)) },
            urg,
            options,
        },
    )
}

fn icmp() -> impl Strategy<Value = Icmp> {
    let quoted = prop_oneof![
        seq().prop_map(Quoted::Tcp),
        (0..60_000_u16).prop_map(Quoted::Udp),
        (0..60_000_u16).prop_map(Quoted::Raw),
    ];
    let kind = prop_oneof![Just("unreachable".to_owned()), Just("type_9".to_owned())];
    let code = option::of(prop_oneof![Just("frag_needed".to_owned()), Just("code_2".to_owned())]);
    (kind, code, option::of(any::<u32>()), option::of(any::<u16>()), option::of(quoted))
        .prop_map(|(kind, code, mtu, id, quoted)| Icmp { kind, code, mtu, id, quoted })
}

fn outer() -> impl Strategy<Value = Outer> {
    let label = (0..0x10_0000_u32, 0..8_u8, any::<bool>(), any::<u8>())
        .prop_map(|(label, tc, bottom, ttl)| Label { label, tc, bottom, ttl });
    let gre = any::<(u16, u16, u16, u32, u32)>().prop_map(|(flags, sum, off, key, seq)| Gre {
        flags,
        sum,
        off,
        key,
        seq,
    });
    prop_oneof![
        (ip_info(true), any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(info, src, dst)| Outer::Ipv4 {
            info,
            src: src.into(),
            dst: dst.into()
        }),
        (ip_info(true), any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(info, src, dst)| Outer::Ipv6 {
            info,
            src: src.into(),
            dst: dst.into()
        }),
        option::of(gre).prop_map(Outer::Gre),
        vec(label, 0..3).prop_map(Outer::Mpls),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    any::<bool>().prop_flat_map(|out| {
        let ports = option::of(any::<(u16, u16)>().prop_map(|(src, dst)| Ports { src, dst }));
        let udp = (ports, 0..60_000_u16).prop_map(|(ports, len)| Udp { ports, len });
        let body = prop_oneof![
            4 => tcp(out).prop_map(Body::Tcp),
            1 => udp.prop_map(Body::Udp),
            1 => icmp().prop_map(Body::Icmp),
        ];
        let changes = option::of("[a-z0-9 ;]{0,9}[a-z]".prop_map(|text| text.trim().to_owned()));
        (vec(outer(), 0..2), ip_info(out), body, changes).prop_map(
            move |(encapsulation, ip, body, changes)| Packet {
                direction: if out { Direction::Out } else { Direction::In },
                encapsulation,
                ip,
                body,
                changes,
            },
        )
    })
}

fn expr() -> impl Strategy<Value = Expr> {
    let string = (vec(r#"([a-z %]|\\["n\\])*"#, 1..3), any::<bool>())
        .prop_map(|(parts, open)| Expr::Str { open: open && parts.len() == 1, parts });
    let leaf = prop_oneof![
        Just(Expr::Ellipsis),
        any::<i64>().prop_map(Expr::Int),
        any::<u64>().prop_map(Expr::Hex),
        word().prop_map(Expr::Word),
        string,
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let field =
            (option::of((word(), option::of(inner.clone()))), inner.clone()).prop_map(|(name, value)| {
                match name {
                    Some((name, count)) => Field { name: Some(name), count, value },
                    // Without a name of its own it would be read as one.
                    None => Field {
                        name: None,
                        count: None,
                        value: if matches!(value, Expr::Assign(..)) { Expr::Ellipsis } else { value },
                    },
                }
            });
        let simple = inner.clone().prop_map(|e| {
            // `a=b|c` and `(a|b)|c` are read otherwise than they were built.
            if matches!(e, Expr::Assign(..) | Expr::Or(_)) { Expr::Ellipsis } else { e }
        });
        prop_oneof![
            vec(simple, 2..4).prop_map(Expr::Or),
            (word(), inner.clone()).prop_map(|(name, value)| Expr::Assign(name, Box::new(value))),
            vec(inner.clone(), 0..3).prop_map(Expr::List),
            vec(field, 0..3).prop_map(Expr::Struct),
            (word(), vec(inner, 0..3)).prop_map(|(name, args)| Expr::Apply(name, args)),
        ]
    })
}

fn call() -> impl Strategy<Value = Call> {
    let notes = (option::of("E[A-Z]{2,8}"), option::of("[a-z]{1,5}( [a-z|]{1,5})?"));
    // A word as the result would take a note for its arguments.
    let result =
        prop_oneof![any::<i64>().prop_map(Expr::Int), any::<u64>().prop_map(Expr::Hex), Just(Expr::Ellipsis)];
    (option::of(time()), word(), vec(expr(), 0..3), result, notes).prop_map(
        |(until, name, args, result, (errno, note))| Call { until, name, args, result, errno, note },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let action = prop_oneof![
        4 => packet().prop_map(Action::Packet),
        2 => call().prop_map(Action::Call),
        1 => "[a-z =.]{1,12}".prop_map(Action::Command),
        1 => "[a-z][a-z =\n]{0,12}[a-z]".prop_map(|text| Action::Code(Code { pos: Pos::default(), text })),
    ];
    let when = prop_oneof![
        time().prop_map(When::Relative),
        time().prop_map(When::Absolute),
        Just(When::Any),
        (time(), time()).prop_map(|(a, b)| When::AbsoluteRange(a.min(b), a.max(b))),
        (time(), time()).prop_map(|(a, b)| When::RelativeRange(a.min(b), a.max(b))),
    ];
    (when, action).prop_map(|(when, action)| {
        let out = matches!(&action, Action::Packet(p) if p.direction == Direction::Out);
        let when = match when {
            When::Relative(_) | When::Absolute(_) => when,
            _ if out => when,
            _ => When::Relative(0),
        };
        Event { pos: Pos::default(), when, action }
    })
}

fn script() -> impl Strategy<Value = Script> {
    let option = ("[a-c_]{1,9}", option::of("[a-z0-9.:= ]{0,9}")).prop_map(|(name, value)| OptionLine {
        pos: Pos::default(),
        name,
        value,
    });
    let command = || option::of("[a-z =.]{1,9}".prop_map(|text| Command { pos: Pos::default(), text }));
    (vec(option, 0..3), command(), vec(event(), 1..6), command())
        .prop_map(|(options, init, events, cleanup)| Script { options, init, events, cleanup })
}

/// Forgets the places, which printing changes.
fn placeless(mut script: Script) -> Script {
    let none = Pos::default();
    script.options.iter_mut().for_each(|o| o.pos = none);
    script.init.iter_mut().chain(script.cleanup.iter_mut()).for_each(|c| c.pos = none);
    for event in &mut script.events {
        event.pos = none;
        if let Action::Code(code) = &mut event.action {
            code.pos = none;
        }
    }
    script
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_printed_script_parses_to_itself(script in script()) {
        let text = script.to_string();
        let again = parse(&text, &Default::default());
        prop_assert_eq!(again.map(placeless), Ok(script), "{}", text);
    }

    #[test]
    fn no_script_harms_the_runner(script in script()) {
        let mut script = script;
        // Assertions would start python.
        script.events.retain(|e| !matches!(e.action, Action::Code(_)));
        script.options.clear();
        if let Some(first) = script.events.first_mut() {
            first.when = When::Relative(0);
        }
        let _ = drill(&script.to_string(), Path::new("/nonexistent"), &Options::default());
    }

    #[test]
    fn no_text_harms_the_parser(text in r#"([-+0-9.~*<>(){}\[\]|=,:"`%#/ \n]|[a-zA-Zé_]|win|ack|udp|icmp|sack)*"#) {
        let _ = parse(&text, &Default::default());
    }
}
