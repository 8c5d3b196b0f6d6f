//! Settings by Linux's sysctl names, with their meaning there.

use alloc::string::String;
use core::fmt;

#[cfg(test)]
mod tests;

/// Where Linux and the RFCs differ, whose side is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Profile {
    /// As Linux does: what programs and their users expect.
    #[default]
    Linux,
    /// As the RFC says, to the letter.
    Rfc,
}

/// Which algorithm decides how much may be out (TCP_CONGESTION, `net.ipv4.tcp_congestion_control`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Congestion {
    /// NewReno (RFC 5681, RFC 6582).
    Reno,
    /// CUBIC (RFC 9438) with HyStart++ (RFC 9406), Linux's default.
    #[default]
    Cubic,
    /// BBR version 3 (draft-ietf-ccwg-bbr).
    Bbr,
    /// DCTCP (RFC 8257), for networks whose queues mark early and whose hosts all know it.
    Dctcp,
    /// TCP Prague (draft-briscoe-iccrg-prague-congestion-control), for the L4S queues of RFC 9331.
    Prague,
}

/// Some of the congestion controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CongestionSet(u8);

impl CongestionSet {
    /// All that there are.
    pub const ALL: Self = Self((1 << Congestion::NAMES.len()) - 1);

    /// Whether `kind` is one of them.
    pub const fn contains(self, kind: Congestion) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// By Linux's names, with blanks between; `None` where a name is unknown.
    pub fn named(names: &str) -> Option<Self> {
        names
            .split_ascii_whitespace()
            .try_fold(Self(0), |set, name| Congestion::named(name).map(|kind| Self(set.0 | 1 << kind as u8)))
    }

    /// The names of all in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = move |name: &&str| Congestion::named(name).is_some_and(|kind| self.contains(kind));
        Congestion::NAMES.iter().copied().filter(named)
    }
}

impl Congestion {
    /// Every one of them, by Linux's name.
    pub const NAMES: &'static [&'static str] = &["cubic", "reno", "bbr", "dctcp", "prague"];

    /// By Linux's name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "reno" => Some(Self::Reno),
            "cubic" => Some(Self::Cubic),
            "bbr" => Some(Self::Bbr),
            "dctcp" => Some(Self::Dctcp),
            "prague" => Some(Self::Prague),
            _ => None,
        }
    }

    /// Linux's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
            Self::Dctcp => "dctcp",
            Self::Prague => "prague",
        }
    }
}

/// One setting as a person sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Linux's name (`net.ipv4.tcp_fin_timeout`), or `finack.…` for what Linux does not have.
    pub name: &'static str,
    /// Least value.
    pub min: u64,
    /// Greatest value.
    pub max: u64,
    /// Unit, empty where it has none.
    pub unit: &'static str,
    /// What it does, in one line.
    pub meaning: &'static str,
}

/// A setting whose value is a word, as a person sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordSetting {
    /// Its name, as in [`Setting::name`].
    pub name: &'static str,
    /// The value that it has unless set; empty for none.
    pub default: &'static str,
    /// The words that it takes; none where any of a form will do, which the meaning tells.
    pub choices: &'static [&'static str],
    /// What it does, in one line.
    pub meaning: &'static str,
}

const PROFILE: &str = "finack.profile";
const MEMORY: &str = "finack.memory";
const CONGESTION: &str = "net.ipv4.tcp_congestion_control";
const ALLOWED: &str = "net.ipv4.tcp_allowed_congestion_control";
/// Keys of fast open cookies: the one in use, and one that is still accepted.
pub type FastOpenKeys = [Option<[u8; 16]>; 2];

const FAST_OPEN_KEY: &str = "net.ipv4.tcp_fastopen_key";

