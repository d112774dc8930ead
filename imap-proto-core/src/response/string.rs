//! Strings and numbers as every response writes them (RFC 9051 §4.3, §9).
//!
//! What the octets are decides the form: quoted where they may stand inside quotes, a literal otherwise.

use bytes::{BufMut, BytesMut};

/// What may stand inside quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quoted {
    /// US-ASCII only: IMAP4rev1 (RFC 3501 §9, `QUOTED-CHAR`). Other text is sent as a literal.
    #[default]
    Ascii,
    /// UTF-8 as well: after ENABLE of IMAP4rev2 (RFC 9051 §9) or UTF8=ACCEPT (RFC 9755 §3).
    Utf8,
}

/// Appends `nstring`: NIL for what is not there, a [`string`] otherwise, also when it is empty.
pub fn nstring(octets: Option<&[u8]>, quoted: Quoted, out: &mut BytesMut) {
    match octets {
        Some(octets) => string(octets, quoted, out),
        None => out.put_slice(b"NIL"),
    }
}

/// Appends `string`: quoted where the octets may stand inside quotes, otherwise a literal.
///
/// RFC 9051 §9, `CHAR8`: there is no way to send a NUL here; it is left out.
pub fn string(octets: &[u8], quoted: Quoted, out: &mut BytesMut) {
    if is_plain(octets) {
        out.reserve(octets.len() + 2);
        out.put_u8(b'"');
        out.put_slice(octets);
        out.put_u8(b'"');
        return;
    }
    let kinds = octets.iter().fold(0, |kinds, &octet| kinds | kind(octet));
    let charset_fits = kinds & HIGH == 0 || (quoted == Quoted::Utf8 && std::str::from_utf8(octets).is_ok());
    if kinds & CONTROL == 0 && charset_fits {
        out.reserve(octets.len() + 8);
        out.put_u8(b'"');
        // RFC 9051 §9, `quoted-specials`.
        for piece in octets.split_inclusive(|octet| matches!(octet, b'"' | b'\\')) {
            match piece.split_last() {
                Some((&special @ (b'"' | b'\\'), before)) => {
                    out.put_slice(before);
                    out.put_slice(&[b'\\', special]);
                }
                _ => out.put_slice(piece),
            }
        }
        out.put_u8(b'"');
        return;
    }
    let nuls = octets.iter().filter(|&&octet| octet == 0).count();
    out.put_u8(b'{');
    number((octets.len() - nuls) as u64, out);
    out.put_slice(b"}\r\n");
    octets.split(|&octet| octet == 0).for_each(|piece| out.put_slice(piece));
}

/// RFC 9051 §9, `quoted-specials`.
const SPECIAL: u8 = 1;
/// What can't stand inside quotes.
const CONTROL: u8 = 2;
/// Not US-ASCII.
const HIGH: u8 = 4;

/// Whether these are printable US-ASCII without what has to be escaped: nearly always, so eight octets are looked at at
/// once. The answer no may be wrong, the answer yes is not.
fn is_plain(octets: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let below = |word: u64, octet: u8| word.wrapping_sub(ONES * u64::from(octet)) & !word;
    let is = |word: u64, octet: u8| below(word ^ (ONES * u64::from(octet)), 1);
    let unusual = |octets: [u8; 8]| {
        let word = u64::from_le_bytes(octets);
        (word | below(word, b' ') | is(word, b'"') | is(word, b'\\')) & (ONES << 7)
    };
    let (words, rest) = octets.as_chunks::<8>();
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    words.iter().fold(unusual(last), |seen, word| seen | unusual(*word)) == 0
}

/// What is special about an octet.
fn kind(octet: u8) -> u8 {
    let special = u8::from(octet == b'"') | u8::from(octet == b'\\');
    let control = u8::from(octet == 0) | u8::from(octet == b'\r') | u8::from(octet == b'\n');
    (special * SPECIAL) | (control * CONTROL) | ((octet >> 7) * HIGH)
}

/// Appends a number in decimal digits.
pub fn number(value: u64, out: &mut BytesMut) {
    let mut digits = [b'0'; 20];
    let mut rest = value;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(digits.get(digits.len() - used..).unwrap_or_default());
}
