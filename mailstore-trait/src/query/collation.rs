//! The order of texts: `i;unicode-casemap` (RFC 5051), which RFC 5256 §2.2 asks SORT and THREAD to use.
//!
//! Searching folds texts more generously ([`Pattern`](super::Pattern)); an order has to be the one the standard names,
//! or a client that merges sorted results would see them out of order.

use unicode_normalization::char::decompose_compatible;

/// Appends what `i;unicode-casemap` compares of a text, octet by octet.
pub(super) fn collate(text: &str, out: &mut Vec<u8>) {
    let mut utf8 = [0; 4];
    for char in text.chars() {
        if char.is_ascii() {
            out.extend(u8::try_from(char.to_ascii_uppercase()));
        } else {
            decompose_compatible(titlecase(char), |part| out.extend_from_slice(part.encode_utf8(&mut utf8).as_bytes()));
        }
    }
}

/// RFC 5051 §2, step 2a: the simple titlecase mapping of UnicodeData.txt.
fn titlecase(char: char) -> char {
    let other = match u32::from(char) {
        // Letters that are two: the one with only the first large, in every case.
        code @ 0x01c4..=0x01cc => 0x01c5 + (code - 0x01c4) / 3 * 3,
        0x01f1..=0x01f3 => 0x01f2,
        // Georgian letters have large forms that no title uses.
        code @ (0x10d0..=0x10fa | 0x10fd..=0x10ff) => code,
        // Greek letters with an iota below: full case mapping makes two letters of them, simple mapping does not.
        code @ (0x1f80..=0x1f87 | 0x1f90..=0x1f97 | 0x1fa0..=0x1fa7) => code + 8,
        code @ (0x1fb3 | 0x1fc3 | 0x1ff3) => code + 9,
        _ => {
            let mut upper = char.to_uppercase();
            return match (upper.next(), upper.next()) {
                (Some(upper), None) => upper,
                _ => char,
            };
        }
    };
    char::from_u32(other).unwrap_or(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        let mut out = Vec::new();
        collate(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts_are_compared_in_title_case_and_decomposed() {
        assert_eq!(key("Hello, _World_"), "HELLO, _WORLD_");
        assert_eq!(key("é"), "E\u{301}");
        assert_eq!(key("É"), key("é"));
        assert_eq!(key("ß"), "ß", "its upper case is two letters, its simple title case itself");
        assert_eq!(key("ǆ"), "Dz\u{30c}");
        assert_eq!(key("Ǆ"), key("ǅ"));
        assert_eq!(key("ǌ"), "Nj");
        assert_eq!(key("ǳ"), "Dz");
        assert_eq!(key("ﬁ"), "fi", "a ligature has no title case; its parts are not mapped again");
        assert_eq!(key("ა"), "ა");
        assert_eq!(key("ᾳ"), "Α\u{345}");
        assert_eq!(key("ὰ"), "Α\u{300}");
        assert_eq!(key("ς"), key("Σ"));
        assert_eq!(key("Å"), "A\u{30a}");
    }

    #[test]
    fn letters_come_before_the_signs_behind_capitals() {
        assert!(key("a") < key("_"), "in lower case it would be the reverse");
        assert!(key("Zebra") < key("[list]"));
        assert!(key("apple") < key("Banana"));
    }
}
