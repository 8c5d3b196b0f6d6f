//! What the two SYNs say of congestion notification (RFC 3168 6.1.1, RFC 9768 3.1).

use finack_wire::ip::Ecn;
use finack_wire::tcp::Flags;
use finack_wire::tcp_options::AccEcn;

use super::{BYTES_AT_FIRST, EcnState, Mode};
use crate::settings::{Congestion, Settings};

/// SYNs with flags of accurate ECN that go out at most, where the answer may be held up by them (RFC 9768 3.1.4.1).
const ACCURATE_SYNS: u8 = 2;
/// SYN,ACKs with flags of accurate ECN that go out at most (RFC 9768 3.2.3.2.2).
const ACCURATE_SYN_ACKS: u8 = 2;

/// AE, CWR and ECE as a number (RFC 9768 3.2.2).
pub(crate) const fn ace(flags: Flags) -> u8 {
    flags.contains(Flags::AE) as u8 * 4
        + flags.contains(Flags::CWR) as u8 * 2
        + flags.contains(Flags::ECE) as u8
}

/// The flags AE, CWR and ECE of a number.
pub(crate) const fn flags_of(ace: u8) -> Flags {
    Flags((ace as u16 & 1) << 6 | (ace as u16 >> 1 & 1) << 7 | (ace as u16 >> 2 & 1) << 8)
}

/// How a handshake tells which codepoint arrived (RFC 9768 tables 2 and 3).
pub(crate) const fn reflected(arrived: Ecn) -> u8 {
    match arrived {
        Ecn::NotEct => 0b010,
        Ecn::Ect1 => 0b011,
        Ecn::Ect0 => 0b100,
        Ecn::Ce => 0b110,
    }
}

/// What such a number tells; `None` for those that tell nothing.
pub(crate) const fn read_reflected(ace: u8) -> Option<Ecn> {
    match ace {
        0b010 => Some(Ecn::NotEct),
        0b011 => Some(Ecn::Ect1),
        0b100 => Some(Ecn::Ect0),
        0b110 => Some(Ecn::Ce),
        _ => None,
    }
}

/// Whether the network may have turned `sent` into `arrived` (RFC 3168 18, RFC 9768 3.2.2.3).
pub(crate) fn is_valid_change(sent: Ecn, arrived: Ecn) -> bool {
    sent == arrived || sent.is_capable() && arrived.is_capable() && sent != Ecn::Ce
}

/// A controller that lives on marks has them negotiated whatever the settings say.
fn needs_accurate(kind: Congestion) -> bool {
    kind == Congestion::Prague
}

fn needs_classic(kind: Congestion) -> bool {
    kind == Congestion::Dctcp
}

/// Which capable codepoint a controller's packets carry (RFC 9331 4.1).
pub(crate) fn codepoint(kind: Congestion) -> Ecn {
    if needs_accurate(kind) { Ecn::Ect1 } else { Ecn::Ect0 }
}

/// What an opening asks for, if anything.
pub(crate) fn wish(settings: &Settings, kind: Congestion) -> Option<Mode> {
    match settings.tcp_ecn {
        _ if needs_accurate(kind) => Some(Mode::AskedAccurate),
        3 => Some(Mode::AskedAccurate),
        1 | 4 => Some(Mode::AskedClassic),
        _ if needs_classic(kind) => Some(Mode::AskedClassic),
        _ => None,
    }
}

/// What a half-open connection remembers of it, in a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Grant(u8);

impl Grant {
    const CLASSIC: u8 = 1;
    const ACCURATE: u8 = 2;
    /// The codepoint of the latest SYN, shifted.
    const ARRIVED: u8 = 2;
    /// A SYN or SYN,ACK without flags was part of the handshake: nothing may be sent with ECT (RFC 9768 3.1.5).
    const QUIET: u8 = 1 << 4;
    /// The SYN,ACK went out with ECT.
    const CAPABLE: u8 = 1 << 5;
    /// How many SYN,ACKs went out, shifted.
    const SENT: u8 = 6;

