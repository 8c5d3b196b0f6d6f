//! Sysctls that scripts set: those that finack has, those whose value is how it always is, and the rest.

/// What finack makes of a sysctl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Settings of the stack to make.
    Settings(Vec<(String, String)>),
    /// It is always so.
    AlwaysSo,
    /// finack has nothing of the kind.
    Unsupported(String),
}

/// Sysctls of Linux that finack has no setting for, with the values that are how finack is anyway.
const ALWAYS_SO: &[(&str, &[&str])] = &[
    ("net.ipv4.tcp_fack", &["0"]),
    ("net.ipv4.tcp_low_latency", &["0", "1"]),
    ("net.ipv4.tcp_thin_linear_timeouts", &["0"]),
    ("net.ipv4.tcp_adv_win_scale", &["1"]),
    ("net.ipv4.tcp_autocorking", &["0"]),
    ("net.ipv4.tcp_pingpong_thresh", &["1"]),
    ("net.ipv4.tcp_backlog_ack_defer", &["0", "1"]),
    ("net.ipv4.tcp_no_metrics_save", &["0", "1"]),
    ("net.ipv4.tcp_workaround_signed_windows", &["0"]),
    ("net.ipv4.tcp_shrink_window", &["0"]),
    ("net.core.netdev_max_backlog", &[]),
    ("net.core.default_qdisc", &[]),
    ("net.core.rmem_max", &[]),
    ("net.core.wmem_max", &[]),
    ("net.core.optmem_max", &[]),
    ("net.ipv4.tcp_notsent_lowat", &["-1"]),
];

/// What finack makes of `name=value`.
pub fn judge(name: &str, value: &str) -> Verdict {
    let name = name.trim_start_matches("/proc/sys/").replace('/', ".");
    let words: Vec<&str> = value.split_whitespace().collect();
    let mut settings = finack_core::settings::Settings::default();
    // The empty list takes any value: it makes no difference here.
    let always = ALWAYS_SO.iter().find(|(n, _)| *n == name);
    if always.is_some_and(|(_, values)| values.is_empty() || words.len() == 1 && values.contains(&words[0])) {
        return Verdict::AlwaysSo;
    }
    let plain = |word: &&str| match word.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16)) {
        Some(Ok(number)) => number.to_string(),
        _ => (*word).to_owned(),
    };
    let value = words.iter().map(plain).collect::<Vec<_>>().join(" ");
    match settings.set(&name, &value) {
        Ok(()) => Verdict::Settings(vec![(name, value)]),
        Err(finack_core::settings::SettingError::Unknown { .. }) => {
            Verdict::Unsupported("finack has no such setting".into())
        }
        Err(error) => Verdict::Unsupported(error.to_string()),
    }
}
