//! Bodies that end with lines of nothing but blanks.
//!
//! RFC 6376 §3.4.4: relaxed canonicalization takes blanks at the ends of lines away, and then the empty lines at the end
//! of the body, those that only now are empty too. mail-auth 0.13 leaves the latter in, as a signer and as a verifier, so
//! such a body is given to it as what it is equal to. (Fixed there in 0.15, which needs a newer Rust.)

/// A message that is the same under relaxed canonicalization and ends with no such line; `None` when it is that already.
pub(crate) fn without_blank_lines(message: &[u8]) -> Option<Vec<u8>> {
    let header = memchr::memmem::find(message, b"\r\n\r\n").map(|at| at + 4);
    let header = if message.starts_with(b"\r\n") { Some(2) } else { header };
    let (header, body) = message.split_at_checked(header?)?;
    let text = body.trim_ascii_end();
    let tail = body.get(text.len()..)?;
    if !tail.iter().any(|octet| matches!(octet, b' ' | b'\t')) {
        return None;
    }
    let end: &[u8] = if text.is_empty() { b"" } else { b"\r\n" };
    Some([header, text, end].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tail_goes() {
        for (message, without) in [
            ("a: b\r\n\r\ntext\r\n \t\r\n  \r\n", Some("a: b\r\n\r\ntext\r\n")),
            ("a: b\r\n\r\ntext \r\n", Some("a: b\r\n\r\ntext\r\n")),
            ("a: b\r\n\r\n \r\n", Some("a: b\r\n\r\n")),
            ("\r\n x\r\n \r\n", Some("\r\n x\r\n")),
            ("a: b\r\n\r\ntext\r\n\r\n\r\n", None),
            ("a: b\r\n\r\n", None),
            ("a: b \r\n \r\n", None),
            ("", None),
        ] {
            assert_eq!(without_blank_lines(message.as_bytes()).as_deref(), without.map(str::as_bytes), "{message:?}");
        }
    }
}
