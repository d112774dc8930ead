//! Takes away what a message claims to have been found out here: RFC 8601 §5.
//!
//! Readers and filters believe an Authentication-Results field that bears this host's name, so one that came in with a
//! message must not stay. The header is held back until it is whole; the body is not.

use bytes::{Bytes, BytesMut};

/// A header, held back until it is whole and cleansed.
#[derive(Debug)]
pub(super) struct Claims {
    host: String,
    held: BytesMut,
    /// Where the search for the header's end goes on.
    searched: usize,
    most: usize,
    done: bool,
}

impl Claims {
    /// Of this host, in a header of at most so many octets; a longer one's rest is taken for the body.
    pub(super) fn new(host: &str, most: usize) -> Claims {
        Claims { host: host.to_owned(), held: BytesMut::new(), searched: 0, most, done: false }
    }

    /// Takes octets; gives those that go on.
    pub(super) fn pass(&mut self, octets: Bytes) -> Bytes {
        if self.done {
            return octets;
        }
        self.held.extend_from_slice(&octets);
        if let Some(end) = self.end() {
            let body = self.held.split_off(end);
            let mut cleansed = self.cleanse();
            cleansed.extend_from_slice(&body);
            return cleansed.freeze();
        }
        if self.held.len() > self.most { self.cleanse().freeze() } else { Bytes::new() }
    }

    /// What is left at the message's end: a header without a body.
    pub(super) fn rest(&mut self) -> Bytes {
        if self.done { Bytes::new() } else { self.cleanse().freeze() }
    }

    /// Behind the empty line, once it is there.
    fn end(&mut self) -> Option<usize> {
        if self.held.starts_with(b"\r\n") {
            return Some(0);
        }
        let from = self.searched.saturating_sub(3);
        let found = memchr::memmem::find(self.held.get(from..)?, b"\r\n\r\n");
        self.searched = self.held.len();
        // The line end in front of the empty line is the last field's.
        found.map(|at| from + at + 2)
    }

    fn cleanse(&mut self) -> BytesMut {
        self.done = true;
        let held = std::mem::take(&mut self.held);
        let mut kept = BytesMut::with_capacity(held.len());
        for field in fields(&held) {
            if !is_claim(field, &self.host) {
                kept.extend_from_slice(field);
            }
        }
        kept
    }
}

/// The fields of a header with their line ends, folded lines included.
pub(super) fn fields(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut at = 0;
        let end = loop {
            let line = rest.get(at..).unwrap_or_default();
            let Some(end) = memchr::memchr(b'\n', line) else { break rest.len() };
            at += end + 1;
            if !matches!(rest.get(at), Some(b' ' | b'\t')) {
                break at;
            }
        };
        let (field, behind) = rest.split_at_checked(end)?;
        rest = behind;
        Some(field)
    })
}

/// The field's value, when it has this name.
pub(super) fn value<'a>(field: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (found, value) = field.split_at_checked(name.len())?;
    let value = value.trim_ascii_start();
    if found.eq_ignore_ascii_case(name.as_bytes()) { value.strip_prefix(b":") } else { None }
}

// RFC 8601 §2.2: the authserv-id is the first word behind the colon, comments and folds left out.
fn is_claim(field: &[u8], host: &str) -> bool {
    let Some(value) = value(field, "Authentication-Results") else { return false };
    let value = without_comments(value).trim_ascii_start();
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let end = value.iter().position(|octet| b"; \t\r\n\"(/".contains(octet)).unwrap_or(value.len());
    value.get(..end).is_some_and(|id| id.eq_ignore_ascii_case(host.as_bytes()))
}

/// The value behind the comments it begins with.
fn without_comments(value: &[u8]) -> &[u8] {
    let mut rest = value.trim_ascii_start();
    while rest.first() == Some(&b'(') {
        let (mut depth, mut escaped) = (0_usize, false);
        let end = rest.iter().position(|octet| {
            match octet {
                _ if escaped => {
                    escaped = false;
                    return false;
                }
                b'\\' => escaped = true,
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            depth == 0 && *octet == b')'
        });
        let Some(end) = end else { return &[] };
        rest = rest.get(end + 1..).unwrap_or_default().trim_ascii_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleansed(message: &str, step: usize) -> String {
        let mut claims = Claims::new("mx.example.org", 1000);
        let mut out = Vec::new();
        message.as_bytes().chunks(step).for_each(|piece| out.extend(claims.pass(Bytes::copy_from_slice(piece))));
        out.extend(claims.rest());
        String::from_utf8(out).unwrap()
    }

    fn at_every_split(message: &str) -> String {
        let whole = cleansed(message, message.len().max(1));
        for step in 1..message.len() {
            assert_eq!(cleansed(message, step), whole, "step {step}");
        }
        whole
    }

    #[test]
    fn what_claims_to_be_ours_goes() {
        for claim in [
            "Authentication-Results: mx.example.org; spf=pass\r\n",
            "AUTHENTICATION-results:MX.example.ORG\r\n",
            "Authentication-Results : (a (nested\\) one) ) \"mx.example.org\" 1; none\r\n",
            "Authentication-Results:\r\n (x)\r\n\tmx.example.org;\r\n dkim=pass\r\n",
        ] {
            let message = format!("Subject: a\r\n{claim}To: b\r\n c\r\n\r\n{claim}");
            assert_eq!(at_every_split(&message), format!("Subject: a\r\nTo: b\r\n c\r\n\r\n{claim}"));
            assert_eq!(at_every_split(claim), "", "a header without a body");
        }
    }

    #[test]
    fn all_else_stays() {
        for message in [
            "",
            "\r\nAuthentication-Results: mx.example.org; body\r\n",
            "Authentication-Results: mx.example.org.evil; none\r\n\r\nx",
            "Authentication-Results: other.example (mx.example.org); none\r\n\r\nx",
            "Authentication-Results: (open mx.example.org\r\n\r\nx",
            "Authentication-Resultsx: mx.example.org\r\n\r\n",
            "X-Authentication-Results: mx.example.org\r\n\r\n",
            "no header at all",
            "a\r\nb\r\n",
        ] {
            assert_eq!(at_every_split(message), message);
        }
    }

    #[test]
    fn a_header_without_an_end_does_not_fill_the_memory() {
        let mut claims = Claims::new("mx.example.org", 1000);
        let line = Bytes::from_static(b"X: 0123456789\r\n");
        let passed: usize = (0..1000).map(|_| claims.pass(line.clone()).len()).sum();
        assert_eq!(passed, 15_000);
        assert!(claims.done && claims.held.is_empty());
    }
}
