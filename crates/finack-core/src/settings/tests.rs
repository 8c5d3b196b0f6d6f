use super::*;
use alloc::string::ToString;
use proptest::prelude::*;

fn with(name: &str, value: &str) -> Result<Settings, SettingError> {
    let mut settings = Settings::default();
    settings.set(name, value).map(|()| settings)
}

#[test]
fn every_default_lies_within_its_range_and_every_name_is_its_own() {
    let defaults = Settings::default();
    for (i, setting) in Settings::ALL.iter().enumerate() {
        let value = defaults.get(setting.name).unwrap();
        assert!((setting.min..=setting.max).contains(&value), "{} = {value}", setting.name);
        assert!(Settings::ALL[..i].iter().all(|s| s.name != setting.name), "{} twice", setting.name);
        assert!(!setting.meaning.is_empty() && setting.meaning.trim() == setting.meaning);
    }
}

#[test]
fn each_setting_is_set_by_its_full_name_and_read_back() {
    // The one that stands for several has a test of its own.
    let single = |s: &&Setting| !s.name.contains('[') && s.name != "finack.memory";
    for setting in Settings::ALL.iter().filter(single) {
        for value in [setting.min, setting.max] {
            let settings = with(setting.name, &value.to_string()).unwrap();
            assert_eq!(settings.get(setting.name), Some(value), "{}", setting.name);
            let others = |s: &&Setting| s.name != setting.name;
            let defaults = Settings::default();
            for other in Settings::ALL.iter().filter(others) {
                assert_eq!(
                    settings.get(other.name),
                    defaults.get(other.name),
                    "{} moved {}",
                    setting.name,
                    other.name
                );
            }
        }
    }
}

#[test]
fn sysctl_names_may_be_shortened_and_written_with_slashes() {
    for name in ["net.ipv4.tcp_fin_timeout", "tcp_fin_timeout", "net/ipv4/tcp_fin_timeout"] {
        assert_eq!(with(name, "30").unwrap().tcp_fin_timeout, 30, "{name}");
    }
    assert_eq!(with("net.core.somaxconn", "128").unwrap().somaxconn, 128);
    assert_eq!(with("somaxconn", "128").unwrap().somaxconn, 128);
    assert_eq!(with("finack.tcp_timewait_len", "5").unwrap().tcp_timewait_len, 5);
    assert_eq!(with("net.ipv4.route.min_pmtu", "600").unwrap().min_pmtu, 600);
}

#[test]
fn settings_of_several_numbers_take_them_separated_by_blanks() {
    let s = with("net.ipv4.tcp_rmem", "4096 \t 65536 1048576").unwrap();
    assert_eq!((s.tcp_rmem_min, s.tcp_rmem_default, s.tcp_rmem_max), (4096, 65_536, 1_048_576));
    let s = with("ip_local_port_range", "40000 50000").unwrap();
    assert_eq!((s.ip_local_port_min, s.ip_local_port_max), (40_000, 50_000));
    assert_eq!(with("net.ipv4.tcp_rmem[1]", "8192").unwrap().tcp_rmem_default, 8192);
}

#[test]
fn what_is_refused_says_why_and_changes_nothing() {
    let refused = [
        ("tcp_fin_timeout", "", "net.ipv4.tcp_fin_timeout: '' is not a number that it takes"),
        ("tcp_fin_timeout", "soon", "net.ipv4.tcp_fin_timeout: 'soon' is not a number that it takes"),
        ("tcp_fin_timeout", "-1", "net.ipv4.tcp_fin_timeout: '-1' is not a number that it takes"),
        ("tcp_fin_timeout", "30 40", "net.ipv4.tcp_fin_timeout: '30 40' is not a number that it takes"),
        ("tcp_fin_timeout", "0", "net.ipv4.tcp_fin_timeout: must lie between 1 and 3600"),
        (
            "tcp_fin_timeout",
            "99999999999999999999",
            "net.ipv4.tcp_fin_timeout: '99999999999999999999' is not a number that it takes",
        ),
        ("tcp_sack", "2", "net.ipv4.tcp_sack: must lie between 0 and 1"),
        ("tcp_rmem", "4096 65536", "net.ipv4.tcp_rmem[2]: '4096 65536' is not a number that it takes"),
        ("profile", "bsd", "finack.profile: 'bsd' is not one of linux, rfc"),
        (
            "tcp_fin_timout",
            "30",
            "unknown setting 'tcp_fin_timout': did you mean 'net.ipv4.tcp_fin_timeout'?",
        ),
        (
            "net.ipv4.tcp_syn_retry",
            "3",
            "unknown setting 'net.ipv4.tcp_syn_retry': did you mean 'net.ipv4.tcp_syn_retries'?",
        ),
        ("kernel.hostname", "x", "unknown setting 'kernel.hostname'"),
        ("", "1", "unknown setting ''"),
    ];
    for (name, value, message) in refused {
        let mut settings = Settings::default();
        let error = settings.set(name, value).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(settings, Settings::default(), "{name}={value}");
    }
}

