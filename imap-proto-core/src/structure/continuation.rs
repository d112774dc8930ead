//! Parameter values sent in pieces, put together (RFC 2231 §3, RFC 2231 §6, RFC 9051 §7.5.2).
//!
//! `name*0="a"; name*1="b"` is told as `name` with `ab`. Pieces with a charset (`name*0*=utf-8''%c3; name*1*=%a4`)
//! become the one value they would have been on a long line, `name*` with `utf-8''%c3%a4`: clients that know RFC 2231
//! decode it, and nothing but US-ASCII stands in the answer.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use mailstore_trait::mime::Parameters;

/// Names and values, each value whole.
pub(super) fn joined<'a>(parameters: Parameters<'a>) -> impl Iterator<Item = (Cow<'a, [u8]>, Cow<'a, [u8]>)> {
    parameters.enumerate().filter_map(move |(at, (name, value))| {
        let plain = Some((Cow::Borrowed(name), Cow::Borrowed(value)));
        let Some(piece) = Piece::of(name) else { return plain };
        match (find(parameters, piece.base, 0), piece.number) {
            // Told at its first piece, whatever order they came in.
            (Some((first, ..)), 0) if first == at => Some(join(parameters, piece.base)),
            (Some(_), number) if number < pieces(parameters, piece.base) => None,
            // Nothing that it could be a piece of.
            _ => plain,
        }
    })
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
}

/// The first piece of this number, with its place. A field keeps no more parameters than the scan's limits allow, so
/// looking through them for each piece costs little.
fn find<'a>(mut parameters: Parameters<'a>, base: &[u8], number: u32) -> Option<(usize, Piece<'a>, &'a [u8])> {
    let mut places = 0..;
    parameters.find_map(|(name, value)| {
        let at = places.next()?;
        let piece = Piece::of(name)?;
        (piece.number == number && piece.base.eq_ignore_ascii_case(base)).then_some((at, piece, value))
    })
}

/// How many pieces there are from 0 on without a gap.
fn pieces(parameters: Parameters<'_>, base: &[u8]) -> u32 {
    (0..).find(|&number| find(parameters, base, number).is_none()).unwrap_or(0)
}

fn join<'a>(parameters: Parameters<'a>, base: &'a [u8]) -> (Cow<'a, [u8]>, Cow<'a, [u8]>) {
    let mut value = BytesMut::new();
    let charset = find(parameters, base, 0).is_some_and(|(_, piece, _)| piece.extended);
    for number in 0.. {
        let Some((_, piece, octets)) = find(parameters, base, number) else { break };
        if charset && !piece.extended {
            octets.iter().for_each(|&octet| put_percent(octet, &mut value));
        } else {
            value.put_slice(octets);
        }
    }
    let name = if charset { Cow::Owned([base, b"*"].concat()) } else { Cow::Borrowed(base) };
    (name, Cow::Owned(value.to_vec()))
}

/// RFC 2231 §7, `attribute-char`: what is none needs a percent sign among extended octets.
fn put_percent(octet: u8, out: &mut BytesMut) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    if octet.is_ascii_graphic() && !br#"*'%()<>@,;:\"/[]?="#.contains(&octet) {
        return out.put_u8(octet);
    }
    out.put_u8(b'%');
    for digit in [octet >> 4, octet & 15] {
        out.put_u8(HEX.get(usize::from(digit)).copied().unwrap_or(b'0'));
    }
}
