//! Modified UTF-7: mailbox names as IMAP4rev1 writes them (RFC 3501 §5.1.3).
//!
//! Names are UTF-8 everywhere inside; only the edge of a rev1 session without `UTF8=ACCEPT` speaks this form. Decoding
//! takes the one canonical form of a name and refuses every other, so that no two spellings mean one mailbox: what
//! decodes encodes back to the same octets.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

/// Why octets are no name in modified UTF-7. The offset says where, in octets from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Utf7Error {
    /// An octet that is not printable US-ASCII.
    #[error("octet {0} is not printable US-ASCII")]
    Octet(usize),
    /// A shift to BASE64 without the `-` that ends it, or with an octet that is not of its alphabet.
    #[error("the shift at octet {0} does not end")]
    Unterminated(usize),
    /// A shift that does not hold whole characters, or holds bits beyond them.
    #[error("the shift at octet {0} holds no whole characters")]
    Incomplete(usize),
    /// A shift that holds a character which stands for itself, or directly follows another shift.
    #[error("the shift at octet {0} is superfluous")]
    Superfluous(usize),
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// RFC 3501 §5.1.3: these stand for themselves, `&` as `&-`.
fn is_direct(char: char) -> bool {
    matches!(char, ' '..='~')
}

/// Decodes a mailbox name.
///
/// # Errors
/// When `name` is not the canonical form of any name.
pub fn decode(name: &[u8]) -> Result<Cow<'_, str>, Utf7Error> {
    if let Some(at) = name.iter().position(|octet| !matches!(octet, b' '..=b'~')) {
        return Err(Utf7Error::Octet(at));
    }
    // Printable ASCII is UTF-8.
    let text = std::str::from_utf8(name).unwrap_or_default();
    if !text.contains('&') {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    // Whether a shift with characters in it ended just before `rest`.
    let mut shifted = false;
    while let Some((direct, shift)) = rest.split_once('&') {
        let at = text.len() - shift.len() - 1;
        decoded.push_str(direct);
        shifted &= direct.is_empty();
        let (encoded, after) = shift.split_once('-').ok_or(Utf7Error::Unterminated(at))?;
        rest = after;
        if encoded.is_empty() {
            decoded.push('&');
            shifted = false;
            continue;
        }
        // RFC 3501 §5.1.3: "-&" inside what could be one shift never happens.
        if shifted {
            return Err(Utf7Error::Superfluous(at));
        }
        decode_shift(encoded, at, &mut decoded)?;
        shifted = true;
    }
    decoded.push_str(rest);
    Ok(Cow::Owned(decoded))
}

/// The UTF-16 code units in BASE64 between `&` and `-`.
fn decode_shift(encoded: &str, at: usize, out: &mut String) -> Result<(), Utf7Error> {
    let mut units = Units { symbols: encoded.as_bytes().iter(), bits: 0, count: 0, bad: false };
    for char in char::decode_utf16(&mut units) {
        match char {
            Ok(char) if is_direct(char) => return Err(Utf7Error::Superfluous(at)),
            Ok(char) => out.push(char),
            Err(_) if !encoded.bytes().all(|octet| value(octet).is_some()) => return Err(Utf7Error::Unterminated(at)),
            Err(_) => return Err(Utf7Error::Incomplete(at)),
        }
    }
    if units.bad {
        return Err(Utf7Error::Unterminated(at));
    }
    // Fewer than six bits are left over, and they are zero: one symbol less would not have been enough.
    if units.count >= 6 || units.bits & ((1 << units.count) - 1) != 0 {
        return Err(Utf7Error::Incomplete(at));
    }
    Ok(())
}

fn value(symbol: u8) -> Option<u8> {
    match symbol {
        b'A'..=b'Z' => Some(symbol - b'A'),
        b'a'..=b'z' => Some(symbol - b'a' + 26),
        b'0'..=b'9' => Some(symbol - b'0' + 52),
        b'+' => Some(62),
        b',' => Some(63),
        _ => None,
    }
}

struct Units<'a> {
    symbols: std::slice::Iter<'a, u8>,
    bits: u32,
    count: u32,
    bad: bool,
}

impl Iterator for Units<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        while self.count < 16 {
            let Some(value) = self.symbols.next().copied().map(value)? else {
                self.bad = true;
                return None;
            };
            self.bits = self.bits << 6 | u32::from(value);
            self.count += 6;
        }
        self.count -= 16;
        u16::try_from(self.bits >> self.count & 0xFFFF).ok()
    }
}

/// Whether a name is its own modified UTF-7: printable US-ASCII without `&`.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    name.chars().all(|char| is_direct(char) && char != '&')
}