#[test]
fn a_port_range_must_not_be_inverted_even_in_two_steps() {
    assert!(with("ip_local_port_range", "50000 40000").is_err());
    let mut settings = Settings::default();
    assert!(settings.set("net.ipv4.ip_local_port_range[0]", "61000").is_err());
    assert_eq!(settings, Settings::default());
}

#[test]
fn the_profile_is_linux_unless_told_otherwise() {
    assert_eq!(Settings::default().profile, Profile::Linux);
    assert_eq!(with("profile", "rfc").unwrap().profile, Profile::Rfc);
    assert_eq!(with("finack.profile", "linux").unwrap().profile, Profile::Linux);
}

proptest! {
    #![proptest_config(crate::testing::cases(500))]

    #[test]
    fn whatever_is_given_settings_stay_within_their_ranges(name in "[a-z_./\\[\\]0-9 ]{0,40}", value in "\\PC{0,30}") {
        let mut settings = Settings::default();
        let _ = settings.set(&name, &value);
        for s in Settings::ALL {
            let value = settings.get(s.name).unwrap();
            prop_assert!((s.min..=s.max).contains(&value));
        }
    }

    #[test]
    fn any_number_is_taken_or_refused_by_its_range(index in 0..Settings::ALL.len(), value in any::<u64>()) {
        let setting = &Settings::ALL[index];
        let mut settings = Settings::default();
        let fits = (setting.min..=setting.max).contains(&value);
        let range = setting.name.contains("port_range");
        if let Err(e) = settings.set(setting.name, &value.to_string()) {
            prop_assert!(!fits || range, "{e}");
        } else {
            prop_assert!(fits);
            prop_assert_eq!(settings.get(setting.name), Some(value));
        }
    }
}

/// One number: the budget of all connections, of which one may have half.
#[test]
fn memory_sets_all_that_depends_on_it() {
    let s = with("finack.memory", "4194304").unwrap();
    assert_eq!((s.tcp_mem, s.tcp_rmem_max, s.tcp_wmem_max), (4 << 20, 2 << 20, 2 << 20));
    assert_eq!((s.tcp_rmem_default, s.tcp_wmem_default), (131_072, 16_384));
    let s = with("memory", "65536").unwrap();
    assert_eq!((s.tcp_rmem_max, s.tcp_rmem_default), (32_768, 32_768));
    assert_eq!(with("memory", "0"), Ok(Settings::default()));
    assert_eq!(Settings::default().with_memory(1 << 40).unwrap().tcp_rmem_max, 1 << 30);
    assert!(with("memory", "1000").is_err());
}

/// What is shown as the default of a word is the default.
#[test]
fn words_have_their_defaults() {
    for word in Settings::WORDS.iter().filter(|word| !word.default.is_empty()) {
        assert_eq!(with(word.name, word.default).unwrap(), Settings::default(), "{}", word.name);
    }
}

/// Linux's tcp_allowed_congestion_control: some of the names; the default is allowed in any case.
#[test]
fn programs_may_choose_among_some() {
    let s = with("tcp_allowed_congestion_control", "reno  dctcp").unwrap();
    assert!(s.allowed_congestion.names().eq(["reno", "dctcp"]));
    assert!(s.allows(Congestion::Reno) && s.allows(Congestion::Cubic) && !s.allows(Congestion::Prague));
    assert_eq!(with("tcp_allowed_congestion_control", "").unwrap().allowed_congestion.names().count(), 0);
    let error = with("tcp_allowed_congestion_control", "reno vegas").unwrap_err().to_string();
    assert!(error.contains("'reno vegas' is not one of cubic, reno"), "{error}");
}
