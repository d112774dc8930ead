//! SASLprep (RFC 4013): the one form of a name or password that both sides hash and compare.

use std::borrow::Cow;

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;

/// Why a string cannot be a name or a password. Says nothing of the string, which may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PrepError {
    /// It holds a control character, a private-use or non-character code point, or another that RFC 4013 §2.3 bars.
    #[error("a prohibited character")]
    Prohibited,
    /// It mixes writing directions in a way that RFC 3454 §6 bars.
    #[error("mixed writing directions")]
    Bidirectional,
    /// Nothing is left of it.
    #[error("an empty string")]
    Empty,
}

/// Prepares a name or a password. ASCII without controls comes back as it is, without a copy.
///
/// # Errors
/// See [`PrepError`]; an empty string is refused too, for RFC 4616 §2 and RFC 5802 §5.1 both want a name.
pub fn saslprep(text: &str) -> Result<Cow<'_, str>, PrepError> {
    if text.is_empty() {
        return Err(PrepError::Empty);
    }
    if text.bytes().all(|octet| matches!(octet, 0x20..=0x7e)) {
        return Ok(Cow::Borrowed(text));
    }
    // RFC 4013 §2.1: other spaces become SPACE, soft hyphens and their like vanish. §2.2: then NFKC.
    let prepared: String = text
        .chars()
        .map(|c| if tables::non_ascii_space_character(c) { ' ' } else { c })
        .filter(|&c| !tables::commonly_mapped_to_nothing(c))
        .nfkc()
        .collect();
    if prepared.chars().any(is_prohibited) {
        return Err(PrepError::Prohibited);
    }
    if is_bidirectional(&prepared) {
        return Err(PrepError::Bidirectional);
    }
    // Deviation from RFC 4013 §2.5: code points that Unicode 3.2 (2002) did not assign pass in stored strings as they
    // do in queries. Emoji are among them and people choose them; normalisation of assigned code points never changes,
    // so a verifier made today still matches tomorrow.
    if prepared.is_empty() {
        return Err(PrepError::Empty);
    }
    Ok(Cow::Owned(prepared))
}

// RFC 4013 §2.3: the tables that may not appear in the output.
fn is_prohibited(c: char) -> bool {
    tables::non_ascii_space_character(c)
        || tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::surrogate_code(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
}

// RFC 4013 §2.4, RFC 3454 §6: with any right-to-left character there is no left-to-right one, and right-to-left ones
// stand at both ends.
fn is_bidirectional(text: &str) -> bool {
    if !text.chars().any(tables::bidi_r_or_al) {
        return false;
    }
    let ends = text.chars().next().is_some_and(tables::bidi_r_or_al)
        && text.chars().next_back().is_some_and(tables::bidi_r_or_al);
    !ends || text.chars().any(tables::bidi_l)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saslprep_examples_of_the_rfc() {
        // RFC 4013 §3.
        assert_eq!(saslprep("I\u{ad}X").as_deref(), Ok("IX"));
        assert!(matches!(saslprep("user"), Ok(Cow::Borrowed("user"))));
        assert_eq!(saslprep("USER").as_deref(), Ok("USER"));
        assert_eq!(saslprep("\u{aa}").as_deref(), Ok("a"));
        assert_eq!(saslprep("\u{2168}").as_deref(), Ok("IX"));
        assert_eq!(saslprep("\u{7}"), Err(PrepError::Prohibited));
        assert_eq!(saslprep("\u{627}1"), Err(PrepError::Bidirectional));
    }

    #[test]
    fn saslprep_refuses_nothing_and_what_becomes_nothing() {
        assert_eq!(saslprep(""), Err(PrepError::Empty));
        assert_eq!(saslprep("\u{ad}\u{2060}"), Err(PrepError::Empty));
    }

    #[test]
    fn saslprep_bars_each_prohibited_table() {
        for barred in
            ["a\0b", "a\u{80}", "\u{e000}", "\u{fdd0}", "\u{fffd}", "\u{2ff0}", "\u{340}x\u{200e}", "\u{e0001}"]
        {
            assert_eq!(saslprep(barred), Err(PrepError::Prohibited), "{barred:?}");
        }
        assert_eq!(saslprep("a\u{a0}b").as_deref(), Ok("a b"));
    }

    #[test]
    fn saslprep_takes_emoji_and_right_to_left_names() {
        assert_eq!(saslprep("\u{1f980}pass").as_deref(), Ok("\u{1f980}pass"));
        assert_eq!(saslprep("\u{5d0}\u{5d1} \u{5d2}").as_deref(), Ok("\u{5d0}\u{5d1} \u{5d2}"));
        assert_eq!(saslprep("\u{5d0}a\u{5d1}"), Err(PrepError::Bidirectional));
    }

    proptest::proptest! {
        #[test]
        fn saslprep_is_idempotent(text in "\\PC{0,20}") {
            if let Ok(once) = saslprep(&text) {
                let twice = saslprep(&once);
                proptest::prop_assert_eq!(twice.as_deref(), Ok(once.as_ref()));
            }
        }
    }
}