/// Appends the canonical form of a name.
pub fn encode(name: &str, out: &mut BytesMut) {
    let mut rest = name;
    while let Some(char) = rest.chars().next() {
        if is_direct(char) {
            out.put_u8(u8::try_from(char).unwrap_or(b'?'));
            if char == '&' {
                out.put_u8(b'-');
            }
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let end = rest.find(is_direct).unwrap_or(rest.len());
        let (shift, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        out.put_u8(b'&');
        encode_shift(shift, out);
        out.put_u8(b'-');
        rest = after;
    }
}

fn encode_shift(shift: &str, out: &mut BytesMut) {
    let symbol = |bits: u32| ALPHABET.get((bits & 63) as usize).copied().unwrap_or(b'A');
    let (mut bits, mut count) = (0u32, 0);
    for unit in shift.encode_utf16() {
        bits = bits << 16 | u32::from(unit);
        count += 16;
        while count >= 6 {
            count -= 6;
            out.put_u8(symbol(bits >> count));
        }
    }
    if count > 0 {
        out.put_u8(symbol(bits << (6 - count)));
    }
}

/// Fuzz target: no panic, and what decodes encodes back.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    if let Ok(name) = decode(data) {
        let mut out = BytesMut::new();
        encode(&name, &mut out);
        assert_eq!(out, data, "a name has one form");
    }
    let name = String::from_utf8_lossy(data);
    let mut out = BytesMut::new();
    encode(&name, &mut out);
    assert_eq!(decode(&out).as_deref(), Ok(&*name), "every name has a form");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(name: &str) -> String {
        let mut out = BytesMut::new();
        encode(name, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn names_have_one_form() {
        for (name, form) in [
            ("", ""),
            ("INBOX", "INBOX"),
            ("R&D", "R&-D"),
            ("&", "&-"),
            ("&&", "&-&-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("Отправленные", "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"),
            // RFC 3501 §5.1.3: the example.
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("台北&日本語", "&U,BTFw-&-&ZeVnLIqe-"),
            // stalwartlabs/stalwart#2564: characters beyond the basic plane take a pair of surrogates.
            ("🎉", "&2DzfiQ-"),
            ("a🎉b", "a&2DzfiQ-b"),
            ("tab\there", "tab&AAk-here"),
            ("\u{7f}", "&AH8-"),
        ] {
            assert_eq!(encoded(name), form, "{name:?}");
            assert_eq!(decode(form.as_bytes()).as_deref(), Ok(name), "{form:?}");
        }
        assert!(is_plain("Sent Items") && !is_plain("R&D") && !is_plain("Entwürfe"));
        assert!(matches!(decode(b"INBOX"), Ok(Cow::Borrowed("INBOX"))));
    }

    // Dovecot 2.4.3 and others let several spellings mean one mailbox; access rules tied to one of them then miss.
    #[test]
    fn other_spellings_are_refused() {
        for (form, error) in [
            (&b"Entw\xc3\xbcrfe"[..], Utf7Error::Octet(4)),
            (b"a\x00", Utf7Error::Octet(1)),
            (b"tab\t", Utf7Error::Octet(3)),
            (b"&", Utf7Error::Unterminated(0)),
            (b"a&APw", Utf7Error::Unterminated(1)),
            (b"&A/w-", Utf7Error::Unterminated(0)),
            (b"&APw=-", Utf7Error::Unterminated(0)),
            (b"& -", Utf7Error::Unterminated(0)),
            // "A" stands for itself.
            (b"&AEE-", Utf7Error::Superfluous(0)),
            (b"&ACY-", Utf7Error::Superfluous(0)),
            (b"&APwAQQ-", Utf7Error::Superfluous(0)),
            // Two shifts in a row are one.
            (b"x&APw-&APw-", Utf7Error::Superfluous(6)),
            // Bits beyond the last character, too few of them, a symbol too many.
            (b"&APx-", Utf7Error::Incomplete(0)),
            (b"&AP-", Utf7Error::Incomplete(0)),
            (b"&APwA-", Utf7Error::Incomplete(0)),
            (b"&A-", Utf7Error::Incomplete(0)),
            // Halves of a surrogate pair.
            (b"&2Dw-", Utf7Error::Incomplete(0)),
            (b"&34k-", Utf7Error::Incomplete(0)),
            (b"&34nYPA-", Utf7Error::Incomplete(0)),
        ] {
            assert_eq!(decode(form), Err(error), "{}", form.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn every_name_round_trips(name in "[ -~]{0,3}\\PC{0,20}[&a-z\\u{0}-\\u{1f}]{0,5}\\PC{0,3}") {
            let form = encoded(&name);
            let decoded = decode(form.as_bytes());
            prop_assert_eq!(decoded.as_deref(), Ok(name.as_str()));
        }

        #[test]
        fn what_decodes_encodes_back(octets in "(&[A-Za-z0-9+,]{0,12}-|[ -~]){0,6}") {
            if let Ok(name) = decode(octets.as_bytes()) {
                prop_assert_eq!(encoded(&name), octets);
            }
        }

        #[test]
        fn noise_is_harmless(octets in prop::collection::vec(any::<u8>(), 0..60)) {
            fuzz(&octets);
        }
    }
}
