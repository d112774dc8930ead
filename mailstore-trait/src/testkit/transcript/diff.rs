//! The difference between two lists of lines, for people.

/// Lines only in `expected` with `-`, lines only in `found` with `+`, common ones with a blank.
#[must_use]
pub(super) fn lines(expected: &[String], found: &[String]) -> String {
    // The longest common subsequence, by the textbook's table: lists of lines are short.
    let mut longest = vec![vec![0_u32; found.len() + 1]; expected.len() + 1];
    for (i, want) in expected.iter().enumerate().rev() {
        for (j, have) in found.iter().enumerate().rev() {
            longest[i][j] =
                if matches(want, have) { longest[i + 1][j + 1] + 1 } else { longest[i + 1][j].max(longest[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut text = String::new();
    while i < expected.len() || j < found.len() {
        let (sign, line) = if i < expected.len() && j < found.len() && matches(&expected[i], &found[j]) {
            (i, j) = (i + 1, j + 1);
            (' ', &found[j - 1])
        } else if j == found.len() || (i < expected.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            i += 1;
            ('-', &expected[i - 1])
        } else {
            j += 1;
            ('+', &found[j - 1])
        };
        text.push_str(&format!("  {sign} {line}\n"));
    }
    text
}

/// Whether an expected line allows this one: `…` stands for anything.
#[must_use]
pub(super) fn matches(expected: &str, found: &str) -> bool {
    let mut pieces = expected.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = found.strip_prefix(first) else { return false };
    let mut open = false;
    let mut last = "";
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
        (open, last) = (true, piece);
    }
    if open {
        last.is_empty() || found.len() >= first.len() + last.len() && found.ends_with(last)
    } else {
        rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_is_common_stays_together() {
        assert_eq!(lines(&list("a b c"), &list("a x c d")), "    a\n  - b\n  + x\n    c\n  + d\n");
    }

    #[test]
    fn an_ellipsis_stands_for_anything() {
        for (expected, found, allowed) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("size=…", "size=12", true),
            ("size=… end", "size=12 end", true),
            ("size=… end", "size=12 end.", false),
            ("… b … c", "a b x c", true),
            ("…", "", true),
            ("x…y", "x", false),
        ] {
            assert_eq!(matches(expected, found), allowed, "{expected} {found}");
        }
    }
}
