//! Octets of the cached forms: variable-length numbers and length-prefixed strings.

/// Appends `value` in groups of seven bits, low group first, the top bit set on all but the last.
pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_octet(value) | 0x80);
        value >>= 7;
    }
    out.push(low_octet(value));
}

/// Octets that [`put_number`] writes for `value`.
pub(super) fn number_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends the length of `octets`, then `octets`.
pub(super) fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    put_number(out, octets.len() as u64);
    out.extend_from_slice(octets);
}

/// Appends a signed number, small ones of either sign in few octets.
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_number(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn low_octet(value: u64) -> u8 {
    value.to_le_bytes().first().copied().unwrap_or_default()
}

/// Takes values off the front of a slice; `None` where the slice ends too early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn octet(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            let group = u64::from(octet & 0x7F);
            if shift == 63 && group > 1 {
                return None;
            }
            value |= group << shift;
            if octet & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.octets()?).ok()
    }

    pub(super) fn octets(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_say_their_length() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, value);
            assert_eq!(out.len(), number_len(value));
            let mut reader = Reader(&out);
            assert_eq!(reader.number(), Some(value));
            assert!(reader.is_empty());
            assert_eq!(Reader(&out[..out.len() - 1]).number(), None);
        }
    }

    #[test]
    fn signed_numbers_come_back() {
        for value in [0, 1, -1, 63, -64, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_signed(&mut out, value);
            assert_eq!(Reader(&out).signed(), Some(value));
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(Reader(&[0xFF; 10]).number(), None);
        assert_eq!(Reader(&[0x80; 11]).number(), None);
    }
}
