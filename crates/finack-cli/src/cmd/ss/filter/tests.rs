use super::*;

fn socket(state: &str, local: &str, peer: &str) -> Socket {
    let text = serde_json::json!({ "protocol": "tcp", "state": state, "local": local, "peer": peer });
    serde_json::from_value(text).unwrap()
}

fn filter(words: &str) -> Filter {
    Filter::new(&[words.to_owned()], false, false).unwrap()
}

fn takes(words: &str, socket: &Socket) -> bool {
    filter(words).takes(socket)
}

fn hello() -> Socket {
    socket("ESTABLISHED", "198.18.0.2:40000", "198.18.0.80:80")
}

/// ss(8): listeners and TIME-WAIT, SYN-RECV only where they are asked for.
#[test]
fn states_are_those_that_ss_shows() {
    let shown = |words: &[String], all, listening| {
        let filter = Filter::new(words, all, listening).unwrap();
        let state = |s: &&State| filter.takes(&socket(s.as_str(), "10.0.0.1:1", "10.0.0.2:2"));
        State::ALL.iter().filter(state).map(|s| s.as_str()).collect::<Vec<_>>().join(" ")
    };
    let usual = "SYN-SENT ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 CLOSE-WAIT CLOSING LAST-ACK";
    assert_eq!(shown(&[], false, false), usual);
    assert_eq!(shown(&[], false, true), "CLOSED LISTEN");
    assert_eq!(shown(&[], true, false).split(' ').count(), 11);
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(shown(&words("state time-wait"), false, false), "TIME-WAIT");
    assert_eq!(shown(&words("state time-wait state CLOSE-WAIT"), false, false), "CLOSE-WAIT TIME-WAIT");
    assert_eq!(shown(&words("state bucket exclude time-wait"), false, false), "SYN-RECEIVED");
    assert_eq!(shown(&words("exclude connected"), false, false), "CLOSED LISTEN");
}

#[test]
fn ports_and_addresses_are_compared() {
    let s = hello();
    for yes in [
        "dport = :80",
        "dport=80",
        "dport :80",
        "sport >= :40000 and sport lt 40001",
        "dport != 81",
        "dst 198.18.0.80",
        "dst 198.18.0.80:80",
        "dst 198.18.0.0/16",
        "dst 0.0.0.0/0",
        "dst hello.finack:80",
        "dst = Hello.Finack",
        "src :40000",
        "src *:40000",
        "src != 198.18.0.3",
    ] {
        assert!(takes(yes, &s), "{yes}");
    }
    for no in
        ["dport = :81", "src 198.18.0.3", "dst 198.19.0.0/16", "dst hello.finack:81", "dst ::/0", "src :1"]
    {
        assert!(!takes(no, &s), "{no}");
    }
    let s = socket("ESTABLISHED", "[fd66::2]:1", "[fd66::80]:80");
    assert!(takes("dst [fd66::80]:80 src fd66::/16 dst [fd66::80]", &s));
}

/// `and` binds tighter than `or`, and two beside each other are `and`.
#[test]
fn expressions_are_joined_as_in_ss() {
    let s = hello();
    assert!(takes("dport 80 or dport 1 and dport 2", &s));
    assert!(!takes("( dport 80 or dport 1 ) and dport 2", &s));
    assert!(takes("!(dport 1||dport 2)&&not sport 3", &s));
    assert!(takes("state established dport 80 sport 40000", &s));
    assert!(!takes("dport 80 sport 1", &s));
}

/// A mistake is told in one line that says where.
#[test]
fn mistakes_are_named() {
    let error = |words: &str| Filter::new(&[words.to_owned()], false, false).unwrap_err();
    assert!(error("state open").starts_with("there is no state open; there are established"));
    assert_eq!(error("state"), "state what? Such as: state close-wait");
    assert_eq!(error("dport = :http"), "after dport comes a port, such as: dport = :80");
    assert_eq!(error("dport = :99999"), "after dport comes a port, such as: dport = :80");
    assert_eq!(error("dst > 1.2.3.4"), "dst can only be = or !=");
    assert_eq!(error("dst 1.2.3.4/33"), "'1.2.3.4/33' is no ADDRESS[/BITS][:PORT], and no name of finack's");
    assert_eq!(error("dst :"), "':' is no ADDRESS[/BITS][:PORT], and no name of finack's");
    assert_eq!(error("( dport 80"), "a ) is missing");
    assert_eq!(error("dport 80 )"), "')' was not expected there");
    assert_eq!(error("dport 80 or"), "something is missing at its end");
    assert!(error("close-wait").starts_with("'close-wait' is none of state, dst"));
    assert_eq!(error(&"( ".repeat(500)), "it is nested more than 64 deep");
    assert_eq!(error(&"dport 1 ".repeat(100_000)), "it has more than 1024 words");
}