/// Why a setting was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingError {
    /// There is no such setting; the nearest name is given where one is near.
    Unknown {
        /// What was asked for.
        name: String,
        /// A name that looks like it.
        nearest: Option<&'static str>,
    },
    /// Not a number where one is needed, or the wrong count of numbers.
    Malformed {
        /// Which.
        name: &'static str,
        /// The value as given.
        value: String,
    },
    /// Not of the form that keys have.
    NotAKey {
        /// Which.
        name: &'static str,
        /// The value as given.
        value: String,
    },
    /// Not one of the words that the setting takes.
    NotAChoice {
        /// Which.
        name: &'static str,
        /// The value as given.
        value: String,
        /// What it takes.
        choices: &'static [&'static str],
    },
    /// Outside the range.
    OutOfRange {
        /// Which.
        name: &'static str,
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
    },
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, nearest: Some(near) } => {
                write!(f, "unknown setting '{name}': did you mean '{near}'?")
            }
            Self::Unknown { name, nearest: None } => write!(f, "unknown setting '{name}'"),
            Self::Malformed { name, value } => write!(f, "{name}: '{value}' is not a number that it takes"),
            Self::NotAKey { name, value } => {
                write!(f, "{name}: '{value}' is no key: write it as 01234567-89abcdef-01234567-89abcdef")
            }
            Self::NotAChoice { name, value, choices } => {
                write!(f, "{name}: '{value}' is not one of {}", choices.join(", "))
            }
            Self::OutOfRange { name, min, max } => write!(f, "{name}: must lie between {min} and {max}"),
        }
    }
}

impl core::error::Error for SettingError {}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $field:ident, $name:literal, $default:expr, $min:expr, $max:expr, $unit:literal;)+) => {
        /// All settings of a stack. Fields are named after Linux's sysctls.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings {
            /// Where Linux and the RFCs differ.
            pub profile: Profile,
            /// Congestion control of connections that name none (`net.ipv4.tcp_congestion_control`).
            pub congestion: Congestion,
            /// What programs may choose besides (`net.ipv4.tcp_allowed_congestion_control`).
            pub allowed_congestion: CongestionSet,
            /// Keys of fast open cookies (`net.ipv4.tcp_fastopen_key`): the one in use, and one that is still accepted.
            /// Without one the cookies' key is drawn from the seed.
            pub fast_open_keys: FastOpenKeys,
            $($(#[doc = $doc])+ pub $field: u64,)+
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { profile: Profile::Linux, congestion: Congestion::default(), allowed_congestion: CongestionSet::ALL, fast_open_keys: [None; 2], $($field: $default,)+ }
            }
        }

        impl Settings {
            /// Every numeric setting.
            pub const ALL: &'static [Setting] = &[
                $(Setting { name: $name, min: $min, max: $max, unit: $unit, meaning: concat!($($doc),+).trim_ascii() },)+
            ];

            /// The value of the setting at `index` of [`ALL`](Self::ALL).
            fn value_mut(&mut self, index: usize) -> Option<&mut u64> {
                let fields = [$(&mut self.$field,)+];
                fields.into_iter().nth(index)
            }
        }
    };
}

