//! Reading big-endian fields at places that may not be there.

/// The big-endian 16-bit field at `at`, if `data` reaches that far.
#[inline]
pub(crate) fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    let field = data.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*field))
}

/// The big-endian 32-bit field at `at`, if `data` reaches that far.
#[inline]
pub(crate) fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let field = data.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*field))
}
