//! Values with parameters: Content-Type and Content-Disposition (RFC 2045 §5.1, RFC 2183 §2, RFC 2231).
//!
//! Parsed once into length-prefixed pairs; read in place from then on. Quotes and comments are gone, everything else
//! (encoded words, RFC 2231 continuations and percent signs) stands as it was sent, because IMAP shows it so.
//! [`Parameters::decoded`] puts RFC 2231 pieces together.

use std::borrow::Cow;

use super::charset;
use super::encoded_word;
use super::wire::{Reader, put_octets};

/// The parameters of a field, in the order of the message.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    pairs: Reader<'a>,
}

impl<'a> Parameters<'a> {
    pub(super) fn new(pairs: &'a [u8]) -> Parameters<'a> {
        Parameters { pairs: Reader(pairs) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The value of the first parameter called `name` exactly, undecoded; case of the name does not count.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        { *self }.find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The text of a parameter, whatever way it was sent: RFC 2231 continuations and character sets first, then the
    /// plain form, in which encoded words are decoded too (RFC 2047 §5 forbids them there; they are common).
    pub fn decoded(&self, name: &str) -> Option<Cow<'a, str>> {
        self.extended(name).map(Cow::Owned).or_else(|| self.value(name).map(encoded_word::decode))
    }

    /// RFC 2231 §3 and §4: `name*`, `name*0`, `name*0*` and so on.
    fn extended(&self, name: &str) -> Option<String> {
        let mut pieces: Vec<(u32, bool, &[u8])> = Vec::new();
        for (attribute, value) in *self {
            let Some(section) = attribute
                .split_at_checked(name.len())
                .filter(|(front, _)| front.eq_ignore_ascii_case(name.as_bytes()))
                .and_then(|(_, rest)| rest.strip_prefix(b"*"))
            else {
                continue;
            };
            let (number, percent) = match section.strip_suffix(b"*") {
                Some(number) => (number, true),
                None => (section, section.is_empty()),
            };
            let Some(number) = section_number(number) else { continue };
            // A value that comes whole is not mixed with pieces, nor a piece told twice.
            if !pieces.iter().any(|(known, ..)| *known == number) {
                pieces.push((number, percent, value));
            }
        }
        pieces.sort_by_key(|(number, ..)| *number);
        let mut octets = Vec::new();
        let mut label: &[u8] = b"";
        for (at, (number, percent, value)) in pieces.iter().enumerate() {
            // RFC 2231 §3: pieces are numbered from zero without gaps; what lies behind a gap is not part of the value.
            if u32::try_from(at) != Ok(*number) {
                break;
            }
            let mut value = *value;
            if at == 0 && *percent {
                let mut quote = value.splitn(3, |&octet| octet == b'\'');
                if let (Some(charset), Some(_), Some(rest)) = (quote.next(), quote.next(), quote.next()) {
                    label = charset;
                    value = rest;
                }
            }
            if *percent { percent_decode(value, &mut octets) } else { octets.extend_from_slice(value) }
        }
        let first = pieces.first()?;
        (first.0 == 0).then(|| charset::decode(label, &octets).into_owned())
    }
}

impl<'a> Iterator for Parameters<'a> {
    /// Name and value.
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.pairs.octets()?, self.pairs.octets()?))
    }
}

/// The number of a continuation; the empty one is that of a value sent whole.
fn section_number(octets: &[u8]) -> Option<u32> {
    if octets.len() > 5 || !octets.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(octets.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

fn percent_decode(value: &[u8], out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        if octet == b'%'
            && let Some(([high, low], after)) = tail.split_first_chunk::<2>().map(|(pair, after)| (*pair, after))
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            out.push(high << 4 | low);
            rest = after;
            continue;
        }
        out.push(octet);
    }
}

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// What [`put_content_type`] made of a Content-Type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    Multipart { digest: bool },
    Message,
    Plain,
    Html,
    Other,
}

/// Parses an unfolded Content-Type and appends type, subtype and parameters.
///
/// RFC 2045 §5.2: a value that is not of the form `type/subtype` counts as `text/plain`; a bare `text` or `multipart` is
/// taken at its word with the commonest subtype, and the parameters of either are kept.
pub(super) fn put_content_type(value: &[u8], max: usize, out: &mut Vec<u8>) -> MediaType {
    let mut cursor = Cursor::new(value);
    cursor.skip_blanks();
    let mut main = cursor.token();
    cursor.skip_blanks();
    let mut sub: &[u8] = b"";
    if cursor.take(b'/') {
        cursor.skip_blanks();
        sub = cursor.token();
    }
    if main.is_empty() || sub.is_empty() {
        if main.eq_ignore_ascii_case(b"multipart") {
            sub = b"mixed";
        } else {
            main = b"text";
            sub = b"plain";
        }
    }
    put_octets(out, main);
    put_octets(out, sub);
    cursor.put_parameters(max, out);
    media_type(main, sub)
}