settings! {
    /// Times a SYN is sent again before connect fails with ETIMEDOUT.
    tcp_syn_retries, "net.ipv4.tcp_syn_retries", 6, 1, 127, "";
    /// Times a SYN,ACK is sent again before the half-open connection is dropped.
    tcp_synack_retries, "net.ipv4.tcp_synack_retries", 5, 0, 255, "";
    /// How many SYN time-outs are linear (1 s each) before they double.
    tcp_syn_linear_timeouts, "net.ipv4.tcp_syn_linear_timeouts", 4, 0, 127, "";
    /// Time-outs after which the path is suspected (RFC 9293 R1); see tcp_mtu_probing.
    tcp_retries1, "net.ipv4.tcp_retries1", 3, 0, 255, "";
    /// Time-outs after which an established connection is given up (RFC 9293 R2).
    tcp_retries2, "net.ipv4.tcp_retries2", 15, 0, 255, "";
    /// Time-outs after which a closed socket's connection is given up; 0 means 8.
    tcp_orphan_retries, "net.ipv4.tcp_orphan_retries", 0, 0, 255, "";
    /// Most connections that their application has closed and that are not over; beyond it the oldest are reset.
    tcp_max_orphans, "net.ipv4.tcp_max_orphans", 65_536, 0, 536_870_911, "";
    /// How long an orphan waits in FIN-WAIT-2 for the peer's FIN.
    tcp_fin_timeout, "net.ipv4.tcp_fin_timeout", 60, 1, 3600, "s";
    /// Idle time before the first keep-alive probe.
    tcp_keepalive_time, "net.ipv4.tcp_keepalive_time", 7200, 1, 32767, "s";
    /// Time between keep-alive probes.
    tcp_keepalive_intvl, "net.ipv4.tcp_keepalive_intvl", 75, 1, 32767, "s";
    /// Unanswered keep-alive probes after which the connection is given up.
    tcp_keepalive_probes, "net.ipv4.tcp_keepalive_probes", 9, 1, 127, "";
    /// Most connections in TIME-WAIT; beyond it the oldest gives way.
    tcp_max_tw_buckets, "net.ipv4.tcp_max_tw_buckets", 131_072, 0, 536_870_911, "";
    /// Outgoing connections may take over a port in TIME-WAIT: 0 never, 1 always, 2 on loopback; needs timestamps.
    tcp_tw_reuse, "net.ipv4.tcp_tw_reuse", 2, 0, 2, "";
    /// Age that a TIME-WAIT needs before tcp_tw_reuse takes it.
    tcp_tw_reuse_delay, "net.ipv4.tcp_tw_reuse_delay", 1000, 0, 60_000, "ms";
    /// 1: a RST does not end TIME-WAIT (RFC 1337).
    tcp_rfc1337, "net.ipv4.tcp_rfc1337", 0, 0, 1, "";
    /// How long TIME-WAIT lasts (2 MSL).
    tcp_timewait_len, "finack.tcp_timewait_len", 60, 1, 600, "s";
    /// 1: offer and use timestamps (RFC 7323).
    tcp_timestamps, "net.ipv4.tcp_timestamps", 1, 0, 2, "";
    /// 1: offer and use selective acknowledgement (RFC 2018).
    tcp_sack, "net.ipv4.tcp_sack", 1, 0, 1, "";
    /// 1: report duplicates in SACK blocks (RFC 2883).
    tcp_dsack, "net.ipv4.tcp_dsack", 1, 0, 1, "";
    /// 1: offer and use window scaling (RFC 7323).
    tcp_window_scaling, "net.ipv4.tcp_window_scaling", 1, 0, 1, "";
    /// Explicit congestion notification, of connections from outside and to the outside: 0 none, 1 classic (RFC 3168) both,
    /// 2 classic and none, 3 accurate (RFC 9768) both, 4 accurate and classic, 5 accurate and none.
    tcp_ecn, "net.ipv4.tcp_ecn", 2, 0, 5, "";
    /// 1: what is not answered goes again without asking for congestion notification.
    tcp_ecn_fallback, "net.ipv4.tcp_ecn_fallback", 1, 0, 1, "";
    /// Byte counters of accurate ECN in an option: 0 never, 1 where they changed and as beacons, 2 in every segment.
    tcp_ecn_option, "net.ipv4.tcp_ecn_option", 2, 0, 2, "";
    /// How often in a round trip the option goes out at least where nothing changed.
    tcp_ecn_option_beacon, "net.ipv4.tcp_ecn_option_beacon", 3, 0, 4, "";
    /// ECT on what is no new data (draft-ietf-tcpm-generalized-ecn): 0 never (RFC 3168); 1 as on Linux, on all that follows
    /// the handshake of accurate ECN; 2 on SYNs, SYN,ACKs and repetitions too.
    tcp_ecn_control, "finack.tcp_ecn_control", 1, 0, 2, "";
    /// SYN cookies: 0 never, 1 when the SYN queue is full, 2 always.
    tcp_syncookies, "net.ipv4.tcp_syncookies", 1, 0, 2, "";
    /// Most half-open connections of one listener.
    tcp_max_syn_backlog, "net.ipv4.tcp_max_syn_backlog", 4096, 1, 4_194_304, "";
    /// Greatest backlog that listen takes.
    somaxconn, "net.core.somaxconn", 4096, 1, 4_194_304, "";
    /// 1: a full accept queue answers with a RST instead of silence.
    tcp_abort_on_overflow, "net.ipv4.tcp_abort_on_overflow", 0, 0, 1, "";
    /// Least receive buffer.
    tcp_rmem_min, "net.ipv4.tcp_rmem[0]", 4096, 4096, 1 << 30, "bytes";
    /// Receive buffer of a new socket.
    tcp_rmem_default, "net.ipv4.tcp_rmem[1]", 131_072, 4096, 1 << 30, "bytes";
    /// Greatest receive buffer; the window scale is chosen from it.
    tcp_rmem_max, "net.ipv4.tcp_rmem[2]", 6_291_456, 4096, 1 << 30, "bytes";
    /// Least send buffer.
    tcp_wmem_min, "net.ipv4.tcp_wmem[0]", 4096, 4096, 1 << 30, "bytes";
    /// Send buffer of a new socket.
    tcp_wmem_default, "net.ipv4.tcp_wmem[1]", 16_384, 4096, 1 << 30, "bytes";
    /// Greatest send buffer.
    tcp_wmem_max, "net.ipv4.tcp_wmem[2]", 4_194_304, 4096, 1 << 30, "bytes";
    /// Memory budget of all connections together: data queued and windows advertised.
    tcp_mem, "net.ipv4.tcp_mem[2]", 1 << 30, 1 << 16, 1 << 40, "bytes";
    /// The one number for memory: sets the greatest of tcp_mem to it, and those of tcp_rmem and tcp_wmem to half of it; 0 leaves them.
    memory, "finack.memory", 0, 0, 1 << 40, "bytes";
    /// Segments with TCP-AO from who has no key here: 0 dropped, 1 taken as if unsigned, 2 as the profile has it.
    tcp_ao_unmatched, "finack.tcp_ao_unmatched", 2, 0, 2, "";
    /// Least time between two answers to unacceptable segments on one connection.
    tcp_invalid_ratelimit, "net.ipv4.tcp_invalid_ratelimit", 500, 0, 60_000, "ms";
    /// Probing for the path MTU (RFC 4821): 0 never, 1 once a path swallows large packets without a word (after
    /// tcp_retries1 time-outs), 2 always.
    tcp_mtu_probing, "net.ipv4.tcp_mtu_probing", 0, 0, 2, "";
    /// Segment size that probing starts from.
    tcp_base_mss, "net.ipv4.tcp_base_mss", 1024, 48, 65_495, "bytes";
    /// Least segment size that probing goes down to.
    tcp_mtu_probe_floor, "net.ipv4.tcp_mtu_probe_floor", 48, 48, 65_495, "bytes";
    /// Probing ends where what is known to fit and what is known not to are closer than this.
    tcp_probe_threshold, "net.ipv4.tcp_probe_threshold", 8, 0, 65_535, "bytes";
    /// Time after which probing begins anew.
    tcp_probe_interval, "net.ipv4.tcp_probe_interval", 600, 0, 4_294_967_295, "s";
    /// Least segment size that a peer or ICMP can talk us into.
    tcp_min_snd_mss, "net.ipv4.tcp_min_snd_mss", 48, 40, 65_495, "bytes";
    /// Least retransmission time-out.
    tcp_rto_min_us, "net.ipv4.tcp_rto_min_us", 200_000, 1, 120_000_000, "us";
    /// Greatest retransmission time-out.
    tcp_rto_max_ms, "net.ipv4.tcp_rto_max_ms", 120_000, 1000, 120_000, "ms";
    /// Segments that arrive before a gap is taken for a loss.
    tcp_reordering, "net.ipv4.tcp_reordering", 3, 1, 300, "segments";
    /// 3 or 4: a tail loss probe goes before the retransmission time-out (RFC 8985 7); 0: none.
    tcp_early_retrans, "net.ipv4.tcp_early_retrans", 3, 0, 4, "";
    /// For how long the least round trip is remembered.
    tcp_min_rtt_wlen, "net.ipv4.tcp_min_rtt_wlen", 300, 0, 86_400, "s";
    /// RACK (RFC 8985), a sum of: 1 as on Linux, always on; 2 its reordering window does not follow DSACKs; 4 the third
    /// SACKed segment does not end it.
    tcp_recovery, "net.ipv4.tcp_recovery", 1, 0, 7, "";
    /// 1 or 2: find out whether a retransmission time-out was needed (F-RTO, RFC 5682).
    tcp_frto, "net.ipv4.tcp_frto", 2, 0, 2, "";
    /// 1: the congestion window falls back to its initial size after idleness (RFC 5681 4.1).
    tcp_slow_start_after_idle, "net.ipv4.tcp_slow_start_after_idle", 1, 0, 1, "";
    /// Initial congestion window (RFC 6928).
    tcp_initial_cwnd, "finack.tcp_initial_cwnd", 10, 1, 65_535, "segments";
    /// Segments that go out in one burst at least, where the congestion window allows it.
    tcp_min_tso_segs, "net.ipv4.tcp_min_tso_segs", 2, 1, 65_535, "segments";
    /// Round trips below 2 to the power of this get the largest bursts; each doubling halves them.
    tcp_tso_rtt_log, "net.ipv4.tcp_tso_rtt_log", 9, 0, 31, "log2(us)";
    /// How fast bursts are sized for in slow start, in percent of the congestion window in a round trip.
    tcp_pacing_ss_ratio, "net.ipv4.tcp_pacing_ss_ratio", 200, 0, 1000, "%";
    /// The same for congestion avoidance.
    tcp_pacing_ca_ratio, "net.ipv4.tcp_pacing_ca_ratio", 120, 0, 1000, "%";
    /// 1: CUBIC and NewReno are paced, too, at the rate for which bursts are sized, as behind Linux's fq; 0: only what
    /// asks for it is, which BBR and SO_MAX_PACING_RATE do.
    tcp_pacing, "finack.tcp_pacing", 0, 0, 1, "";
    /// 1: windows that are not used are kept for five minutes, and a loss takes them back to what was used (RFC 7661).
    tcp_cwnd_validation, "finack.tcp_cwnd_validation", 0, 0, 1, "";
    /// 1: the receive window is tuned to what the application reads.
    tcp_moderate_rcvbuf, "net.ipv4.tcp_moderate_rcvbuf", 1, 0, 1, "";
    /// Unsent bytes below which a socket is writable.
    tcp_notsent_lowat, "net.ipv4.tcp_notsent_lowat", 4_294_967_295, 0, 4_294_967_295, "bytes";
    /// 0: the urgent pointer names the byte behind the last urgent one (RFC 9293 MUST-62, Linux); 1: the last urgent byte (RFC 1122).
    tcp_stdurg, "net.ipv4.tcp_stdurg", 0, 0, 1, "";
    /// Fast open (RFC 7413), a sum of: 1 as a client, 2 as a server, 4 as a client without a cookie, 512 as a server
    /// without a cookie, 1024 on every listener.
    tcp_fastopen, "net.ipv4.tcp_fastopen", 1, 0, 0x7ff, "";
    /// First local port that is chosen.
    ip_local_port_min, "net.ipv4.ip_local_port_range[0]", 32_768, 1, 65_535, "";
    /// Last local port that is chosen.
    ip_local_port_max, "net.ipv4.ip_local_port_range[1]", 60_999, 1, 65_535, "";
    /// Hop limit of what is sent.
    ip_default_ttl, "net.ipv4.ip_default_ttl", 64, 1, 255, "";
    /// Other than 0: packets may be fragmented on their way. A router that complains of their size is taken to say that
    /// the path's MTU is route.min_pmtu (1), is ignored (2), or is believed as with 0 (3).
    ip_no_pmtu_disc, "net.ipv4.ip_no_pmtu_disc", 0, 0, 3, "";
    /// Least path MTU that ICMP can talk us into.
    min_pmtu, "net.ipv4.route.min_pmtu", 552, 68, 65_535, "bytes";
    /// How long a learned path MTU is believed.
    mtu_expires, "net.ipv4.route.mtu_expires", 600, 1, 86_400, "s";
    /// Memory for fragments that wait for others.
    ipfrag_high_thresh, "net.ipv4.ipfrag_high_thresh", 4_194_304, 0, 1 << 30, "bytes";
    /// How long fragments wait for others.
    ipfrag_time, "net.ipv4.ipfrag_time", 30, 1, 255, "s";
    /// 1: echo requests are not answered.
    icmp_echo_ignore_all, "net.ipv4.icmp_echo_ignore_all", 0, 0, 1, "";
    /// Least time between two ICMP errors to one destination.
    icmp_ratelimit, "net.ipv4.icmp_ratelimit", 1000, 0, 60_000, "ms";
    /// For how long whoever drives the stack looks for packets without sleeping, where they come in quick succession; 0: it
    /// sleeps at once.
    busy_poll, "net.core.busy_poll", 0, 0, 1000, "us";
    /// Receive buffer of a UDP socket.
    rmem_default, "net.core.rmem_default", 212_992, 2304, 1 << 30, "bytes";
    /// Send buffer of a UDP socket.
    wmem_default, "net.core.wmem_default", 212_992, 4608, 1 << 30, "bytes";
    /// 1: initial sequence numbers do not follow the clock. For tests that show what the clock is good for: with it an old
    /// segment can be taken for a new one.
    testing_fixed_isn, "finack.testing_fixed_isn", 0, 0, 1, "";
    /// Most sockets and connections of each kind that the stack holds.
    max_connections, "finack.max_connections", 1_048_576, 1, 536_870_911, "";
}