    /// What a SYN is granted. `arrived` is its IP header's codepoint.
    pub(crate) fn of(settings: &Settings, kind: Congestion, flags: Flags, arrived: Ecn) -> Self {
        let accurate = settings.tcp_ecn >= 3 || needs_accurate(kind);
        let allowed = settings.tcp_ecn > 0 || needs_classic(kind) || accurate;
        match ace(flags) {
            0 => Self::default(),
            0b011 | 0b111 if flags.contains(Flags::CWR) && !(accurate && ace(flags) == 0b111) => {
                // RFC 3168 6.1.1: a SYN with ECT was tampered with, unless its flag says that it knows of RFC 9768.
                let plain = !arrived.is_capable() || flags.contains(Flags::AE) || needs_classic(kind);
                Self(if allowed && plain { Self::CLASSIC } else { 0 })
            }
            // RFC 9768 3.1.3: what is not known yet counts as 111.
            _ if accurate => Self(Self::ACCURATE | arrived.bits() << Self::ARRIVED),
            _ => Self::default(),
        }
    }

    /// All of it.
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// What [`bits`](Self::bits) told.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Classic ECN, as the echo of a SYN cookie's timestamp tells.
    pub(crate) const fn classic() -> Self {
        Self(Self::CLASSIC)
    }

    /// Accurate ECN, as the last ACK of a handshake by cookie tells (RFC 9768 5.1).
    pub(crate) const fn accurate() -> Self {
        Self(Self::ACCURATE | 1 << Self::SENT)
    }

    pub(crate) const fn is_classic(self) -> bool {
        self.0 & 3 == Self::CLASSIC
    }

    pub(crate) const fn is_accurate(self) -> bool {
        self.0 & 3 == Self::ACCURATE
    }

    const fn sent(self) -> u8 {
        self.0 >> Self::SENT
    }

    /// The SYN came again, with `flags` and `arrived`. Answers false where both kinds of feedback were asked for in one
    /// handshake, which nobody could make sense of (RFC 9768 3.1.5).
    pub(crate) fn take_repeated_syn(&mut self, settings: &Settings, flags: Flags, arrived: Ecn) -> bool {
        let ace = ace(flags);
        if self.is_classic() && ace == 0b111 {
            return settings.tcp_ecn < 3;
        }
        if self.is_accurate() {
            self.0 = self.0 & !(3 << Self::ARRIVED) | arrived.bits() << Self::ARRIVED;
            if ace == 0 {
                self.0 |= Self::QUIET;
            }
            return ace != 0b011;
        }
        true
    }

    /// A SYN,ACK goes out: its flags, and the codepoint of its IP header. What was not answered is tried with less
    /// (RFC 9768 3.2.3.2.2).
    pub(crate) fn syn_ack(&mut self, settings: &Settings) -> (Flags, Ecn, Option<AccEcn>) {
        let sent = self.sent();
        self.0 = self.0 & !(3 << Self::SENT) | (sent + 1).min(3) << Self::SENT;
        let all = settings.tcp_ecn_control == 2 && sent == 0 && self.0 & 3 != 0;
        self.0 = self.0 & !Self::CAPABLE | if all { Self::CAPABLE } else { 0 };
        let codepoint = if all { Ecn::Ect0 } else { Ecn::NotEct };
        if self.is_classic() {
            return (Flags::ECE, codepoint, None);
        }
        if !self.is_accurate() {
            return (Flags::default(), Ecn::NotEct, None);
        }
        let falls_back = settings.tcp_ecn_fallback == 1;
        if falls_back && sent >= ACCURATE_SYN_ACKS {
            self.0 |= Self::QUIET;
            return (Flags::default(), Ecn::NotEct, None);
        }
        let told = settings.tcp_ecn_option > 0 && (sent == 0 || !falls_back);
        let option = told.then(|| AccEcn::new(true, BYTES_AT_FIRST, 3));
        let arrived = Ecn::from_bits(self.0 >> Self::ARRIVED);
        (flags_of(reflected(arrived)), codepoint, option)
    }

