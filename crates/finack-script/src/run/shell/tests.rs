use super::*;

fn set(text: &str) -> Vec<(String, String)> {
    let understood = understand(text, Path::new("/nonexistent"));
    assert_eq!(understood.unknown, Vec::<String>::new(), "{text}");
    let pair = |s| match s {
        Setting::Sysctl { name, value } => (name, value),
        other => panic!("{text}: {other:?}"),
    };
    understood.settings.into_iter().map(pair).collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

#[test]
fn sysctls_in_each_way_that_scripts_set_them() {
    let one = vec![pair("net.ipv4.tcp_sack", "0")];
    for text in [
        "sysctl -q net.ipv4.tcp_sack=0",
        "sysctl -w -q net.ipv4.tcp_sack=0 > /dev/null 2>&1",
        "sysctl net/ipv4/tcp_sack=0",
        "echo 0 > /proc/sys/net/ipv4/tcp_sack",
        "echo -n \"0\" >/proc/sys/net/ipv4/tcp_sack; true",
        "../common/set_sysctls.py /proc/sys/net/ipv4/tcp_sack=0",
        "V=0\nsysctl -q net.ipv4.tcp_sack=$V # why not",
        "sysctl -q \\\n  net.ipv4.tcp_sack=$((3 - 1*3)) || echo failed",
        "/tmp/sysctl_restore_${PPID}.sh && sysctl -q net.ipv4.tcp_sack=0",
    ] {
        assert_eq!(set(text), one, "{text}");
    }
    let two = vec![pair("a.b", "1 2 3145728"), pair("c", "4")];
    assert_eq!(set("sysctl -q a.b=\"1 2 $((3*1024*1024))\" c=4"), two);
}

#[test]
fn routes_links_and_devices() {
    let settings = |text: &str| understand(text, Path::new("/")).settings;
    assert_eq!(settings("ip tcp_metrics flush all > /dev/null 2>&1"), []);
    assert_eq!(settings("ip ro replace default dev tun0 initcwnd 3"), [Setting::InitialWindow(3)]);
    let rto = Setting::Sysctl { name: "net.ipv4.tcp_rto_min_us".into(), value: "5000".into() };
    assert_eq!(settings("ip route change default via 192.168.0.2 rto_min 5ms"), [rto]);
    assert_eq!(settings("ip link set dev tun0 mtu 1400"), [Setting::Mtu(1400)]);
    assert_eq!(settings("ethtool -K tun0 tso off"), [Setting::SegmentationOffload(false)]);
    assert_eq!(understand("tc qdisc add dev tun0 root pfifo", Path::new("/")), Understood::default());
}

#[test]
fn what_is_not_understood_is_named() {
    for (text, named) in [
        ("iptables -A INPUT -j DROP", "`iptables -A INPUT -j DROP`"),
        ("tc qdisc add dev tun0 root netem delay 10ms", "`tc qdisc add dev tun0 root netem delay 10ms`"),
        ("tc qdisc delete dev tun0 root 2>/dev/null ; tc qdisc add dev tun0 root pfifo limit 0", "limit 0"),
        ("for i in 1 2; do true; done", "`for`: only plain commands are understood"),
        ("cat /proc/net/tcp | grep x", "`|`: only plain commands are understood"),
        ("sysctl net.ipv4.tcp_sack", "`sysctl net.ipv4.tcp_sack`: it sets nothing"),
        ("echo x > /etc/passwd", "`echo x`: it writes to /etc/passwd"),
        ("sysctl a=$(date)", "`$` before something other than a name: only plain commands are understood"),
        ("sysctl a=$NONE", "`$NONE`: the variable is not known"),
        ("./nothere.sh", "`./nothere.sh`: No such file or directory (os error 2)"),
        ("./a.out", "`./a.out`"),
        ("ip route add default dev tun0 quickack 1", "a route's quickack can't be set"),
        ("echo 'open", "a quote that does not end"),
    ] {
        let understood = understand(text, Path::new("/nonexistent"));
        assert!(understood.unknown.iter().any(|u| u.contains(named)), "{text}: {understood:?}");
    }
}

#[test]
fn helpers_are_read_where_the_script_lies() {
    let directory = std::env::temp_dir().join(format!("finack-shell-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(
        directory.join("defaults.sh"),
        "#!/bin/bash\n# all of it\nsysctl -q a.b=$((2*3))\nmodprobe x\n",
    )
    .unwrap();
    std::fs::write(directory.join("loop.sh"), "./loop.sh\n").unwrap();
    let understood = understand("./defaults.sh\nsysctl -q c.d=1", &directory);
    let looping = understand("./loop.sh", &directory);
    std::fs::remove_dir_all(&directory).unwrap();
    let settings = [("a.b", "6"), ("c.d", "1")]
        .map(|(name, value)| Setting::Sysctl { name: name.into(), value: value.into() });
    assert_eq!(understood.settings, settings);
    assert_eq!(understood.unknown, ["./defaults.sh: `modprobe x`"]);
    assert!(looping.unknown[0].contains("too deeply"), "{looping:?}");
}
