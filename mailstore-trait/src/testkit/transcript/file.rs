//! A transcript's text: header, steps and what each is expected to bring.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::Side;
use super::escape;

/// The `key: value` pairs above the first step.
#[derive(Debug, Default)]
pub struct Header {
    pairs: Vec<(String, String)>,
    asked: RefCell<BTreeSet<String>>,
}

impl Header {
    /// The value of this key. A key that nobody asks for is an error of the file, so misspellings don't pass.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The value of this key as a number.
    ///
    /// # Panics
    /// When it is not one.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        let value = self.value(key)?;
        Some(value.parse().unwrap_or_else(|_| panic!("header {key}: {value} is not a number")))
    }

    /// The value of this key as a duration (`300s`, `5m`).
    ///
    /// # Panics
    /// When it is not one.
    #[must_use]
    pub fn duration(&self, key: &str) -> Option<Duration> {
        let value = self.value(key)?;
        Some(duration(value).unwrap_or_else(|| panic!("header {key}: {value} is not a duration")))
    }

    /// Keys nobody asked for.
    pub(super) fn unused(&self) -> Vec<&str> {
        let asked = self.asked.borrow();
        self.pairs.iter().map(|(key, _)| key.as_str()).filter(|key| !asked.contains(*key)).collect()
    }
}

/// What happens to the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It is made.
    Start,
    /// The peer sends.
    Input(Vec<u8>),
    /// Something happens elsewhere: a change hint, a client's command.
    News(String),
    /// The question or layer that is out is answered at last.
    Answer(String),
    /// Time passes.
    Pass(Duration),
    /// The peer ends.
    End,
    /// `@ reset`: writing failed.
    Reset,
    /// The embedder asks for the end.
    Shutdown,
    /// The peer stops reading what it is sent.
    Stall,
    /// The peer has read everything.
    Drain,
}

/// A line the session is expected to bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// The line, in its normal form, without the answer.
    pub(super) line: String,
    /// For questions and layers: the answer to give.
    pub(super) answer: Option<String>,
    /// Comment lines right above it.
    pub(super) comments: Vec<String>,
}

/// An action and what it brings.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Comments, blank lines and the action's own lines, as in the file.
    pub(super) text: Vec<String>,
    /// The number of the action's first line, from 1.
    pub(super) line: usize,
    pub(super) action: Action,
    pub(super) expected: Vec<Expected>,
}

/// A parsed file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) header: Header,
    pub(super) steps: Vec<Step>,
    /// Comments and blank lines behind the last step.
    pub(super) tail: Vec<String>,
}

/// Reads a file's text.
pub(super) fn parse(text: &str, side: Side) -> Result<File, String> {
    let (sent, told) = (side.sent_by_peer(), side.sent_by_session());
    let start = Step { text: Vec::new(), line: 1, action: Action::Start, expected: Vec::new() };
    let mut file = File { header: Header::default(), steps: vec![start], tail: Vec::new() };
    let mut in_header = true;
    // Comments and blank lines whose place is not known before the next line is.
    let mut loose: Vec<String> = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        let fault = |what: String| format!("line {number}: {what}\n    {line}");
        if line.trim().is_empty() || line.starts_with('#') {
            loose.push(line.to_owned());
            continue;
        }
        if in_header && is_header(line, sent, told) {
            file.header.pairs.extend(header(line).map_err(fault)?);
            let start = &mut file.steps[0].text;
            start.append(&mut loose);
            start.push(line.to_owned());
            continue;
        }
        let (mark, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let action = action(mark, rest, sent).map_err(fault)?;
        if let Some(action) = action {
            // Input in a row is one block: the peer pipelines.
            if let Action::Input(octets) = &action
                && let Some(Step { action: Action::Input(block), text, expected, .. }) = file.steps.last_mut()
                && expected.is_empty()
                && !loose.iter().any(|line| line.trim().is_empty())
            {
                block.extend_from_slice(octets);
                text.append(&mut loose);
                text.push(line.to_owned());
                continue;
            }
            if in_header {
                // What stands between header and first action belongs to the header, so that a greeting goes below it.
                let first = loose.iter().position(|line| line.starts_with('#')).unwrap_or(loose.len());
                file.steps[0].text.extend(loose.drain(..first));
                in_header = false;
            }
            let mut text = std::mem::take(&mut loose);
            text.push(line.to_owned());
            file.steps.push(Step { text, line: number, action, expected: Vec::new() });
            continue;
        }
        let Some(step) = file.steps.last_mut() else { continue };
        if in_header {
            step.text.append(&mut loose);
            in_header = false;
        }
        let (line, answer) = expected(mark, rest, told).map_err(fault)?;
        let comments = std::mem::take(&mut loose).into_iter().filter(|line| !line.trim().is_empty()).collect();
        step.expected.push(Expected { line, answer, comments });
    }
    file.tail = loose;
    Ok(file)
}

/// `key: value` with a lower-case key; `C:` and `S:` are not.
fn is_header(line: &str, sent: char, told: char) -> bool {
    let key = line.split(':').next().unwrap_or_default();
    let marks = [sent, told].map(|mark| mark.to_string());
    line.contains(':')
        && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
        && !marks.iter().any(|mark| mark == key)
}

/// The pairs of a header line; two blanks part them.
fn header(line: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for word in line.split("  ").map(str::trim).filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once(':').ok_or_else(|| format!("{word} is not a pair"))?;
        pairs.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(pairs)
}

fn action(mark: &str, rest: &str, sent: char) -> Result<Option<Action>, String> {
    let mut letters = mark.chars();
    let (letter, kind) = (letters.next(), letters.as_str());
    Ok(Some(match (letter, kind) {
        (Some(letter), ":") if letter == sent => Action::Input(format!("{rest}\r\n").into_bytes()),
        (Some(letter), "~") if letter == sent => Action::Input(escape::parse(rest)?),
        (Some('>'), "") => Action::News(rest.to_owned()),
        (Some('!'), "") => Action::Answer(rest.to_owned()),
        (Some('@'), "") => match rest.trim() {
            "eof" => Action::End,
            "reset" => Action::Reset,
            "shutdown" => Action::Shutdown,
            "stall" => Action::Stall,
            "drain" => Action::Drain,
            time => Action::Pass(
                time.strip_prefix('+').and_then(duration).ok_or("@ takes +5s, eof, reset, shutdown, stall or drain")?,
            ),
        },
        _ => return Ok(None),
    }))
}

fn expected(mark: &str, rest: &str, told: char) -> Result<(String, Option<String>), String> {
    match mark {
        "?" | "L" => {
            let (question, answer) = match rest.rfind("  ! ") {
                Some(at) => (&rest[..at], Some(rest[at + 4..].trim().to_owned())),
                None => (rest, None),
            };
            Ok((format!("{mark} {}", question.trim_end()), answer))
        }
        "=" => Ok((format!("= {rest}"), None)),
        _ if mark == format!("{told}:") || mark == format!("{told}~") => {
            Ok((format!("{mark} {rest}").trim_end().to_owned(), None))
        }
        _ => Err("a line begins with C: C~ S: S~ ? ! L > @ = or #".into()),
    }
}

/// `250ms`, `30s`, `5m`, `2h`, `5d`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(unit)?))
}