pub(super) fn media_type(main: &[u8], sub: &[u8]) -> MediaType {
    let is = |name: &[u8], wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
    if is(main, b"multipart") {
        MediaType::Multipart { digest: is(sub, b"digest") }
    } else if is(main, b"message") && (is(sub, b"rfc822") || is(sub, b"global")) {
        // RFC 6532 §3.7: message/global is message/rfc822 with UTF-8 headers.
        MediaType::Message
    } else if is(main, b"text") && is(sub, b"plain") {
        MediaType::Plain
    } else if is(main, b"text") && is(sub, b"html") {
        MediaType::Html
    } else {
        MediaType::Other
    }
}

/// Parses an unfolded Content-Disposition and appends its type and parameters; false when there is no type.
pub(super) fn put_disposition(value: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
    let mut cursor = Cursor::new(value);
    cursor.skip_blanks();
    let token = cursor.token();
    if token.is_empty() {
        return false;
    }
    put_octets(out, token);
    cursor.put_parameters(max, out);
    true
}

/// The first token of an unfolded value, comments skipped: Content-Transfer-Encoding.
pub(super) fn first_token(value: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(value);
    cursor.skip_blanks();
    cursor.token()
}

/// The length of the comment at the front of `octets`, parentheses included; `None` when it does not end.
///
/// Iterative: nesting is a counter. RFC 5322 §3.2.2; a backslash at the very end quotes nothing.
pub(super) fn comment_len(octets: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut quoted = false;
    for (at, &octet) in octets.iter().enumerate() {
        if quoted {
            quoted = false;
            continue;
        }
        match octet {
            b'\\' => quoted = true,
            b'(' => depth += 1,
            b')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        if depth == 0 {
            return None;
        }
    }
    None
}

struct Cursor<'a> {
    rest: &'a [u8],
    scratch: Vec<u8>,
}

