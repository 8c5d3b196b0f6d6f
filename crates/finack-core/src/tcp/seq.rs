//! Sequence numbers: 32 bits on the wire (RFC 9293 3.4), 64 bits inside.

/// A position in a sequence space, counted from the SYN: the SYN is at 0, the first byte at 1, the FIN
/// behind the last byte. It never wraps. What lies before the SYN is negative.
pub(crate) type Pos = i64;

/// The wire's number of `pos` in the space that starts with `initial`.
pub(crate) const fn wire(initial: u32, pos: Pos) -> u32 {
    initial.wrapping_add(pos as u32)
}

/// The position nearest to `near` that the wire's number `seq` can mean.
pub(crate) const fn expand(initial: u32, near: Pos, seq: u32) -> Pos {
    near + seq.wrapping_sub(wire(initial, near)) as i32 as i64
}

/// `a` is before `b` (RFC 9293 3.4, modulo 2^32).
pub(crate) const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// `a` is after `b`.
pub(crate) const fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_the_wrap() {
        let initial = 0xffff_fff0;
        for pos in [0, 1, 0x0f, 0x10, 0x11, 0x1_0000_0000, 0x7_ffff_fff3_i64] {
            for near in [pos - 0x7fff_ffff, pos - 1, pos, pos + 1, pos + 0x7fff_ffff] {
                assert_eq!(expand(initial, near, wire(initial, pos)), pos);
            }
        }
    }

    #[test]
    fn order_is_modulo_two_to_the_32() {
        assert!(before(0xffff_ffff, 0));
        assert!(after(5, 0xffff_fff0));
        assert!(!before(7, 7));
    }
}
