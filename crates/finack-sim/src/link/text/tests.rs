use core::time::Duration;

use proptest::prelude::*;

use super::*;

fn hop(text: &str) -> Hop {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[track_caller]
fn refuses(text: &str, told: &str) {
    let e = text.parse::<Path>().expect_err(text).to_string();
    assert_eq!(e, told);
    assert!(!e.contains('\n'), "one line");
}

/// The example of the documentation.
#[test]
fn a_link_in_words() {
    let said = hop("rate=10mbit delay=20ms loss=1% queue=64pkt,codel,ecn");
    let built = Hop::new(Duration::from_millis(20))
        .rate(10_000_000)
        .loss(Loss::Random(Chance::percent(1.0)))
        .queue(Queue::packets(64).codel().ecn());
    assert_eq!(said, built);
}

#[test]
fn every_word() {
    let h = hop("rate=1.5gbit delay=100us jitter=2ms,reorders loss=ge:1%,20%,90%,0.1% reorder=1%,5ms \
                 duplicate=100ppm corrupt=0.01% mtu=1400,silent overhead=38 queue=100kb,50ms,dualpi2,target:10ms");
    assert_eq!(h.rate, Rate::Fixed(1_500_000_000));
    assert_eq!(h.jitter, Jitter { most: Duration::from_millis(2), reorders: true });
    let [a, b, c, d] = [10_000, 200_000, 900_000, 1000].map(Chance::ppm);
    assert_eq!(h.loss, Loss::GilbertElliott { to_bad: a, to_good: b, in_bad: c, in_good: d });
    assert_eq!(h.reorder, Held { share: a, by: Duration::from_millis(5), at_most: false });
    assert_eq!((h.duplicate, h.corrupt), (Chance::ppm(100), Chance::ppm(100)));
    assert_eq!((h.mtu, h.black_hole, h.overhead), (1400, true, 38));
    assert_eq!(h.queue.limit.bytes, Some(100_000));
    assert_eq!(h.queue.limit.time, Some(Duration::from_millis(50)));
    let Discipline::DualPi2(params) = h.queue.discipline else { panic!("{:?}", h.queue) };
    assert_eq!(params.target, Duration::from_millis(10));
    assert_eq!(hop("loss=every:100").loss, Loss::Periodic(100));
    assert_eq!(hop("loss=list:9,3").loss, Loss::list([3, 9]));
    assert_eq!(hop("loss=burst:1%,5").loss, Loss::bursts(Chance::percent(1.0), 5));
    assert_eq!(hop("queue=1pkt,step:5ms").queue.limit.packets, Some(1));
}

/// A bandwidth-delay product is that of the whole round trip, also where the ways differ.
#[test]
fn a_queue_of_products() {
    let path: Path = "rate=10mbit delay=20ms queue=2bdp back: delay=30ms".parse().unwrap();
    let (there, back) = path.links().next().unwrap();
    assert_eq!(there.queue.limit.bytes, Some(125_000));
    assert_eq!(back.queue.limit.bytes, Some(125_000));
    refuses("delay=1ms queue=1bdp", "queue=...bdp needs a rate: say rate= too, or the queue's size");
}

#[test]
fn a_path_of_links() {
    let path: Path = "rate=1gbit delay=1ms -> rate=10mbit delay=9ms back: rate=1mbit".parse().unwrap();
    assert_eq!(path.elements.len(), 2);
    assert_eq!(path.bottleneck(), Some(10_000_000));
    assert_eq!(path.round_trip(), Duration::from_millis(20));
    assert_eq!(path.links().nth(1).unwrap().1.rate, Rate::Fixed(1_000_000));
}

/// Nonsense gets one line that says which word is wrong, and what would be right.
#[test]
fn nonsense() {
    refuses("rate=-1mbit", "rate=-1mbit: less than nothing: it must be positive");
    refuses(
        "rate=0mbit",
        "rate=0mbit: nothing is no rate: at least 1bit a second; loss=100% is a link that carries nothing",
    );
    refuses("rate=10", "rate=10: \"10\" is no rate: write it as 500kbit, 10mbit or 1gbit");
    refuses("loss=101%", "loss=101%: more than all: a probability is at most 100%");
    refuses("loss=0.5", "loss=0.5: \"0.5\" is no probability: write it as 1% or 100ppm");
    refuses("loss=evry:3", "loss=evry:3: \"evry\" is no way to lose packets: did you mean every?");
    refuses("queue=0pkt", "queue=0pkt: 0 is too small: at least 1");
    refuses("queue=0ms", "queue=0ms: a queue that holds nothing: it must hold some time");
    refuses(
        "queue=64pkt,cobel",
        "queue=64pkt,cobel: \"cobel\" is nothing a queue can be: did you mean codel?",
    );
    refuses(
        "queue=64pkt,codel,rtt:5ms",
        "queue=64pkt,codel,rtt:5ms: \"rtt\" means nothing to this queue: write it behind codel, fqcodel or dualpi2",
    );
    refuses("dealy=20ms", "\"dealy\" is no word of a link: did you mean delay?");
    refuses("delay", "\"delay\" needs a value: did you mean delay=...?");
    refuses("delay=1ms -> nta", "\"nta\" is neither a box nor a word of a link: did you mean nat?");
    refuses("queue=64pkt codel", "\"codel\" stands behind a queue's size: write queue=...,codel");
    refuses("delay=1ms nat", "\"nat\" is a box: write -> on both sides of it");
    refuses("delay=20", "delay=20: \"20\" is no time: write it as 500us, 20ms or 1s");
    refuses("delay=2h", "delay=2h: \"2h\" is no time: write it as 500us, 20ms or 1s");
    refuses("mtu=40", "mtu=40: 40 is too small: at least 68");
    refuses("delay=1ms ->", "a part of the path is empty: write a link or a box on both sides of each ->");
    refuses(
        "rate=trace:/no/such",
        "rate=trace:/no/such: can't read the trace: No such file or directory (os error 2)",
    );
}

/// What is printed means the same when it is read.
#[test]
fn text_and_back() {
    for text in [
        "rate=10mbit delay=20ms loss=1% queue=64pkt,codel,ecn",
        "rate=1500kbit jitter=3ms loss=ge:1%,20% back: rate=unlimited loss=none queue=1bdp,fqcodel"
            .replace("queue=1bdp,", "queue=")
            .as_str(),
        "delay=1ms mtu=1400,silent back: mtu=65535 -> delay=333us duplicate=1% reorder=0.5%,1ms,random",
        "queue=100pkt,step:20pkt overhead=38 back: overhead=0",
        "queue=100kb,dualpi2,target:20ms,rtt:200ms",
    ] {
        let path: Path = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        let shown = path.to_string();
        assert_eq!(shown.parse::<Path>().unwrap_or_else(|e| panic!("{shown}: {e}")), path, "{shown}");
    }
}

/// A word as somebody might write it, right or wrong.
fn word() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "[0-9]{1,4}(\\.[0-9]{1,3})?(%|ppm|ms|us|s|kbit|mbit|gbit|pkt|kb|bdp|b)",
        "(every:|burst:|ge:|list:)?[0-9]{1,3}%?(,[0-9]{1,3}%?){0,4}",
        "[0-9]{1,3}(pkt|kb|ms)(,(codel|fqcodel|dualpi2|ecn|step:5ms|target:[0-9]ms|interval:9ms|rtt:1s)){0,3}",
        "[a-z0-9:,.%-]{0,12}",
    ];
    let name = prop_oneof![
        Just(&WORDS[..]).prop_flat_map(|w| proptest::sample::select(w.to_vec()).prop_map(String::from)),
        "[a-z]{1,9}"
    ];
    prop_oneof![
        8 => (name, value).prop_map(|(name, value)| format!("{name}={value}")),
        1 => Just("->".to_string()),
        1 => Just("back:".to_string()),
        1 => proptest::sample::select(vec!["nat", "firewall(idle=1s)", "strip(ts)", "split(500)", "merge(3000)", "seq"])
            .prop_map(String::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is written is taken or refused in one line that is not too long to read; what is taken is printed so that
    /// it means the same.
    #[test]
    fn any_words(words in proptest::collection::vec(word(), 0..6)) {
        let text = words.join(" ");
        match text.parse::<Path>() {
            Ok(path) => {
                let shown = path.to_string();
                prop_assert_eq!(shown.parse::<Path>().map_err(|e| TestCaseError::fail(format!("{shown}: {e}")))?, path);
            }
            Err(e) => {
                let told = e.to_string();
                prop_assert!(!told.contains('\n') && !told.is_empty() && told.len() < 500, "{}", told);
            }
        }
    }

    /// Nor does anything else panic.
    #[test]
    fn any_text(text in ".{0,60}") {
        let _ = text.parse::<Path>();
        let _ = text.parse::<Hop>();
        let _ = Trace::parse(&text);
    }
}
