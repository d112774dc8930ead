//! Takes away what a message claims to have been found out here: RFC 8601 §5.
//!
//! Readers and filters believe an Authentication-Results field that bears this host's name, so one that came in with a
//! message must not stay.

/// A header without what it claims to have been found out by this host.
pub(super) fn without(header: &[u8], host: &str) -> Vec<u8> {
    let mut kept = Vec::with_capacity(header.len());
    fields(header).filter(|field| !is_claim(field, host)).for_each(|field| kept.extend_from_slice(field));
    kept
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
    match value.strip_prefix(b"\"") {
        Some(quoted) => unquoted(quoted).eq_ignore_ascii_case(host.as_bytes()),
        None => {
            let end = value.iter().position(|octet| b"; \t\r\n(/".contains(octet)).unwrap_or(value.len());
            value.get(..end).is_some_and(|id| id.eq_ignore_ascii_case(host.as_bytes()))
        }
    }
}

/// What a quoted string means, up to its end (RFC 5322 §3.2.4).
fn unquoted(quoted: &[u8]) -> Vec<u8> {
    let mut octets = quoted.iter().copied();
    let mut meant = Vec::new();
    while let Some(octet) = octets.next().filter(|octet| *octet != b'"') {
        match octet {
            b'\\' => meant.extend(octets.next()),
            b'\r' | b'\n' => {}
            _ => meant.push(octet),
        }
    }
    meant
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

    fn cleansed(header: &str) -> String {
        String::from_utf8(without(header.as_bytes(), "mx.example.org")).unwrap()
    }

    #[test]
    fn what_claims_to_be_ours_goes() {
        for claim in [
            "Authentication-Results: mx.example.org; spf=pass\r\n",
            "AUTHENTICATION-results:MX.example.ORG\r\n",
            "Authentication-Results : (a (nested\\) one) ) \"mx.example.org\" 1; none\r\n",
            "Authentication-Results: \"m\\x\\.example.org\" ; none\r\n",
            "Authentication-Results:\r\n (x)\r\n\tmx.example.org;\r\n dkim=pass\r\n",
        ] {
            let header = format!("Subject: a\r\n{claim}To: b\r\n c\r\n\r\n");
            assert_eq!(cleansed(&header), "Subject: a\r\nTo: b\r\n c\r\n\r\n");
            assert_eq!(cleansed(claim), "");
        }
    }

    #[test]
    fn all_else_stays() {
        for header in [
            "",
            "\r\n",
            "Authentication-Results: mx.example.org.evil; none\r\n\r\n",
            "Authentication-Results: other.example (mx.example.org); none\r\n\r\n",
            "Authentication-Results: (open mx.example.org\r\n\r\n",
            "Authentication-Resultsx: mx.example.org\r\n\r\n",
            "X-Authentication-Results: mx.example.org\r\n\r\n",
            "no header at all",
            "a\r\nb\r\n",
        ] {
            assert_eq!(cleansed(header), header);
        }
    }
}
