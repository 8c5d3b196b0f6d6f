//! What an application sets on a socket.

use core::time::Duration;

/// IP_MTU_DISCOVER: whether packets may be fragmented on their way, and whether routers are believed that complain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MtuDiscovery {
    /// Packets may be fragmented; connections that stand do not follow what routers say (IP_PMTUDISC_DONT).
    Dont,
    /// Path MTU discovery (IP_PMTUDISC_WANT).
    Want,
    /// The same for TCP (IP_PMTUDISC_DO).
    Do,
    /// Packets may be fragmented, but routers are believed (IP_PMTUDISC_PROBE).
    Probe,
    /// Packets may be fragmented, and what routers say is ignored (IP_PMTUDISC_INTERFACE).
    Interface,
    /// The same for TCP (IP_PMTUDISC_OMIT).
    Omit,
}

impl MtuDiscovery {
    /// IPv4 packets say DF.
    pub(crate) const fn forbids_fragments(self) -> bool {
        matches!(self, Self::Want | Self::Do)
    }

    /// Segments follow what routers say of the path.
    pub(crate) const fn follows_routers(self) -> bool {
        matches!(self, Self::Want | Self::Do | Self::Probe)
    }
}

/// Options of a TCP socket; a listener's are inherited by the connections it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// TCP_NODELAY: small segments go out at once (switches Nagle's algorithm off, RFC 9293 SHLD-7).
    pub nodelay: bool,
    /// TCP_CORK: only full segments go out, at most 200 ms late.
    pub cork: bool,
    /// TCP_QUICKACK: ACKs are not delayed.
    pub quickack: bool,
    /// SO_LINGER: `None` closes in the background; `Some(0)` aborts with a RST.
    pub linger: Option<Duration>,
    /// TCP_LINGER2: how long an orphan stays in FIN-WAIT-2; `None` takes `tcp_fin_timeout`.
    pub fin_wait2_timeout: Option<Duration>,
    /// SO_KEEPALIVE (RFC 9293 3.8.4).
    pub keepalive: bool,
    /// TCP_KEEPIDLE; `None` takes `tcp_keepalive_time`.
    pub keepalive_idle: Option<Duration>,
    /// TCP_KEEPINTVL; `None` takes `tcp_keepalive_intvl`.
    pub keepalive_interval: Option<Duration>,
    /// TCP_KEEPCNT; `None` takes `tcp_keepalive_probes`.
    pub keepalive_count: Option<u32>,
    /// TCP_USER_TIMEOUT: unacknowledged for this long ends the connection (RFC 5482, RFC 9293 3.8.3).
    pub user_timeout: Option<Duration>,
    /// TCP_SYNCNT; `None` takes `tcp_syn_retries`.
    pub syn_retries: Option<u32>,
    /// TCP_MAXSEG: upper bound of the MSS in both directions, in bytes.
    pub max_segment: Option<u16>,
    /// SO_SNDBUF: bytes of unacknowledged and unsent data kept. Twice as many count, but what is written counts with what
    /// keeping it costs, as on Linux, and a unit of up to 64 KiB that is begun is filled. `None` takes `tcp_wmem`.
    pub send_buffer: Option<usize>,
    /// SO_RCVBUF: bytes of unread data kept, which bounds the window. Twice as many count, but with what keeping them would
    /// cost Linux. `None` takes `tcp_rmem`.
    pub recv_buffer: Option<usize>,
    /// TCP_WINDOW_CLAMP: the largest window that is offered, in bytes.
    pub window_clamp: Option<u32>,
    /// SO_RCVLOWAT: readable only from this many bytes on (at least 1).
    pub recv_lowat: usize,
    /// TCP_NOTSENT_LOWAT: writable only while fewer unsent bytes are queued.
    pub notsent_lowat: Option<usize>,
    /// SO_OOBINLINE: the urgent byte stays in the stream (RFC 9293 3.8.5, RFC 6093).
    pub oob_inline: bool,
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// IPV6_V6ONLY of a listener on `::`.
    pub v6_only: bool,
    /// SO_MAX_PACING_RATE: data leaves at this many bytes a second at most. Setting it has the connection paced.
    pub max_pacing_rate: Option<u64>,
    /// TCP_CONGESTION; `None` takes `tcp_congestion_control`.
    pub congestion: Option<crate::settings::Congestion>,
    /// TCP_FASTOPEN of a listener: connections that a SYN with data may open before their handshake is over
    /// (RFC 7413 4.2); 0 takes none.
    pub fast_open: u32,
    /// TCP_FASTOPEN_NO_COOKIE: SYNs with data need no cookie here (RFC 7413 6.3.2 tells when that is safe).
    pub fast_open_no_cookie: bool,
    /// IP_TOS / IPV6_TCLASS.
    pub tos: u8,
    /// IP_TTL / IPV6_UNICAST_HOPS; `None` takes `ip_default_ttl`.
    pub hop_limit: Option<u8>,
    /// IP_MTU_DISCOVER / IPV6_MTU_DISCOVER; `None` is [`MtuDiscovery::Want`], or [`MtuDiscovery::Dont`] with
    /// `ip_no_pmtu_disc`.
    pub mtu_discovery: Option<MtuDiscovery>,
}

impl SocketOptions {
    /// IP_MTU_DISCOVER as it is in force.
    pub(crate) fn mtu_discovery(&self, settings: &crate::settings::Settings) -> MtuDiscovery {
        let default = if settings.ip_no_pmtu_disc == 0 { MtuDiscovery::Want } else { MtuDiscovery::Dont };
        self.mtu_discovery.unwrap_or(default)
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: false,
            cork: false,
            quickack: false,
            linger: None,
            fin_wait2_timeout: None,
            keepalive: false,
            keepalive_idle: None,
            keepalive_interval: None,
            keepalive_count: None,
            user_timeout: None,
            syn_retries: None,
            max_segment: None,
            send_buffer: None,
            recv_buffer: None,
            window_clamp: None,
            recv_lowat: 1,
            notsent_lowat: None,
            oob_inline: false,
            reuse_addr: false,
            reuse_port: false,
            v6_only: false,
            max_pacing_rate: None,
            congestion: None,
            fast_open: 0,
            fast_open_no_cookie: false,
            tos: 0,
            hop_limit: None,
            mtu_discovery: None,
        }
    }
}

/// Options of a `bind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BindOptions {
    /// SO_REUSEADDR: may stand beside TIME-WAIT and beside other sockets that set it, never beside a listener.
    pub reuse_addr: bool,
    /// SO_REUSEPORT: may stand beside other sockets that set it; incoming work is spread over them.
    pub reuse_port: bool,
    /// IPV6_V6ONLY: `::` does not take IPv4 too.
    pub v6_only: bool,
}

/// Which direction a `shutdown` closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// Nothing more is read (SHUT_RD): purely local, as on Linux.
    Read,
    /// Nothing more is written (SHUT_WR): a FIN follows the data, the other direction stays open.
    Write,
    /// Both (SHUT_RDWR).
    Both,
}

/// Flags of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SendFlags {
    /// MSG_MORE: more follows soon, hold a partial segment back.
    pub more: bool,
    /// MSG_OOB: the last byte is urgent (RFC 9293 3.8.5).
    pub oob: bool,
    /// MSG_EOR: a record ends with the last byte. What is written later never shares a segment with it, and the segment
    /// that ends the record says PSH, also when it is sent again.
    pub eor: bool,
}

/// Flags of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RecvFlags {
    /// MSG_PEEK: leave the data queued.
    pub peek: bool,
    /// MSG_OOB: read the urgent byte.
    pub oob: bool,
}
