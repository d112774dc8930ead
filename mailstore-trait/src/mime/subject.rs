//! The base subject (RFC 5256 §2.1): what SORT and THREAD compare.

/// A subject's base, and whether anything said "reply" or "forward".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseSubject<'a> {
    /// The subject without prefixes, trailers and list tags. Its case is the message's.
    pub base: &'a str,
    /// Whether a `Re:`, `Fwd:`, `[Fwd: …]` or `(fwd)` was taken away.
    pub is_reply_or_forward: bool,
}

/// The base of a decoded subject, whose runs of blanks are one space each already (step 1, as
/// [`SummaryRef::subject`](super::SummaryRef::subject) has it).
///
/// Each step only shortens a slice, so the work is linear in the subject.
pub fn base_subject(subject: &str) -> BaseSubject<'_> {
    let mut base = subject.trim_matches(BLANKS);
    let mut is_reply_or_forward = false;
    loop {
        // Step 2: trailers.
        while let Some(shorter) = strip_trailer(base) {
            base = shorter.trim_end_matches(BLANKS);
            is_reply_or_forward = true;
        }
        // Steps 3 to 5: prefixes, until none is left.
        loop {
            base = base.trim_start_matches(BLANKS);
            let (last, rest) = skip_blobs(base);
            if let Some(shorter) = strip_refwd(rest) {
                base = shorter;
                is_reply_or_forward = true;
            } else {
                // Without a prefix behind them blobs go too, as long as something is left.
                base = if rest.is_empty() { last } else { rest };
                break;
            }
        }
        // Step 6: `[fwd: …]` around the whole, then all over again.
        match strip_forward(base) {
            Some(inner) => {
                base = inner.trim_matches(BLANKS);
                is_reply_or_forward = true;
            }
            None => return BaseSubject { base, is_reply_or_forward },
        }
    }
}

/// Step 1: tabs and runs of blanks become one space.
pub(super) fn normalize(subject: &str) -> String {
    let mut out = String::with_capacity(subject.len());
    for word in subject.split(BLANKS).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// `text` without `prefix`, whatever its case.
fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (front, rest) = text.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// subj-trailer.
fn strip_trailer(text: &str) -> Option<&str> {
    let (front, trailer) = text.split_at_checked(text.len().checked_sub(5)?)?;
    trailer.eq_ignore_ascii_case("(fwd)").then_some(front)
}

/// RFC 5256 §5: subj-refwd.
fn strip_refwd(text: &str) -> Option<&str> {
    let rest = strip_prefix(text, "re").or_else(|| strip_prefix(text, "fwd")).or_else(|| strip_prefix(text, "fw"))?;
    let rest = rest.trim_start_matches(BLANKS);
    let rest = strip_blob(rest).unwrap_or(rest);
    rest.strip_prefix(':')
}

/// The text from its last leading subj-blob on, and behind all of them.
fn skip_blobs(text: &str) -> (&str, &str) {
    let (mut last, mut rest) = (text, text);
    while let Some(shorter) = strip_blob(rest) {
        last = rest;
        rest = shorter;
    }
    (last, rest)
}

/// subj-blob and the blanks behind it.
fn strip_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    let rest = inner.get(end..)?.strip_prefix(']')?;
    Some(rest.trim_start_matches(BLANKS))
}

/// subj-fwd.
fn strip_forward(text: &str) -> Option<&str> {
    strip_prefix(text, "[fwd:")?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(subject: &str) -> &str {
        base_subject(subject).base
    }

    #[test]
    fn prefixes_and_trailers_go() {
        for subject in [
            "hello",
            "Re: hello",
            "RE: re: hello",
            "Fwd: hello",
            "FW: hello",
            "Re : hello",
            "Re[2]: hello",
            "[list] hello",
            "[list] Re: hello",
            "Re: [list] hello",
            "[a] [b] Re: hello",
            "hello (fwd)",
            "Re: hello (fwd) (FWD)",
            "[Fwd: hello]",
            "[Fwd: Re: hello (fwd)]",
            "Re: [Fwd: [list] hello] (fwd)",
            " hello ",
        ] {
            assert_eq!(base(subject), "hello", "{subject:?}");
        }
    }

    #[test]
    fn what_is_no_prefix_stays() {
        for subject in
            ["[list]", "Regarding: x", "re", "Fwdx: y", "[open", "(fwd", "a (fwd) b", "Really: no", "ré: x", "é(fwd"]
        {
            assert_eq!(base(subject), subject, "{subject:?}");
        }
        assert_eq!(base("Re:"), "");
        assert_eq!(base(""), "");
        assert_eq!(base("[Fwd: ]"), "");
        assert_eq!(base("[a][b]"), "[b]");
    }

    #[test]
    fn replies_are_told() {
        assert!(base_subject("Re: x").is_reply_or_forward);
        assert!(base_subject("[Fwd: x]").is_reply_or_forward);
        assert!(base_subject("x (fwd)").is_reply_or_forward);
        assert!(!base_subject("[list] x").is_reply_or_forward);
    }

    #[test]
    fn blanks_are_made_one() {
        assert_eq!(normalize("  a \t b\r\n c "), "a b c");
        assert_eq!(normalize("\u{a0}a"), "\u{a0}a");
    }

    #[test]
    fn hostile_subjects_end() {
        for noise in ["[", "[a]", "re:", "(fwd)", "[fwd:", "]", "re[", "[a] re", " "] {
            let _ = base_subject(&noise.repeat(20_000));
        }
    }
}
