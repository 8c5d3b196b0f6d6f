//! What must be there, so that nothing is left out in silence.

/// RFCs whose requirements the table must have.
pub(crate) const RFCS: &[u32] = &[
    768, 1122, 1337, 2018, 2385, 2883, 3042, 3168, 3465, 5482, 5681, 5925, 5926, 5927, 5961, 6056, 6093,
    6191, 6298, 6528, 6582, 6675, 6691, 7323, 7413, 7661, 8257, 8961, 8985, 9293, 9331, 9406, 9438, 9768,
    9937,
];

/// The numbers that an RFC gives to its requirements, where it does: `MUST-1` to `MUST-69` and so on.
pub(crate) fn numbered(rfc: u32) -> &'static [(&'static str, u32)] {
    match rfc {
        // Appendix B, and the text, which has the same.
        9293 => &[("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1)],
        _ => &[],
    }
}

/// Whether a requirement numbered with `prefix` may be of the level called `level`.
pub(crate) fn level_fits(prefix: &str, level: &str) -> bool {
    match prefix {
        "MUST" => level.starts_with("MUST"),
        "SHLD" | "REC" => level.starts_with("SHOULD"),
        "MAY" => level == "MAY",
        _ => true,
    }
}
