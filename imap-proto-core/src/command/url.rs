//! IMAP URLs of messages and their parts on this server (RFC 5092 §6, §7; RFC 4469 §3): what CATENATE copies from.
//!
//! ```text
//!  /Drafts;UIDVALIDITY=385759045/;UID=20/;SECTION=1.MIME/;PARTIAL=0.100
//!  ;UID=20                               of the selected mailbox
//! ```

use std::borrow::Cow;

use super::cursor::Cursor;
use super::fetch::{self, Section};
use super::{Bounds, Expected, ParseError};

/// A message or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageUrl {
    /// The mailbox in UTF-8; `None` for the one that is selected.
    pub mailbox: Option<String>,
    /// The UIDVALIDITY it must have.
    pub uid_validity: Option<u32>,
    /// The message's UID.
    pub uid: u32,
    /// What of it.
    pub section: Section<'static>,
    /// First octet, and how many: to the end when that is not said.
    pub partial: Option<(u64, u64)>,
}

/// Reads a URL.
///
/// # Errors
/// When it is none, names another server, or more than a message of this session.
pub fn parse(url: &[u8], bounds: &Bounds) -> Result<MessageUrl, ParseError> {
    let fail = |at: usize| ParseError { at, expected: Expected::Url };
    let text = std::str::from_utf8(url).map_err(|error| fail(error.valid_up_to()))?;
    // RFC 5092 §6: `;UID=` begins a level; a mailbox's name holds no bare `;`.
    let lower = text.to_ascii_lowercase();
    let (before, rest) = if lower.starts_with(";uid=") {
        ("", text.get(5..).unwrap_or_default())
    } else {
        let at = lower.find("/;uid=").ok_or_else(|| fail(0))?;
        (text.get(..at).unwrap_or_default(), text.get(at + 6..).unwrap_or_default())
    };
    let (mailbox, uid_validity) = mailbox(before).ok_or_else(|| fail(0))?;
    let mut pieces = rest.split("/;");
    let uid = pieces.next().and_then(number).and_then(|uid| u32::try_from(uid).ok()).filter(|uid| *uid > 0);
    let mut read = MessageUrl {
        mailbox,
        uid_validity,
        uid: uid.ok_or_else(|| fail(before.len()))?,
        section: Section::default(),
        partial: None,
    };
    let mut last = "";
    for piece in pieces {
        let (name, value) = piece.split_once('=').ok_or_else(|| fail(0))?;
        // RFC 5092 §11, iserverpart: SECTION, then PARTIAL, each once. URLAUTH and the like are not for this server.
        match name.to_ascii_uppercase().as_str() {
            "SECTION" if last.is_empty() => read.section = section(value, bounds)?,
            "PARTIAL" if last != "PARTIAL" => read.partial = Some(partial(value).ok_or_else(|| fail(0))?),
            _ => return Err(fail(0)),
        }
        last = if last.is_empty() && name.eq_ignore_ascii_case("SECTION") { "SECTION" } else { "PARTIAL" };
    }
    Ok(read)
}

/// `/name;UIDVALIDITY=n`, or nothing for the selected mailbox; the slash is one that stands for this server.
fn mailbox(text: &str) -> Option<(Option<String>, Option<u32>)> {
    if text.is_empty() || text == "/" {
        return Some((None, None));
    }
    // RFC 4469 §3, RFC 5092 §7: only relative URLs; `//` would begin a server's name.
    let text = text.strip_prefix('/')?;
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() || text.starts_with('/') {
        return None;
    }
    let (name, validity) = match text.split_once(';') {
        Some((name, rest)) => {
            let (word, value) = rest.split_once('=')?;
            if !word.eq_ignore_ascii_case("UIDVALIDITY") {
                return None;
            }
            (name, Some(number(value).and_then(|value| u32::try_from(value).ok())?))
        }
        None => (text, None),
    };
    Some((Some(decode(name)?.into_owned()), validity))
}

fn section(value: &str, bounds: &Bounds) -> Result<Section<'static>, ParseError> {
    let fail = ParseError { at: 0, expected: Expected::Url };
    let decoded = decode(value).ok_or(fail)?;
    let mut cursor = Cursor::new(decoded.as_bytes());
    let section = fetch::section(&mut cursor, bounds)?;
    if !cursor.is_exhausted() {
        return Err(fail);
    }
    Ok(Section { part: section.part, of: section.of.into_owned() })
}

/// `first.count` or `first`.
fn partial(value: &str) -> Option<(u64, u64)> {
    match value.split_once('.') {
        Some((first, count)) => Some((number(first)?, number(count).filter(|count| *count > 0)?)),
        None => Some((number(value)?, u64::MAX)),
    }
}

fn number(digits: &str) -> Option<u64> {
    let digit = digits.bytes().all(|octet| octet.is_ascii_digit());
    digits.parse().ok().filter(|_| digit)
}

/// RFC 5092 §8: octets as `%` and two digits; what they make is UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        octets.push(digit()? << 4 | digit()?);
    }
    String::from_utf8(octets).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::super::SectionOf;
    use super::*;

    fn read(url: &str) -> Result<MessageUrl, ParseError> {
        parse(url.as_bytes(), &Bounds::default())
    }

    #[test]
    fn urls_name_messages_and_their_parts() {
        let url = read("/Drafts;UIDVALIDITY=385759045/;UID=20/;section=1.MIME").unwrap();
        assert_eq!((url.mailbox.as_deref(), url.uid_validity, url.uid), (Some("Drafts"), Some(385_759_045), 20));
        assert_eq!((url.section.part.as_slice(), &url.section.of), (&[1][..], &SectionOf::Mime));
        let url = read("/Entw%C3%BCrfe/a%20b/;uid=1/;PARTIAL=3.5").unwrap();
        assert_eq!((url.mailbox.as_deref(), url.partial), (Some("Entw\u{fc}rfe/a b"), Some((3, 5))));
        assert_eq!(read("/a/;UID=1/;SECTION=TEXT/;PARTIAL=7").unwrap().partial, Some((7, u64::MAX)));
        assert_eq!(read(";UID=7").unwrap().mailbox, None);
        assert_eq!(read("/;UID=7/;SECTION=HEADER").unwrap().mailbox, None);
        let fields = read("/a/;UID=1/;SECTION=HEADER.FIELDS%20%28Subject%29").unwrap();
        assert!(matches!(fields.section.of, SectionOf::Fields(fields) if fields == [&b"Subject"[..]]));
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for bad in [
            "",
            "/",
            "/Drafts",
            "/Drafts/;UID=0",
            "/Drafts/;UID=x",
            "/Drafts/;UID=4294967296",
            "imap://example.org/Drafts/;UID=1",
            "//example.org/Drafts/;UID=1",
            "/Drafts;UIDVALIDITY=x/;UID=1",
            "/Drafts;NONSENSE=1/;UID=1",
            "/Drafts/;UID=1/;SECTION=NONSENSE",
            "/Drafts/;UID=1/;SECTION=1%",
            "/Drafts/;UID=1/;PARTIAL=1.0",
            "/Drafts/;UID=1/;PARTIAL=1.2/;SECTION=1",
            "/Drafts/;UID=1/;SECTION=1/;SECTION=1",
            "/Drafts/;UID=1;URLAUTH=anonymous",
            "/Drafts/;UID=1/;EXPIRE=2026",
            "/a%FFb/;UID=1",
            "/a%2/;UID=1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