impl Settings {
    /// Sets what `name` names, as `sysctl NAME=VALUE` does.
    ///
    /// The leading `net.ipv4.` or `net.core.` may be left out, `/` may stand for `.`, and the settings that
    /// hold several numbers (`tcp_rmem`, `tcp_wmem`, `ip_local_port_range`) take them separated by blanks.
    ///
    /// # Errors
    /// Unknown names, values that are no number, and values out of range; nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let dotted = name.replace('/', ".");
        if let Some(word) = Self::WORDS.iter().find(|w| is_called(w.name, &dotted)) {
            return self.set_word(word, value.trim());
        }
        let mut numbers = value.split_ascii_whitespace();
        let indexes = Self::indexes_of(&dotted);
        let Some(&first) = indexes.as_slice().first() else {
            return Err(SettingError::Unknown { name: name.into(), nearest: nearest(&dotted) });
        };
        let mut changed = self.clone();
        for &i in indexes.as_slice() {
            let setting = &Self::ALL[i];
            let malformed = || SettingError::Malformed { name: setting.name, value: value.into() };
            let number: u64 = numbers.next().ok_or_else(malformed)?.parse().map_err(|_| malformed())?;
            if number < setting.min || number > setting.max {
                return Err(SettingError::OutOfRange {
                    name: setting.name,
                    min: setting.min,
                    max: setting.max,
                });
            }
            if let Some(field) = changed.value_mut(i) {
                *field = number;
            }
        }
        if numbers.next().is_some() || changed.ip_local_port_min > changed.ip_local_port_max {
            return Err(SettingError::Malformed { name: Self::ALL[first].name, value: value.into() });
        }
        if Self::ALL[first].name == MEMORY && changed.memory != 0 {
            let bytes = changed.memory;
            changed = changed.with_memory(bytes)?;
        }
        *self = changed;
        Ok(())
    }

    /// These settings with one budget for the data of all connections, `bytes` in all: what waits to be sent and what windows
    /// promise to take (`finack.memory`). A connection's buffers grow as its path asks for it, each up to half of
    /// the budget and to 1 GiB, and to its share of what the others leave.
    ///
    /// # Errors
    /// [`SettingError::OutOfRange`] below 64 KiB and above 1 TiB.
    pub fn with_memory(mut self, bytes: u64) -> Result<Self, SettingError> {
        let (min, max) = (1 << 16, 1 << 40);
        if bytes < min || bytes > max {
            return Err(SettingError::OutOfRange { name: MEMORY, min, max });
        }
        let most = (bytes / 2).min(1 << 30);
        (self.memory, self.tcp_mem) = (bytes, bytes);
        (self.tcp_rmem_max, self.tcp_wmem_max) = (most, most);
        self.tcp_rmem_default = self.tcp_rmem_default.min(most);
        self.tcp_wmem_default = self.tcp_wmem_default.min(most);
        Ok(self)
    }

    /// The part of each of `shards` stacks that are one host: what bounds a whole host is divided among them, rounded
    /// up, and each sends its part of the ICMP errors that may go to one host.
    #[must_use]
    pub fn share(&self, shards: u64) -> Self {
        let mut part = self.clone();
        let shards = shards.max(1);
        for bound in [
            &mut part.tcp_mem,
            &mut part.max_connections,
            &mut part.tcp_max_tw_buckets,
            &mut part.tcp_max_syn_backlog,
            &mut part.ipfrag_high_thresh,
        ] {
            *bound = bound.div_ceil(shards);
        }
        part.icmp_ratelimit = part.icmp_ratelimit.saturating_mul(shards);
        part
    }

    /// Whether programs may choose `kind` by TCP_CONGESTION: what is the default they may always.
    pub fn allows(&self, kind: Congestion) -> bool {
        kind == self.congestion || self.allowed_congestion.contains(kind)
    }

    /// Every setting whose value is a word.
    pub const WORDS: &'static [WordSetting] = &[
        WordSetting {
            name: PROFILE,
            default: "linux",
            choices: &["linux", "rfc"],
            meaning: "Whose side is taken where Linux and the RFCs differ.",
        },
        WordSetting {
            name: CONGESTION,
            default: "cubic",
            choices: Congestion::NAMES,
            meaning: "What decides how much may be out: CUBIC (RFC 9438), NewReno (RFC 5681) or BBR version 3; for \
                      queues that mark DCTCP (RFC 8257) and Prague (RFC 9331).",
        },
        WordSetting {
            name: ALLOWED,
            default: "cubic reno bbr dctcp prague",
            choices: Congestion::NAMES,
            meaning: "What programs may choose by TCP_CONGESTION besides that: some of the names, with blanks between.",
        },
        WordSetting {
            name: FAST_OPEN_KEY,
            default: "",
            choices: &[],
            meaning: "Key of fast open cookies (RFC 7413): four groups of up to eight hexadecimal digits with dashes \
                      between; after a comma the old key, which stays good.",
        },
    ];

    fn set_word(&mut self, word: &WordSetting, value: &str) -> Result<(), SettingError> {
        let not_a_choice =
            || SettingError::NotAChoice { name: word.name, value: value.into(), choices: word.choices };
        match word.name {
            CONGESTION => self.congestion = Congestion::named(value).ok_or_else(not_a_choice)?,
            ALLOWED => self.allowed_congestion = CongestionSet::named(value).ok_or_else(not_a_choice)?,
            FAST_OPEN_KEY => {
                let no_key = || SettingError::NotAKey { name: word.name, value: value.into() };
                self.fast_open_keys = fast_open_keys(value).ok_or_else(no_key)?;
            }
            _ => {
                self.profile = match value {
                    "linux" => Profile::Linux,
                    "rfc" => Profile::Rfc,
                    _ => return Err(not_a_choice()),
                };
            }
        }
        Ok(())
    }

    /// The value of the setting called `name`, in full as in [`ALL`](Self::ALL).
    pub fn get(&self, name: &str) -> Option<u64> {
        let index = Self::ALL.iter().position(|s| s.name == name)?;
        self.clone().value_mut(index).copied()
    }

    fn indexes_of(name: &str) -> alloc::vec::Vec<usize> {
        let matches = |full: &str| is_called(full, name);
        let numbered = |full: &str| full.split_once('[').map(|(base, _)| base).is_some_and(matches);
        Self::ALL
            .iter()
            .enumerate()
            .filter(|(_, s)| matches(s.name) || numbered(s.name))
            .map(|(i, _)| i)
            .collect()
    }
}