    /// The state that the connection begins with.
    pub(crate) fn state(self) -> Option<alloc::boxed::Box<EcnState>> {
        let mode = match self.0 & 3 {
            Self::CLASSIC => Mode::Classic,
            Self::ACCURATE => Mode::Accurate,
            _ => return None,
        };
        let mut state = EcnState::new(mode);
        state.in_handshake = mode == Mode::Accurate;
        state.capable = self.0 & Self::QUIET == 0;
        state.handshake_sent = if self.0 & Self::CAPABLE != 0 { Ecn::Ect0 } else { Ecn::NotEct };
        state.accurate.last = Ecn::from_bits(self.0 >> Self::ARRIVED);
        Some(alloc::boxed::Box::new(state))
    }
}

impl EcnState {
    /// The flags and the codepoint of our SYN. After `repeats` without an answer what may have held it up is left out.
    pub(crate) fn syn(&mut self, settings: &Settings, repeats: u8) -> (Flags, Ecn) {
        let falls_back = settings.tcp_ecn_fallback == 1;
        let (ace, most) = match self.mode {
            Mode::AskedAccurate => (0b111, ACCURATE_SYNS),
            Mode::AskedClassic => (0b011, 1),
            _ => return (Flags::default(), Ecn::NotEct),
        };
        if self.gave_up || falls_back && repeats >= most {
            self.gave_up = true;
            return (Flags::default(), Ecn::NotEct);
        }
        let capable = settings.tcp_ecn_control == 2 && repeats == 0 && self.mode == Mode::AskedAccurate;
        self.handshake_sent = if capable { Ecn::Ect0 } else { Ecn::NotEct };
        (flags_of(ace), self.handshake_sent)
    }

    /// The same for a SYN,ACK of a connection that is more than half-open.
    pub(crate) fn syn_ack(&mut self, settings: &Settings, repeats: u8) -> (Flags, Option<AccEcn>) {
        let falls_back = settings.tcp_ecn_fallback == 1;
        if falls_back && repeats >= ACCURATE_SYN_ACKS {
            self.capable = false;
            return (Flags::default(), None);
        }
        let told = settings.tcp_ecn_option > 0 && (repeats == 0 || !falls_back);
        let option = told.then(|| AccEcn::new(true, BYTES_AT_FIRST, 3));
        (flags_of(reflected(self.accurate.last)), option)
    }

    /// The SYN,ACK that answers our SYN says `flags`, and `arrived` is its codepoint. Answers whether it told that the SYN
    /// was marked.
    pub(crate) fn take_syn_ack(&mut self, flags: Flags, arrived: Ecn, option: Option<AccEcn>) -> bool {
        let ace = ace(flags);
        let asked = self.mode;
        self.mode = match (asked, ace) {
            // RFC 3168 6.1.1: ECE without CWR; with CWR it is our own SYN's flags come back.
            (Mode::AskedClassic, 0b001 | 0b101) | (Mode::AskedAccurate, 0b001) => Mode::Classic,
            // RFC 9768 table 2.
            (Mode::AskedAccurate, 0b010..=0b110) => Mode::Accurate,
            (Mode::AskedClassic | Mode::AskedAccurate, _) => Mode::None,
            (mode, _) => mode,
        };
        if self.mode != Mode::Accurate {
            return false;
        }
        self.accurate.last = arrived;
        self.accurate.reflect = Some(arrived);
        if arrived == Ecn::Ce && asked == Mode::AskedAccurate {
            self.accurate.count_marks(1);
        }
        self.accurate.learn_option(option.as_ref());
        self.accurate.demand = 2;
        self.check_handshake(ace) == Some(Ecn::Ce)
    }

    /// The peer tells with which codepoint our SYN or SYN,ACK arrived. Where the network cannot have made it of what was
    /// sent, nothing is sent with ECT any more (RFC 9768 3.2.2.3).
    pub(crate) fn check_handshake(&mut self, ace: u8) -> Option<Ecn> {
        let arrived = read_reflected(ace)?;
        if !is_valid_change(self.handshake_sent, arrived) {
            self.capable = false;
            self.fail |= super::FAIL_ACE_RECEIVED;
        }
        Some(arrived)
    }
}
