//! Encoded words in header text (RFC 2047, RFC 2231 §5), decoded to UTF-8.

use std::borrow::Cow;

use super::charset;
use super::encoding::Base64;
use super::header::unfold;
use super::parameter::hex;

/// The text of a header value: unfolded, encoded words decoded, other octets taken as UTF-8 (RFC 6532) or, where they
/// are not, as Windows-1252.
///
/// Blanks between two encoded words go (RFC 2047 §6.2). Neighbours of one character set and encoding are joined before
/// they are decoded: senders split characters between them against §5. What is not quite an encoded word stays as it is.
pub fn decode(value: &[u8]) -> Cow<'_, str> {
    let value = unfold(value);
    if memchr::memmem::find(&value, b"=?").is_none() {
        return match value {
            Cow::Borrowed(octets) => charset::decode(b"", octets),
            Cow::Owned(octets) => Cow::Owned(charset::decode(b"", &octets).into_owned()),
        };
    }
    let mut out = String::with_capacity(value.len());
    let mut rest: &[u8] = &value;
    let mut pending: Option<Word<'_>> = None;
    let mut octets = Vec::new();
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        let (plain, tail) = rest.split_at_checked(at).unwrap_or((rest, b""));
        let Some((word, after)) = Word::parse(tail) else {
            // Not a word: the marker is text.
            let text = rest.get(..at + 2).unwrap_or(rest);
            flush(&mut pending, &mut octets, &mut out);
            out.push_str(&charset::decode(b"", text));
            rest = rest.get(at + 2..).unwrap_or_default();
            continue;
        };
        let joined = pending.is_some() && plain.iter().all(|octet| octet.is_ascii_whitespace());
        if !joined {
            flush(&mut pending, &mut octets, &mut out);
            out.push_str(&charset::decode(b"", plain));
        } else if pending.is_some_and(|last| !last.continues(word)) {
            flush(&mut pending, &mut octets, &mut out);
        }
        word.content(&mut octets);
        pending = Some(word);
        rest = after;
    }
    flush(&mut pending, &mut octets, &mut out);
    out.push_str(&charset::decode(b"", rest));
    Cow::Owned(out)
}

fn flush(pending: &mut Option<Word<'_>>, octets: &mut Vec<u8>, out: &mut String) {
    if let Some(word) = pending.take() {
        // A decoded line end would let a header grow lines when it is written again.
        out.extend(
            charset::decode(word.charset, octets)
                .chars()
                .map(|c| if matches!(c, '\r' | '\n' | '\0') { ' ' } else { c }),
        );
        octets.clear();
    }
}

/// `=?charset?encoding?text?=`
#[derive(Clone, Copy)]
struct Word<'a> {
    charset: &'a [u8],
    base64: bool,
    text: &'a [u8],
}

impl<'a> Word<'a> {
    /// The word at the front of `octets`, and what follows it.
    fn parse(octets: &'a [u8]) -> Option<(Word<'a>, &'a [u8])> {
        let rest = octets.strip_prefix(b"=?")?;
        // RFC 2047 §2: 75 octets; senders exceed it by far, but a charset is short.
        let end = rest.iter().take(80).position(|&octet| octet == b'?' || octet.is_ascii_whitespace())?;
        let (charset, rest) = rest.split_at_checked(end)?;
        let rest = rest.strip_prefix(b"?")?;
        let (&encoding, rest) = rest.split_first()?;
        let base64 = match encoding {
            b'B' | b'b' => true,
            b'Q' | b'q' => false,
            _ => return None,
        };
        let rest = rest.strip_prefix(b"?")?;
        // Blanks may not stand inside; in Q they do, sent by broken programs. A `?` before the end is taken as text.
        let mut len = 0;
        loop {
            len += memchr::memchr(b'?', rest.get(len..)?)?;
            match rest.get(len + 1) {
                // `=?x?Q??=` is empty; `?==` may begin with an escaped octet: `?=` ends a word where no digits follow.
                Some(b'=') => break,
                // Another word begins: this one never ended.
                _ if len > 0 && rest.get(len - 1) == Some(&b'=') => return None,
                _ => len += 1,
            }
        }
        let text = rest.get(..len)?;
        Some((Word { charset, base64, text }, rest.get(len + 2..)?))
    }