/// Whether `name` means the setting called `full`: the leading part may be missing.
fn is_called(full: &str, name: &str) -> bool {
    let short = ["net.ipv4.", "net.core.", "finack."].iter().find_map(|p| full.strip_prefix(p));
    full == name || short == Some(name)
}

/// One key or two as Linux writes them: four groups of eight hexadecimal digits each, a comma between the keys.
fn fast_open_keys(text: &str) -> Option<FastOpenKeys> {
    let key = |text: &str| {
        let mut key = [0; 16];
        let mut groups = text.trim().split('-');
        for place in key.chunks_exact_mut(4) {
            let group = groups.next().filter(|g| (1..=8).contains(&g.len()))?;
            place.copy_from_slice(&u32::from_str_radix(group, 16).ok()?.to_le_bytes());
        }
        groups.next().is_none().then_some(key)
    };
    match text.split_once(',') {
        Some((first, second)) => Some([Some(key(first)?), Some(key(second)?)]),
        None => Some([Some(key(text)?), None]),
    }
}

/// The known name that shares most with `name`, if it shares enough to be meant.
fn nearest(name: &str) -> Option<&'static str> {
    let wanted = name.rsplit('.').next().unwrap_or(name);
    let closeness = |full: &str| {
        let last = full.rsplit('.').next().unwrap_or(full);
        let prefix = last.bytes().zip(wanted.bytes()).take_while(|(a, b)| a == b).count();
        let suffix = last.bytes().rev().zip(wanted.bytes().rev()).take_while(|(a, b)| a == b).count();
        prefix + suffix
    };
    let words = Settings::WORDS.iter().map(|s| s.name);
    Settings::ALL
        .iter()
        .map(|s| s.name)
        .chain(words)
        .map(|name| (closeness(name), name))
        .max_by_key(|(score, _)| *score)
        .filter(|(score, _)| *score >= 6)
        .map(|(_, name)| name)
}
