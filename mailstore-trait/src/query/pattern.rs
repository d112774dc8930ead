//! Texts to look for, and the one way texts are compared.
//!
//! **Collation.** Two texts are equal when their folds are: every character in upper case, decomposed (compatibility
//! mappings included), then in lower case. That is `i;unicode-casemap` (RFC 5051 §2) with full instead of simple case
//! mapping, so that `STRASSE` finds `Straße` as well. A base letter finds its accented forms, because a decomposed
//! letter begins with its base: `cafe` finds `Café`, and `café` does not find `cafe`.
//!
//! A fold is UTF-8, so looking for a text is looking for octets: [`memmem`] over a folded buffer.

use std::fmt;
use std::sync::Arc;

use memchr::memmem;

/// A text to look for, folded once. Cheap to clone.
#[derive(Clone)]
pub struct Pattern {
    finder: Arc<memmem::Finder<'static>>,
    len: usize,
}

impl Pattern {
    /// Looks for this text.
    #[must_use]
    pub fn new(text: &str) -> Pattern {
        let mut folded = Vec::with_capacity(text.len());
        Fold::default().fold(text, &mut folded);
        Pattern { finder: Arc::new(memmem::Finder::new(&folded).into_owned()), len: text.len() }
    }

    /// Octets of the text as it was given.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is the empty text, which every text contains.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether this text contains it.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        let mut folded = Vec::with_capacity(text.len());
        Fold::default().fold(text, &mut folded);
        self.is_in_folded(&folded)
    }

    pub(super) fn is_in_folded(&self, folded: &[u8]) -> bool {
        self.finder.find(folded).is_some()
    }

    /// The folded text.
    #[must_use]
    pub fn folded(&self) -> &str {
        // A fold is UTF-8 by construction.
        std::str::from_utf8(self.finder.needle()).unwrap_or_default()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.finder.needle() == other.finder.needle()
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    /// Says how long it is, not what: what people look for in their mail is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({} octets)", self.len)
    }
}

/// Characters whose folds are remembered; a power of two.
const REMEMBERED: usize = 512;
/// The longest fold that is remembered, in octets.
const SHORT: usize = 11;

#[derive(Clone, Copy, Default)]
struct Remembered {
    char: u32,
    len: u8,
    octets: [u8; SHORT],
}

/// Folds text, remembering the folds of characters that are not ASCII: a text uses few of them, many times.
#[derive(Clone, Default)]
pub(super) struct Fold {
    table: Vec<Remembered>,
}

impl Fold {
    /// Appends the fold of `text` to `out`.
    pub(super) fn fold(&mut self, text: &str, out: &mut Vec<u8>) {
        let mut rest = text;
        loop {
            let (ascii, other) = rest.split_at_checked(ascii_len(rest.as_bytes())).unwrap_or((rest, ""));
            let from = out.len();
            out.extend_from_slice(ascii.as_bytes());
            if let Some(copied) = out.get_mut(from..) {
                copied.make_ascii_lowercase();
            }
            if other.is_empty() {
                return;
            }
            let mut chars = other.chars();
            rest = chars.as_str();
            while let Some(char) = chars.next().filter(|char| !char.is_ascii()) {
                self.fold_char(char, out);
                rest = chars.as_str();
            }
        }
    }

    fn fold_char(&mut self, char: char, out: &mut Vec<u8>) {
        let code = u32::from(char);
        let slot = code as usize % REMEMBERED;
        if let Some(known) = self.table.get(slot).filter(|known| known.char == code) {
            out.extend_from_slice(known.octets.get(..usize::from(known.len)).unwrap_or_default());
            return;
        }
        let from = out.len();
        push_fold(char, out);
        if self.table.is_empty() {
            self.table = vec![Remembered::default(); REMEMBERED];
        }
        let fold = out.get(from..).unwrap_or_default();
        let mut octets = [0; SHORT];
        if let (Some(known), Some(room), Ok(len)) =
            (self.table.get_mut(slot), octets.get_mut(..fold.len()), u8::try_from(fold.len()))
        {
            room.copy_from_slice(fold);
            *known = Remembered { char: code, len, octets };
        }
    }
}

