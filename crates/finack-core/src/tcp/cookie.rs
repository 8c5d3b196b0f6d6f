//! SYN cookies (RFC 4987 3.6): the sequence number of a SYN,ACK that tells all that was known of the SYN.
//!
//! Bits 31..27 hold the minute, 26..24 the MSS class, 23..0 a keyed hash of both, the four-tuple and the
//! peer's ISN. Where timestamps are in use the low bits of TSval tell the other options.

use core::time::Duration;

use super::Tuple;
use crate::hash::Secrets;
use crate::time::Instant;

/// Segment sizes that a cookie can tell; the peer's is rounded down.
const CLASSES: [u16; 8] = [48, 216, 536, 1220, 1300, 1440, 1460, 8940];
/// Length of the time slot that a cookie names.
const SLOT_SECS: u64 = 64;
/// A cookie is good in its own slot and the next.
const SLOTS: u32 = 2;
/// No cookie is good for longer.
pub(crate) const LIFETIME: Duration = Duration::from_secs(SLOT_SECS * SLOTS as u64);
/// Bits of TSval that tell options.
const OPTION_BITS: u32 = 6;
const NO_SCALE: u8 = 15;

fn slot(now: Instant) -> u32 {
    (now.as_millis() / 1000 / SLOT_SECS) as u32
}

fn mac(secrets: &Secrets, tuple: &Tuple, irs: u32, slot: u32, class: u32) -> u32 {
    let ends = secrets.cookie.wire().socket(tuple.local_addr()).socket(tuple.remote_addr());
    ends.u64(u64::from(irs) << 32 | u64::from(slot) << 3 | u64::from(class)).finish() as u32 & 0x00ff_ffff
}

/// The ISN of a SYN,ACK that is a cookie.
pub(crate) fn make(secrets: &Secrets, tuple: &Tuple, irs: u32, mss: u16, now: Instant) -> u32 {
    let class = CLASSES.iter().rposition(|&c| c <= mss).unwrap_or(0) as u32;
    let slot = slot(now);
    (slot & 31) << 27 | class << 24 | mac(secrets, tuple, irs, slot, class)
}

/// The peer's MSS, if `cookie` is one that was made for this peer not long ago.
pub(crate) fn check(secrets: &Secrets, tuple: &Tuple, irs: u32, cookie: u32, now: Instant) -> Option<u16> {
    let class = cookie >> 24 & 7;
    let current = slot(now);
    let made = (0..SLOTS).map(|back| current.wrapping_sub(back)).find(|slot| slot & 31 == cookie >> 27)?;
    (mac(secrets, tuple, irs, made, class) == cookie & 0x00ff_ffff).then(|| CLASSES[class as usize])
}

/// What a timestamp tells of a SYN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// SACK was permitted.
    pub(crate) sack: bool,
    /// The peer's window scale.
    pub(crate) scale: Option<u8>,
    /// Classic congestion notification was granted.
    pub(crate) ecn: bool,
}

/// TSval whose low bits tell the options of the SYN; never later than `clock`.
pub(crate) fn stamp(clock: u32, tell: &Told) -> u32 {
    let options = u32::from(tell.sack) << 4 | u32::from(tell.ecn) << 5;
    let told = u32::from(tell.scale.unwrap_or(NO_SCALE) & 15) | options;
    let stamp = clock & !((1 << OPTION_BITS) - 1) | told;
    if stamp.wrapping_sub(clock) as i32 > 0 { stamp.wrapping_sub(1 << OPTION_BITS) } else { stamp }
}

/// What an echoed TSval tells.
pub(crate) fn read_stamp(stamp: u32) -> Told {
    let scale = (stamp & 15) as u8;
    Told { sack: stamp & 16 != 0, scale: (scale != NO_SCALE).then_some(scale), ecn: stamp & 32 != 0 }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn tuple(port: u16) -> Tuple {
        let local = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        Tuple { local, remote: local, local_port: 80, remote_port: port }
    }

    /// RFC 4987 3.6: right from the peer that got it, wrong from any other and after its time.
    #[test]
    fn a_cookie_is_good_for_its_peer_and_for_a_while() {
        let secrets = Secrets::new(&[7; 32]);
        let now = Instant::from_secs(10_000);
        let cookie = make(&secrets, &tuple(1), 12_345, 1460, now);
        let later = |s: u64| Instant::from_secs(10_000 + s);
        assert_eq!(check(&secrets, &tuple(1), 12_345, cookie, later(60)), Some(1460));
        assert_eq!(check(&secrets, &tuple(2), 12_345, cookie, now), None);
        assert_eq!(check(&secrets, &tuple(1), 12_346, cookie, now), None);
        assert_eq!(check(&secrets, &tuple(1), 12_345, cookie ^ 1, now), None);
        assert_eq!(check(&secrets, &tuple(1), 12_345, cookie, later(200)), None);
    }

    #[test]
    fn a_stamp_tells_the_options_and_does_not_run_ahead() {
        for clock in [0u32, 31, 63, 64, 1_000_001, u32::MAX] {
            for (sack, scale) in [(true, Some(7)), (false, None), (true, None), (false, Some(14))] {
                let told = Told { sack, scale, ecn: sack != scale.is_some() };
                let stamp = stamp(clock, &told);
                assert_eq!(read_stamp(stamp), told);
                assert!(clock.wrapping_sub(stamp) < 128, "{clock} {stamp}");
            }
        }
    }
}