impl<'a> Cursor<'a> {
    fn new(value: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: value, scratch: Vec::new() }
    }

    fn advance(&mut self, octets: usize) {
        self.rest = self.rest.get(octets..).unwrap_or_default();
    }

    fn take(&mut self, octet: u8) -> bool {
        let found = self.rest.first() == Some(&octet);
        if found {
            self.advance(1);
        }
        found
    }

    /// Blanks and comments. A comment that does not end swallows the rest.
    fn skip_blanks(&mut self) {
        loop {
            match self.rest.first() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.advance(1),
                Some(b'(') => self.advance(comment_len(self.rest).unwrap_or(self.rest.len())),
                _ => return,
            }
        }
    }

    /// Octets up to a blank, a comment or one of `/ ; = "`.
    fn token(&mut self) -> &'a [u8] {
        let end = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b'/' | b';' | b'=' | b'"' | b'(');
        let len = self.rest.iter().position(end).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, b""));
        self.rest = rest;
        token
    }

    fn put_parameters(&mut self, max: usize, out: &mut Vec<u8>) {
        let mut left = max;
        while left > 0 && !self.rest.is_empty() {
            self.skip_blanks();
            if self.take(b';') || self.take(b'/') || self.take(b'"') {
                continue;
            }
            let name = self.token();
            self.skip_blanks();
            if !self.take(b'=') {
                continue;
            }
            self.skip_blanks();
            let start = out.len();
            put_octets(out, name);
            if self.rest.first() == Some(&b'"') {
                self.quoted_string();
                put_octets(out, &self.scratch);
            } else {
                put_octets(out, self.bare_value(name));
            }
            if name.is_empty() {
                out.truncate(start);
            } else {
                left -= 1;
            }
        }
    }

    /// A quoted string into the scratch, quotes and backslashes resolved. One that does not end runs to the end.
    fn quoted_string(&mut self) {
        self.scratch.clear();
        let mut quoted = false;
        let mut len = self.rest.len();
        for (at, &octet) in self.rest.iter().enumerate().skip(1) {
            match octet {
                _ if quoted => {
                    self.scratch.push(octet);
                    quoted = false;
                }
                b'\\' => quoted = true,
                b'"' => {
                    len = at + 1;
                    break;
                }
                _ => self.scratch.push(octet),
            }
        }
        self.advance(len);
    }

    /// A value without quotes. Only tokens may stand so; what is found in mail also has specials, as in
    /// `boundary=a/b=(c)`, and blanks, as in `name=my file.pdf`.
    fn bare_value(&mut self, name: &[u8]) -> &'a [u8] {
        let spaced = [&b"name"[..], b"filename"].iter().any(|known| name.eq_ignore_ascii_case(known));
        let mut len = 0;
        let mut after_blank = false;
        for &octet in self.rest {
            let blank = matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
            if octet == b';' || (blank && !spaced) || (octet == b'(' && after_blank) {
                break;
            }
            after_blank = blank;
            len += 1;
        }
        let (value, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, b""));
        self.rest = rest;
        value.trim_ascii_end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> (String, Vec<(String, String)>) {
        let mut out = Vec::new();
        put_content_type(value.as_bytes(), 100, &mut out);
        let mut reader = Reader(&out);
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let main = text(reader.octets().unwrap());
        let sub = text(reader.octets().unwrap());
        let pairs = Parameters::new(reader.0).map(|(name, value)| (text(name), text(value))).collect();
        (format!("{main}/{sub}"), pairs)
    }

    fn pairs(value: &str) -> Vec<(String, String)> {
        parsed(value).1
    }

    fn own(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn decoded(value: &str, name: &str) -> Option<String> {
        let mut out = Vec::new();
        put_disposition(value.as_bytes(), 100, &mut out);
        let mut reader = Reader(&out);
        reader.octets();
        Parameters::new(reader.0).decoded(name).map(Cow::into_owned)
    }

    #[test]
    fn types_and_parameters_are_kept_as_sent() {
        assert_eq!(
            parsed("Text/HTML (a (nested) comment) ; Charset=\"utf-8\" ; format=flowed"),
            ("Text/HTML".to_owned(), own(&[("Charset", "utf-8"), ("format", "flowed")]))
        );
        assert_eq!(pairs("a/b; x=\"a\\\"b\\\\c\""), own(&[("x", "a\"b\\c")]));
        assert_eq!(pairs("text/plain; charset=us-ascii (Plain text)"), own(&[("charset", "us-ascii")]));
    }

    #[test]
    fn broken_types_fall_back() {
        assert_eq!(parsed("").0, "text/plain");
        assert_eq!(parsed("text").0, "text/plain");
        assert_eq!(parsed("multipart; boundary=x"), ("multipart/mixed".to_owned(), own(&[("boundary", "x")])));
        assert_eq!(parsed("/html; charset=x"), ("text/plain".to_owned(), own(&[("charset", "x")])));
        assert_eq!(parsed("text / plain").0, "text/plain");
        assert_eq!(parsed("text/plain (never ends; a=b").1, own(&[]));
    }

    #[test]
    fn broken_parameters_do_not_cost_the_others() {
        assert_eq!(pairs("a/b; ; =x; y; c=d"), own(&[("c", "d")]));
        assert_eq!(pairs("a/b charset=utf-8 format=flowed"), own(&[("charset", "utf-8"), ("format", "flowed")]));
        assert_eq!(pairs("a/b; name=my file(1).pdf; c=d"), own(&[("name", "my file(1).pdf"), ("c", "d")]));
        assert_eq!(
            pairs("a/b; boundary=----=_Part(1)/x=y; c=d"),
            own(&[("boundary", "----=_Part(1)/x=y"), ("c", "d")])
        );
        assert_eq!(pairs("a/b; x=\"never ends; c=d"), own(&[("x", "never ends; c=d")]));
        assert_eq!(pairs("a/b; x=\"ends in a backslash\\"), own(&[("x", "ends in a backslash")]));
        assert_eq!(pairs("a/b; x=; c=d"), own(&[("x", ""), ("c", "d")]));
    }

    #[test]
    fn the_number_of_parameters_is_bounded() {
        let mut value = "a/b".to_owned();
        for number in 0..5_000 {
            value.push_str(&format!("; name*{number}=x"));
        }
        assert_eq!(pairs(&value).len(), 100);
    }

    #[test]
    fn rfc_2231_pieces_are_put_together_in_order() {
        assert_eq!(decoded("attachment; filename*=UTF-8''%e2%82%ac%20rates", "filename").unwrap(), "€ rates");
        assert_eq!(
            decoded("attachment; filename*1=\"b\"; filename*0=\"a\"; filename*2*=%63", "filename").unwrap(),
            "abc"
        );
        assert_eq!(decoded("a; filename*0*=iso-8859-1'en'%E4; filename*1=\"%E4\"", "filename").unwrap(), "ä%E4");
        assert_eq!(decoded("a; filename*0=a; filename*2=c", "filename").unwrap(), "a");
        assert_eq!(decoded("a; filename*1=b; filename=plain", "filename").unwrap(), "plain");
        assert_eq!(decoded("a; filename=\"=?utf-8?Q?=C3=A4?=\"", "filename").unwrap(), "ä");
        assert_eq!(decoded("a; filename*=%zz%4", "filename").unwrap(), "%zz%4");
        assert_eq!(decoded("a; filename*999999=x; other=y", "filename"), None);
    }

    #[test]
    fn comments_end_or_do_not() {
        assert_eq!(comment_len(b"(a(b)c)d"), Some(7));
        assert_eq!(comment_len(b"(a\\)b)"), Some(6));
        assert_eq!(comment_len(b"(ends in a backslash\\"), None);
        assert_eq!(comment_len(b"()"), Some(2));
        assert_eq!(comment_len(b"x"), None);
        assert_eq!(comment_len("(".repeat(100_000).as_bytes()), None);
    }
}
