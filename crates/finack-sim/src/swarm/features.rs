//! What a seed switches on or off as a whole.
//!
//! A world in which everything may happen seldom lets one thing happen often enough, and some things hide others
//! (Groce et al., Swarm Testing, ISSTA 2012). So each seed leaves out about half of what there is.

use core::fmt;

use crate::rng::Rng;

macro_rules! features {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $share:literal;)+) => {
        /// Something that a world may have or not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Feature { $($(#[doc = $doc])+ $variant,)+ }

        impl Feature {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// A short name for tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// In how many of a hundred worlds it is.
            const fn share(self) -> u64 {
                match self { $(Self::$variant => $share,)+ }
            }
        }
    };
}

features! {
    /// Random losses.
    Loss = "loss", 50;
    /// Losses in bursts (Gilbert-Elliott).
    Bursts = "bursts", 30;
    /// Packets that are held back.
    Reorder = "reorder", 50;
    /// Packets that arrive twice.
    Duplicate = "duplicate", 40;
    /// Packets with a bit flipped.
    Corrupt = "corrupt", 30;
    /// Every packet's delay differs.
    Jitter = "jitter", 30;
    /// Nothing passes for a while.
    BlackOut = "black-out", 25;
    /// Paths whose MTU is below the devices'.
    SmallMtu = "small-mtu", 30;
    /// The MTU changes meanwhile.
    MtuChange = "mtu-change", 20;
    /// Routers that say nothing about packets that are too large.
    BlackHole = "black-hole", 15;
    /// There and back differ.
    Asymmetry = "asymmetry", 40;
    /// A rate and a queue.
    Bottleneck = "bottleneck", 40;
    /// Queues that manage themselves: CoDel, DualPI2.
    Managed = "managed-queue", 30;
    /// A rate that changes as a recorded one did.
    Trace = "trace", 20;
    /// Boxes on the way that change, strip, join, cut, translate or guard.
    Boxes = "boxes", 35;
    /// IPv6.
    Ipv6 = "ipv6", 40;
    /// Hosts without SACK.
    NoSack = "no-sack", 30;
    /// Hosts without timestamps.
    NoTimestamps = "no-timestamps", 30;
    /// Hosts without window scaling.
    NoScaling = "no-scaling", 25;
    /// Hosts with the RFCs' profile.
    Rfc = "profile=rfc", 30;
    /// ECN in all its forms.
    Ecn = "ecn", 40;
    /// Congestion control other than the default.
    Control = "control", 50;
    /// Recovery's settings.
    Recovery = "recovery", 40;
    /// Buffers set by the application.
    Buffers = "buffers", 50;
    /// Little memory.
    Pressure = "pressure", 15;
    /// Keep-alive.
    KeepAlive = "keep-alive", 20;
    /// User time-outs.
    UserTimeout = "user-timeout", 15;
    /// SYN cookies always.
    Cookies = "cookies", 25;
    /// Fast open.
    FastOpen = "fast-open", 25;
    /// Probing for the path MTU.
    Probing = "mtu-probing", 25;
    /// Devices that take units of 64 KiB.
    Units = "gso", 50;
    /// Devices that join what they receive.
    Joins = "gro", 40;
    /// Large transfers.
    Bulk = "bulk", 40;
    /// Requests and responses.
    Requests = "requests", 50;
    /// Many short connections.
    Short = "short", 35;
    /// Ends that are closed at once, however much comes in.
    EarlyClose = "early-close", 25;
    /// Aborts.
    Abort = "abort", 25;
    /// Both sides open at once.
    Crossed = "simultaneous-open", 20;
    /// Readers that are late or slow.
    SlowReader = "slow-reader", 40;
    /// Urgent data.
    Urgent = "urgent", 20;
    /// Hosts that crash and come back.
    Crash = "crash", 15;
    /// The same four-tuple again and again.
    Reuse = "reuse", 25;
    /// TCP_NODELAY, TCP_CORK, TCP_QUICKACK.
    Small = "small-writes", 50;
    /// UDP beside it.
    Datagrams = "udp", 25;
    /// More than two hosts.
    Crowd = "crowd", 30;
}

/// A set of features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct Features(u64);

impl Features {
    /// What the next numbers switch on.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let on = |f: &&Feature| rng.below(100) < f.share();
        Self(Feature::ALL.iter().filter(on).fold(0, |set, &f| set | 1 << f as u8))
    }

    /// Whether it is on.
    #[must_use]
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u8 != 0
    }

    /// All that are on.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.iter().copied().filter(move |&f| self.has(f))
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Feature::name).collect();
        f.write_str(&names.join(" "))
    }
}
