//! Message-IDs (RFC 5322 §3.6.4): what threads are made of.

use std::borrow::Cow;

use super::wire::Reader;

/// The ids in the value of Message-ID, References or In-Reply-To, without their angles, in order.
///
/// RFC 5256 §3 (REFERENCES): quoting inside an id does not tell it from another, so it is resolved; whatever stands
/// outside of angles is passed over. Ids with blanks inside are folded ones: the blanks go.
pub fn message_ids(value: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let start = memchr::memchr(b'<', rest)?;
            let inside = rest.get(start + 1..)?;
            let Some(end) = memchr::memchr2(b'>', b'<', inside) else {
                rest = b"";
                continue;
            };
            rest = inside.get(end..)?;
            if rest.first() != Some(&b'>') {
                continue;
            }
            let id = normal(inside.get(..end)?);
            if !id.is_empty() {
                return Some(id);
            }
        }
    })
}

fn normal(id: &[u8]) -> Cow<'_, [u8]> {
    if !id.iter().any(|octet| octet.is_ascii_whitespace() || matches!(octet, b'"' | b'\\')) {
        return Cow::Borrowed(id);
    }
    let mut out = Vec::with_capacity(id.len());
    let mut escaped = false;
    for &octet in id {
        match octet {
            _ if escaped => {
                out.push(octet);
                escaped = false;
            }
            b'\\' => escaped = true,
            b'"' => {}
            _ if octet.is_ascii_whitespace() => {}
            _ => out.push(octet),
        }
    }
    Cow::Owned(out)
}

/// Message-IDs of a summary, read in place.
#[derive(Clone, Copy, Debug)]
pub struct MessageIds<'a> {
    ids: Reader<'a>,
}

impl<'a> MessageIds<'a> {
    pub(super) fn new(ids: &'a [u8]) -> MessageIds<'a> {
        MessageIds { ids: Reader(ids) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

impl<'a> Iterator for MessageIds<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.ids.octets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(value: &str) -> Vec<String> {
        message_ids(value.as_bytes()).map(|id| String::from_utf8_lossy(&id).into_owned()).collect()
    }

    #[test]
    fn ids_are_found_between_angles() {
        assert_eq!(ids("<a@b> <c@d>\t<e@f>"), ["a@b", "c@d", "e@f"]);
        assert_eq!(ids("<a@b><c@d>"), ["a@b", "c@d"]);
        assert_eq!(ids("Your message of \"Mon\" <a@b> (comment)"), ["a@b"]);
        assert_eq!(ids("<\"01KF8JCEOCBS0045PS\"@xxx.yyy.com>"), ["01KF8JCEOCBS0045PS@xxx.yyy.com"]);
        assert_eq!(ids("<a@ b>"), ["a@b"]);
        assert_eq!(ids("<a@b"), [""; 0]);
        assert_eq!(ids("<x<a@b> <>"), ["a@b"]);
        assert_eq!(ids("a@b"), [""; 0]);
        assert_eq!(message_ids("<".repeat(100_000).as_bytes()).count(), 0);
    }
}
