//! Octets as text: what `C~` and `S~` lines and the pieces of bodies are written in.
//!
//! `\r` `\n` `\t` `\0` `\\` `\"`, `\xNN` for any octet, and `\{1000:x}` for a thousand times what `x` stands for.

/// Runs of one octet at least this long are written as a repetition.
const RUN: usize = 40;

/// The most octets one line may stand for.
const MOST: usize = 64 * 1024 * 1024;

/// The octets a text stands for.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        octets.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let kind = escape.chars().next().ok_or("a backslash at the end")?;
        let behind = &escape[kind.len_utf8()..];
        rest = match kind {
            'r' | 'n' | 't' | '0' | '\\' | '"' => {
                octets.push(match kind {
                    'r' => b'\r',
                    'n' => b'\n',
                    't' => b'\t',
                    '0' => 0,
                    _ => escape.as_bytes()[0],
                });
                behind
            }
            'x' => {
                let digits = behind.get(..2).ok_or("\\x needs two digits")?;
                octets.push(u8::from_str_radix(digits, 16).map_err(|_| format!("\\x{digits} is not hexadecimal"))?);
                &behind[2..]
            }
            '{' => {
                let (count, behind) = behind.split_once(':').ok_or("\\{ needs a count and a colon")?;
                let (what, behind) = behind.split_once('}').ok_or("\\{ needs a closing brace")?;
                let count: usize = count.parse().map_err(|_| format!("{count} is not a count"))?;
                let what = parse(what)?;
                if count.saturating_mul(what.len()) > MOST {
                    return Err(format!("more than {MOST} octets"));
                }
                octets.extend(what.repeat(count));
                behind
            }
            other => return Err(format!("\\{other} means nothing")),
        };
    }
    octets.extend_from_slice(rest.as_bytes());
    Ok(octets)
}

/// The text for these octets: printable UTF-8 as it is, everything else escaped.
#[must_use]
pub fn render(octets: &[u8]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < octets.len() {
        let run = octets[at..].iter().take_while(|octet| **octet == octets[at]).count();
        if run >= RUN && octets[at] != b'}' {
            text.push_str(&format!("\\{{{run}:{}}}", render(&octets[at..=at])));
            at += run;
            continue;
        }
        at += render_one(&octets[at..], &mut text);
    }
    text
}

/// Writes the character at the front; answers how many octets it took.
fn render_one(octets: &[u8], text: &mut String) -> usize {
    let escape = match octets[0] {
        b'\r' => "\\r",
        b'\n' => "\\n",
        b'\t' => "\\t",
        0 => "\\0",
        b'\\' => "\\\\",
        b'"' => "\\\"",
        _ => {
            let longest = &octets[..octets.len().min(4)];
            let valid = match std::str::from_utf8(longest) {
                Ok(valid) => valid,
                Err(error) => std::str::from_utf8(&longest[..error.valid_up_to()]).unwrap_or_default(),
            };
            return match valid.chars().next() {
                Some(printable) if !printable.is_control() => {
                    text.push(printable);
                    printable.len_utf8()
                }
                _ => {
                    text.push_str(&format!("\\x{:02x}", octets[0]));
                    1
                }
            };
        }
    };
    text.push_str(escape);
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let cases: [&[u8]; 6] = [
            b"plain \"quoted\" \\ text\r\n",
            &[0, 1, 7, 0x7f, 0x80, 0xff, b'x', 0xc3],
            "Grüße €\u{85}".as_bytes(),
            &[b'a'; 5000],
            &[0; 41],
            &[b'}'; 50],
        ];
        for octets in cases {
            let text = render(octets);
            assert_eq!(parse(&text).unwrap(), octets, "{text}");
            assert!(!text.contains('\n') && text.len() < 300, "{text}");
        }
        assert_eq!(render(&[b'a'; 5000]), "\\{5000:a}");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in ["\\", "\\q", "\\x1", "\\xzz", "\\{5", "\\{5:a", "\\{a:b}", "\\{99999999999:b}"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
