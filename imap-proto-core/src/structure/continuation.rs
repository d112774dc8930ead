//! Parameter values sent in pieces, put together (RFC 2231 §3, RFC 2231 §6, RFC 9051 §7.5.2).
//!
//! `name*0="a"; name*1="b"` is told as `name` with `ab`. Pieces with a charset (`name*0*=utf-8''%c3; name*1*=%a4`)
//! become the one value they would have been on a long line, `name*` with `utf-8''%c3%a4`: clients that know RFC 2231
//! decode it, and nothing but US-ASCII stands in the answer.

use std::borrow::Cow;
use std::cmp::Ordering;

use bytes::BufMut;
use mailstore_trait::mime::Parameters;
use smallvec::{SmallVec, smallvec};

/// A name and its whole value.
pub(super) type Whole<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Names and values, each value whole: where its first piece stood. A piece behind a gap, or without a first one, stays
/// as it is; one told twice is left out.
pub(super) fn joined(parameters: Parameters<'_>) -> SmallVec<[Option<Whole<'_>>; 4]> {
    let mut told: SmallVec<_> =
        parameters.map(|(name, value)| Some((Cow::Borrowed(name), Cow::Borrowed(value)))).collect();
    // Sorted, so that each value's pieces lie together: many pieces cost little more than few.
    let mut pieces: SmallVec<[(Piece<'_>, usize, &[u8]); 4]> = parameters
        .enumerate()
        .filter_map(|(at, (name, value))| Piece::of(name).map(|piece| (piece, at, value)))
        .collect();
    pieces.sort_by(|(a, at, _), (b, bt, _)| a.order(b).then(at.cmp(bt)));
    for of_one in pieces.chunk_by(|(a, ..), (b, ..)| a.base.eq_ignore_ascii_case(b.base)) {
        let mut chain: SmallVec<[_; 4]> = smallvec![];
        for &(piece, at, value) in of_one {
            let next = u32::try_from(chain.len()).unwrap_or(u32::MAX);
            if piece.number == next {
                chain.push((piece, value));
            }
            if piece.number <= next
                && let Some(place) = told.get_mut(at)
            {
                *place = None;
            }
        }
        let first = of_one.first().map(|&(_, at, _)| at);
        if let (Some(whole), Some(place)) = (join(&chain), first.and_then(|at| told.get_mut(at))) {
            *place = Some(whole);
        }
    }
    told
}

/// One piece's name: `base*number` or, with a charset or percent signs in the value, `base*number*`.
#[derive(Clone, Copy)]
struct Piece<'a> {
    base: &'a [u8],
    number: u32,
    extended: bool,
}

impl<'a> Piece<'a> {
    fn of(name: &'a [u8]) -> Option<Piece<'a>> {
        let (name, extended) = match name.strip_suffix(b"*") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let star = memchr::memrchr(b'*', name)?;
        let (base, digits) = name.split_at_checked(star)?;
        let digits = std::str::from_utf8(digits.get(1..)?).ok()?;
        // RFC 2231 §7: no leading zeros and no signs.
        let canonical = digits == "0" || (digits.starts_with(|c: char| matches!(c, '1'..='9')) && digits.len() < 6);
        let number = digits.parse().ok().filter(|_| canonical && !base.is_empty())?;
        Some(Piece { base, number, extended })
    }

    /// Pieces of one value in a row, by number.
    fn order(&self, other: &Piece<'_>) -> Ordering {
        let letters = |base: &'_ [u8]| base.iter().map(u8::to_ascii_lowercase).collect::<SmallVec<[u8; 16]>>();
        letters(self.base).cmp(&letters(other.base)).then(self.number.cmp(&other.number))
    }
}

/// The value these pieces make; nothing when there are none.
fn join<'a>(chain: &[(Piece<'a>, &[u8])]) -> Option<Whole<'a>> {
    let (first, _) = chain.first()?;
    let mut value = Vec::new();
    for (piece, octets) in chain {
        if first.extended && !piece.extended {
            octets.iter().for_each(|&octet| put_percent(octet, &mut value));
        } else {
            value.put_slice(octets);
        }
    }
    let name = if first.extended { Cow::Owned([first.base, b"*"].concat()) } else { Cow::Borrowed(first.base) };
    Some((name, Cow::Owned(value)))
}

/// RFC 2231 §7, `attribute-char`: what is none needs a percent sign among extended octets.
fn put_percent(octet: u8, out: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    if octet.is_ascii_graphic() && !br#"*'%()<>@,;:\"/[]?="#.contains(&octet) {
        return out.put_u8(octet);
    }
    out.put_u8(b'%');
    for digit in [octet >> 4, octet & 15] {
        out.put_u8(HEX.get(usize::from(digit)).copied().unwrap_or(b'0'));
    }
}
