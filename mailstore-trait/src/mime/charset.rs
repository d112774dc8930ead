//! Character sets to UTF-8, by the labels found in mail (WHATWG Encoding, which follows what mail and web contain).

use std::borrow::Cow;

use encoding_rs::{Encoding, WINDOWS_1252};

/// The text of `octets` in the character set `label`; what cannot be decoded becomes U+FFFD.
///
/// Without a label, with an unknown one, and for `us-ascii` (which many a sender claims and few keep to), UTF-8 is taken
/// where the octets are UTF-8, else Windows-1252, a superset of ISO-8859-1.
pub fn decode<'a>(label: &[u8], octets: &'a [u8]) -> Cow<'a, str> {
    match encoding(label) {
        Some(encoding) => encoding.decode_without_bom_handling(octets).0,
        None => match std::str::from_utf8(octets) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => WINDOWS_1252.decode_without_bom_handling(octets).0,
        },
    }
}

/// Like [`decode`], for octets that were cut off somewhere: a character that lacks its end is dropped.
pub fn decode_prefix(label: &[u8], octets: &[u8]) -> String {
    let encoding = encoding(label).unwrap_or_else(|| match std::str::from_utf8(octets) {
        Err(error) if error.error_len().is_some() => WINDOWS_1252,
        _ => encoding_rs::UTF_8,
    });
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let room = decoder.max_utf8_buffer_length(octets.len()).unwrap_or(octets.len());
    let mut text = String::with_capacity(room);
    let _ = decoder.decode_to_string(octets, &mut text, false);
    text
}

/// The encoding of a label; `None` where the octets have to be looked at.
pub(crate) fn encoding(label: &[u8]) -> Option<&'static Encoding> {
    let label = label.trim_ascii();
    // RFC 2231 §5: a language may follow the label.
    let label = label.split(|&octet| octet == b'*').next().unwrap_or_default();
    let ascii = [&b"us-ascii"[..], b"ascii", b"ansi_x3.4-1968"].iter().any(|known| label.eq_ignore_ascii_case(known));
    if ascii || label.is_empty() { None } else { Encoding::for_label_no_replacement(label) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_mail_are_known() {
        assert_eq!(decode(b"utf-8", "ä€".as_bytes()), "ä€");
        assert_eq!(decode(b"ISO-8859-1", b"\xE4"), "ä");
        assert_eq!(decode(b"iso-8859-15", b"\xA4"), "€");
        assert_eq!(decode(b"windows-1252", b"\x80"), "€");
        assert_eq!(decode(b"koi8-r", b"\xF4\xC5\xD3\xD4"), "Тест");
        assert_eq!(decode(b"iso-2022-jp", b"\x1B$B%F%9%H\x1B(B"), "テスト");
        assert_eq!(decode(b"utf-8*en", "ä".as_bytes()), "ä");
    }

    #[test]
    fn unknown_and_false_labels_are_seen_through() {
        assert_eq!(decode(b"us-ascii", "ä".as_bytes()), "ä");
        assert_eq!(decode(b"x-nobody-knows", b"\xE4"), "ä");
        assert_eq!(decode(b"", b"plain"), "plain");
        assert_eq!(decode(b"utf-8", b"a\xFFb"), "a\u{FFFD}b");
    }

    #[test]
    fn a_cut_character_is_dropped() {
        assert_eq!(decode_prefix(b"utf-8", &"aä€".as_bytes()[..4]), "aä");
        assert_eq!(decode_prefix(b"", &"aä€".as_bytes()[..4]), "aä");
        assert_eq!(decode_prefix(b"", b"a\xE4b"), "aäb");
    }
}