    fn continues(&self, next: Word<'_>) -> bool {
        self.base64 == next.base64
            && self.charset.eq_ignore_ascii_case(next.charset)
            // Padding ends a run of base64, and shift states of stateful sets end with their word.
            && !(self.base64 && self.text.ends_with(b"="))
            && !self.charset.to_ascii_lowercase().starts_with(b"iso-2022")
    }

    fn content(&self, out: &mut Vec<u8>) {
        if self.base64 {
            let mut decoder = Base64::default();
            decoder.push(self.text, out);
            decoder.finish(out);
            return;
        }
        let mut rest = self.text;
        while let Some((&octet, tail)) = rest.split_first() {
            rest = tail;
            match octet {
                b'_' => out.push(b' '),
                b'=' => {
                    let pair = tail
                        .split_first_chunk::<2>()
                        .and_then(|(&[high, low], after)| Some((hex(high)?, hex(low)?, after)));
                    match pair {
                        Some((high, low, after)) => {
                            out.push(high << 4 | low);
                            rest = after;
                        }
                        None => out.push(b'='),
                    }
                }
                _ => out.push(octet),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> String {
        decode(value.as_bytes()).into_owned()
    }

    #[test]
    fn words_are_decoded() {
        assert_eq!(text("=?ISO-8859-1?Q?a?="), "a");
        assert_eq!(text("=?ISO-8859-1?Q?a?= b"), "a b");
        assert_eq!(text("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?="), "ab");
        assert_eq!(text("=?ISO-8859-1?Q?a?=\r\n  =?ISO-8859-1?Q?b?="), "ab");
        assert_eq!(text("=?ISO-8859-1?Q?a_b?="), "a b");
        assert_eq!(text("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?="), "a b");
        assert_eq!(text("=?utf-8?B?w6TDtg==?= x =?utf-8?q?=C3=BC?="), "äö x ü");
        assert_eq!(text("=?utf-8*de?Q?=C3=A4?="), "ä");
        assert_eq!(text("x=?utf-8?Q?=C3=A4?=y"), "xäy");
    }

    #[test]
    fn a_character_split_between_words_is_whole() {
        assert_eq!(text("=?utf-8?Q?=C3?= =?utf-8?Q?=A4?="), "ä");
        assert_eq!(text("=?utf-8?B?w6Q=?= =?utf-8?B?w7Y=?="), "äö");
        assert_eq!(text("=?iso-2022-jp?B?GyRCJUYbKEI=?= =?iso-2022-jp?B?GyRCJTkbKEI=?="), "テス");
    }

    #[test]
    fn what_is_no_word_stays() {
        for same in
            ["=?", "=?utf-8", "=?utf-8?", "=?utf-8?Q", "=?utf-8?X?a?=", "=?utf-8?Q?never ends", "=?a b?Q?c?=", "a =? b"]
        {
            assert_eq!(text(same), same);
        }
        assert_eq!(text("=?utf-8?Q?broken =?utf-8?Q?=C3=A4?="), "=?utf-8?Q?broken ä");
        assert_eq!(text("=?utf-8?Q??="), "");
        assert_eq!(text("=?nobody-knows?Q?=E4?="), "ä");
        assert_eq!(text("=?utf-8?Q?a=zz=?="), "a=zz=");
    }

    #[test]
    fn raw_octets_and_line_ends_are_tamed() {
        assert_eq!(text("gr\u{fc}n"), "grün");
        assert_eq!(decode(b"gr\xFCn"), "grün");
        assert_eq!(text("=?utf-8?Q?a=0D=0ABcc:_x?="), "a  Bcc: x");
    }

    #[test]
    fn hostile_words_are_linear() {
        for noise in ["=?", "=?utf-8?Q?", "=?a?B?", "=?utf-8?Q?a?= ", "?=", "=?x?q?=?"] {
            let _ = text(&noise.repeat(60_000));
        }
    }
}
