//! Preview text (RFC 8970 §2): the beginning of a message's text on one line.

/// The first `max` characters of a plain text, blanks and line ends made one space, quoted lines left out where there
/// are others, and nothing behind a signature mark.
pub(super) fn of_plain(text: &str, max: usize) -> String {
    let lines = || text.lines().take_while(|line| *line != "-- ");
    let fresh = collapse(lines().filter(|line| !line.starts_with('>')), max);
    if fresh.is_empty() { collapse(text.lines(), max) } else { fresh }
}

/// The first `max` characters of the text in an HTML document.
pub(super) fn of_html(html: &str, max: usize) -> String {
    collapse(std::iter::once(strip(html).as_str()), max)
}

fn collapse<'a>(lines: impl Iterator<Item = &'a str>, max: usize) -> String {
    let mut out = String::new();
    let mut left = max;
    for word in lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || c.is_control() || is_invisible(c))) {
        if word.is_empty() {
            continue;
        }
        if !out.is_empty() {
            if left < 2 {
                break;
            }
            out.push(' ');
            left -= 1;
        }
        for c in word.chars().take(left) {
            out.push(c);
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    out
}

/// Characters newsletters fill their previews with.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{34F}' | '\u{AD}' | '\u{61C}' | '\u{115F}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Elements whose content is not text.
const HIDDEN: [&str; 5] = ["style", "script", "head", "title", "template"];

/// The text of HTML: tags, comments and hidden elements gone, the commonest entities resolved. Not a parser: good
/// enough to show the first words, and it cannot fail.
fn strip(html: &str) -> String {
    let mut out = String::with_capacity(html.len() / 2);
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        let (text, tail) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(text);
        if tail.starts_with('&') {
            rest = entity(tail, &mut out);
        } else if let Some(comment) = tail.strip_prefix("<!--") {
            rest = comment.find("-->").and_then(|end| comment.get(end + 3..)).unwrap_or_default();
        } else if tail
            .get(1..)
            .is_some_and(|next| next.starts_with(|c: char| c.is_ascii_alphabetic() || "/!?".contains(c)))
        {
            rest = tag(tail, &mut out);
        } else {
            out.push('<');
            rest = tail.get(1..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

/// Passes over the tag at the front, and over the content of a hidden element.
fn tag<'a>(html: &'a str, out: &mut String) -> &'a str {
    let Some((inside, after)) = html.get(1..).and_then(|inside| inside.split_once('>')) else { return "" };
    let name = inside.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    // Inline elements do not part words; all others do.
    const INLINE: [&str; 10] = ["b", "i", "u", "a", "em", "strong", "span", "font", "small", "wbr"];
    let closing = inside.strip_prefix('/').unwrap_or(inside);
    let closing = closing.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    if !INLINE.iter().any(|inline| closing.eq_ignore_ascii_case(inline)) {
        out.push(' ');
    }
    if !HIDDEN.iter().any(|hidden| name.eq_ignore_ascii_case(hidden)) || inside.ends_with('/') {
        return after;
    }
    let mut rest = after;
    while let Some(at) = rest.find("</") {
        rest = rest.get(at + 2..).unwrap_or_default();
        if rest.get(..name.len()).is_some_and(|end| end.eq_ignore_ascii_case(name)) {
            return rest.split_once('>').map_or("", |(_, after)| after);
        }
    }
    ""
}

/// Resolves the entity at the front, or passes its `&` on.
fn entity<'a>(html: &'a str, out: &mut String) -> &'a str {
    let inside = html.get(1..).unwrap_or_default();
    let end = inside.bytes().take(10).position(|octet| octet == b';');
    if let Some(name) = end.and_then(|end| inside.get(..end))
        && let Some(c) = character(name)
    {
        out.push(c);
        return inside.get(name.len() + 1..).unwrap_or_default();
    }
    out.push('&');
    inside
}

fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "zwnj" => '\u{200C}',
        "shy" => '\u{AD}',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "Auml" => 'Ä',
        "Ouml" => 'Ö',
        "Uuml" => 'Ü',
        "szlig" => 'ß',
        "eacute" => 'é',
        "egrave" => 'è',
        "agrave" => 'à',
        "ccedil" => 'ç',
        "euro" => '€',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "copy" => '©',
        "reg" => '®',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_on_one_line() {
        assert_eq!(of_plain("Hello\r\n\r\n  world\t!\r\n-- \r\nsignature", 200), "Hello world !");
        assert_eq!(of_plain("> old\nnew\n> older", 200), "new");
        assert_eq!(of_plain("> only old", 200), "> only old");
        assert_eq!(of_plain("äöü äöü", 5), "äöü ä");
        assert_eq!(of_plain("abc def", 4), "abc");
        assert_eq!(of_plain("", 5), "");
    }

    #[test]
    fn html_shows_its_words() {
        let html = "<!DOCTYPE html><html><head><title>no</title><style>p{}</style></head><body><!-- no --><p>Hel<b>lo</b>&nbsp;&amp;<br>you &lt; &#228;&#x20AC; &bogus; a < b</p><script>no()</script>";
        assert_eq!(of_html(html, 200), "Hello & you < ä€ &bogus; a < b");
        assert_eq!(of_html("<p>a</p><p>b</p>", 200), "a b");
        assert_eq!(of_html("text <never ends", 200), "text");
        assert_eq!(of_html("<style>never ends", 200), "");
        assert_eq!(of_html("a\u{200B}\u{200C}b", 200), "a b");
    }
}
