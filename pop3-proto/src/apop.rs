//! APOP's two values: the timestamp of a greeting, and the digest that proves a password.
//!
//! RFC 1939 §7. The password never crosses the wire, but whoever hears one login can try passwords against it, whoever
//! sits in between can choose the timestamp, and the server must keep the password in clear. So it is off in servers and
//! clients unless somebody turns it on.

use bytes::BytesMut;
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use crate::maildrop::write_hex;

/// The longest timestamp that is taken, in octets. RFC 1939 names no limit; a greeting has 512 octets.
const TIMESTAMP: usize = 128;

/// The digest of a timestamp, angle brackets included, and the password behind it.
///
/// ```
/// let digest = pop3_proto::apop::digest("<1896.697170952@dbc.mtview.ca.us>", b"tanstaaf");
/// assert_eq!(digest[..4], [0xc4, 0xc9, 0x33, 0x4b]);
/// ```
#[must_use]
pub fn digest(timestamp: &str, password: &[u8]) -> [u8; 16] {
    Md5::new().chain_update(timestamp).chain_update(password).finalize().into()
}

/// Whether a client's digest is the right one, in the same time wherever the two differ.
#[must_use]
pub fn is_right(claimed: &[u8; 16], timestamp: &str, password: &[u8]) -> bool {
    digest(timestamp, password).ct_eq(claimed).into()
}

/// Whether this is a timestamp: a message-id of visible ASCII in angle brackets.
///
/// RFC 1939 §7: its syntax is `msg-id`. A client that takes anything else lets a server in between choose octets with
/// which MD5's collisions tell it the password's first characters.
#[must_use]
pub fn is_timestamp(text: &[u8]) -> bool {
    let inner = text.strip_prefix(b"<").and_then(|text| text.strip_suffix(b">")).unwrap_or_default();
    let mut sides = inner.split(|octet| *octet == b'@');
    let word = |side: Option<&[u8]>| side.is_some_and(|side| !side.is_empty());
    let visible = inner.iter().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'<' | b'>'));
    text.len() <= TIMESTAMP && visible && word(sides.next()) && word(sides.next()) && sides.next().is_none()
}

/// The timestamp in a greeting's text, when there is one.
#[must_use]
pub fn timestamp(greeting: &[u8]) -> Option<&str> {
    let start = memchr::memchr(b'<', greeting)?;
    let text = greeting.get(start..)?;
    let text = text.get(..memchr::memchr(b'>', text)?.saturating_add(1))?;
    std::str::from_utf8(text).ok().filter(|text| is_timestamp(text.as_bytes()))
}

/// Appends a digest as the command spells it: RFC 1939 §7, in lower-case hexadecimal.
pub(crate) fn write(digest: &[u8; 16], out: &mut BytesMut) {
    for octet in digest {
        write_hex(u64::from(*octet), 2, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMESTAMP: &str = "<1896.697170952@dbc.mtview.ca.us>";

    /// The example of RFC 1939 §7.
    #[test]
    fn the_digest_is_the_rfcs() {
        let right = *b"\xc4\xc9\x33\x4b\xac\x56\x0e\xcc\x97\x9e\x58\x00\x1b\x3e\x22\xfb";
        assert_eq!(digest(TIMESTAMP, b"tanstaaf"), right);
        assert!(is_right(&right, TIMESTAMP, b"tanstaaf"));
        assert!(!is_right(&right, TIMESTAMP, b"tanstaaF"));
        assert!(!is_right(&[0; 16], TIMESTAMP, b""));
    }

    #[test]
    fn timestamps_are_message_ids() {
        assert_eq!(timestamp(b"POP3 server ready <1896.697170952@dbc.mtview.ca.us>"), Some(TIMESTAMP));
        assert_eq!(timestamp(b"<1@a> and <2@b>"), Some("<1@a>"));
        for odd in [
            "",
            "ready",
            "<>",
            "<@>",
            "<1@>",
            "<@a>",
            "<1>",
            "<1@a@b>",
            "<1 @a>",
            "<1@a",
            "<<1@a>",
            "<\x01@a>",
            "<\u{e9}@a>",
        ] {
            assert_eq!(timestamp(odd.as_bytes()), None, "{odd:?}");
        }
        assert_eq!(timestamp(format!("<{}@a>", "1".repeat(200)).as_bytes()), None);
    }
}