impl fmt::Debug for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fold")
    }
}

fn push_fold(char: char, out: &mut Vec<u8>) {
    let mut utf8 = [0; 4];
    // Lower case first: U+1E9E, a capital without a smaller form of its own, is otherwise not the letter it stands for.
    for upper in char.to_lowercase().flat_map(char::to_uppercase) {
        unicode_normalization::char::decompose_compatible(upper, |part| {
            // A decomposed part may have a case again: U+037A holds a combining iota, whose upper case is a letter.
            for lower in part.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase) {
                out.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
            }
        });
    }
}

/// How many octets at the front are ASCII.
fn ascii_len(octets: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let blocks = octets.chunks(BLOCK).take_while(|block| block.is_ascii()).count();
    let checked = (blocks * BLOCK).min(octets.len());
    let rest = octets.get(checked..).unwrap_or_default();
    checked + rest.iter().take_while(|octet| octet.is_ascii()).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fold(text: &str) -> String {
        let mut out = Vec::new();
        Fold::default().fold(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn case_never_counts() {
        for (a, b) in [
            ("Hello, World", "hELLO, wORLD"),
            ("Straße", "STRASSE"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("ПРИВЕТ", "привет"),
            ("İ", "i\u{307}"),
            ("ﬁnal", "FINAL"),
            ("Å", "a\u{30a}"),
            ("\u{212b}", "å"),
            ("Ǆ", "ǆ"),
            ("ǅ", "ǆ"),
        ] {
            assert_eq!(fold(a), fold(b), "{a} {b}");
        }
    }

    #[test]
    fn every_character_folds_alike_in_all_cases() {
        let mut memory = Fold::default();
        let mut fold = |text: &str| {
            let mut out = Vec::new();
            memory.fold(text, &mut out);
            String::from_utf8(out).unwrap()
        };
        // Ideographs, syllables and what lies unassigned beyond have no case.
        for char in ('\0'..'\u{20000}').filter(|char| !('\u{3400}'..'\u{f900}').contains(char)) {
            let once = fold(&char.to_string());
            assert_eq!(fold(&once), once, "U+{:04X}", u32::from(char));
            assert_eq!(fold(&char.to_uppercase().to_string()), once, "upper case of U+{:04X}", u32::from(char));
            assert_eq!(fold(&char.to_lowercase().to_string()), once, "lower case of U+{:04X}", u32::from(char));
        }
    }

    #[test]
    fn a_base_letter_finds_its_accents_and_not_the_reverse() {
        assert!(Pattern::new("cafe").is_in("Zwei CAFÉS"));
        assert!(!Pattern::new("café").is_in("two cafes"));
        assert!(Pattern::new("").is_in(""));
        assert!(!Pattern::new("a").is_in(""));
    }

    #[test]
    fn debug_tells_no_secrets() {
        assert_eq!(format!("{:?}", Pattern::new("divorce")), "Pattern(7 octets)");
    }

    proptest! {
        #[test]
        fn folding_is_idempotent_and_piecewise(a in "\\PC{0,40}", b in "[a-zA-Z éÉßΣςиИ]{0,90}") {
            prop_assert_eq!(fold(&fold(&a)), fold(&a));
            prop_assert_eq!(fold(&format!("{a}{b}")), fold(&a) + &fold(&b));
            prop_assert_eq!(fold(&b.to_lowercase().replace('ς', "σ")), fold(&b.to_uppercase()));
        }

        #[test]
        fn remembered_folds_are_the_same(text in "[\\u{80}-\\u{600}\\u{1e00}-\\u{1fff}a-z]{0,200}") {
            let mut out = Vec::new();
            text.chars().for_each(|char| push_fold(char, &mut out));
            prop_assert_eq!(fold(&text).into_bytes(), out);
        }
    }
}
