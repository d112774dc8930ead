//! mbox files, in the form called mboxrd: `From ` lines between messages, `>` before lines that look like one.

use std::io::{self, BufRead, Write};

use mailstore_trait::date::{Civil, DateTime, MONTHS, WEEKDAYS, month_by_name};
use mailstore_trait::flags::{FlagSet, Keyword, SystemFlags};

/// Reads messages one after another. Lines come out with CRLF ends, quoting undone.
pub(super) struct Reader<R> {
    lines: R,
    /// Octets read so far, the line ahead included.
    pub(super) offset: u64,
    line: Vec<u8>,
    /// The line after `line`; empty only at the end of the file.
    ahead: Vec<u8>,
    started: bool,
    inside: bool,
    after_empty: bool,
}

/// What a `From ` line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Separator {
    pub(super) date: Option<DateTime>,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(lines: R) -> Reader<R> {
        let (line, ahead) = (Vec::new(), Vec::new());
        Reader { lines, offset: 0, line, ahead, started: false, inside: false, after_empty: false }
    }

    /// Goes to the next message; `Ok(None)` at the end of the file, `Ok(Some(None))` when what comes is no message.
    pub(super) fn next_message(&mut self) -> io::Result<Option<Option<Separator>>> {
        while self.inside {
            self.next_line()?;
        }
        if !self.started {
            self.started = true;
            self.look_ahead()?;
        }
        if self.ahead.is_empty() {
            return Ok(None);
        }
        let separator = separator(&self.ahead);
        if separator.is_some() {
            self.look_ahead()?;
        }
        self.inside = true;
        self.after_empty = false;
        Ok(Some(separator))
    }

    /// The next line of this message; `None` at its end. The empty line before the next `From ` is not part of it.
    pub(super) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.inside || self.is_over(self.after_empty) {
            self.inside = false;
            return Ok(None);
        }
        std::mem::swap(&mut self.line, &mut self.ahead);
        self.look_ahead()?;
        while self.line.last().is_some_and(|octet| matches!(octet, b'\n' | b'\r')) {
            self.line.pop();
        }
        self.after_empty = self.line.is_empty();
        if self.after_empty && self.is_over(true) {
            self.inside = false;
            return Ok(None);
        }
        self.line.extend_from_slice(b"\r\n");
        let quoted = self.line.starts_with(b">") && is_separator(&self.line);
        Ok(self.line.get(usize::from(quoted)..))
    }

    /// Whether the line ahead ends the message. Without an empty line before it, only one with a date does.
    fn is_over(&self, after_empty: bool) -> bool {
        self.ahead.is_empty() || separator(&self.ahead).is_some_and(|separator| after_empty || separator.date.is_some())
    }

    fn look_ahead(&mut self) -> io::Result<()> {
        self.ahead.clear();
        self.offset += self.lines.read_until(b'\n', &mut self.ahead)? as u64;
        Ok(())
    }
}

/// Reads a `From ` line: `From sender Sun Nov 22 10:00:00 2026`, the sender possibly missing.
fn separator(line: &[u8]) -> Option<Separator> {
    let rest = line.strip_prefix(b"From ")?;
    let words: Vec<&[u8]> = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    let date = words.windows(5).find_map(|words| match words {
        [_, month, day, time, year] => {
            let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u32>().ok();
            let mut time = time.split(|&octet| octet == b':').map(number);
            let time = (time.next()??, time.next()??, time.next().unwrap_or(Some(0))?);
            DateTime::from_civil((number(year)?.into(), month_by_name(month)?, number(day)?), time, 0)
        }
        _ => None,
    });
    Some(Separator { date })
}

/// Reads what an mbox keeps in the header and a store keeps as flags: `Status`, `X-Status`, `X-Keywords`. Whether the line
/// is one of them.
pub(super) fn read_flags(line: &[u8], flags: &mut FlagSet) -> bool {
    let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')) else {
        return false;
    };
    if name.eq_ignore_ascii_case("x-keywords") {
        value.split_ascii_whitespace().filter_map(Keyword::new).for_each(|keyword| flags.insert(keyword));
        return true;
    }
    let known = name.eq_ignore_ascii_case("status") || name.eq_ignore_ascii_case("x-status");
    for letter in value.bytes().filter(|_| known) {
        flags.system |= match letter {
            b'R' => SystemFlags::SEEN,
            b'A' => SystemFlags::ANSWERED,
            b'F' => SystemFlags::FLAGGED,
            b'D' => SystemFlags::DELETED,
            b'T' => SystemFlags::DRAFT,
            _ => SystemFlags::empty(),
        };
    }
    known
}

/// Writes one message's lines: CRLF becomes LF, lines that look like separators are quoted.
pub(super) struct Writer<W> {
    out: W,
    at_line_start: bool,
    /// Octets of the line so far that may still turn out to be `>…From `.
    held: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a message of `sender` received at `date`.
    pub(super) fn begin(mut out: W, sender: &str, date: DateTime, set: &FlagSet) -> io::Result<Writer<W>> {
        let flags = set.system;
        let Civil { year, month, day, hour, minute, second, weekday } = date.instant.at_offset(0).civil();
        let weekday = WEEKDAYS.get(weekday as usize).unwrap_or(&"Sun");
        let month = MONTHS.get((month as usize).saturating_sub(1)).unwrap_or(&"Jan");
        let sender = if sender.is_empty() { "MAILER-DAEMON" } else { sender };
        writeln!(out, "From {sender} {weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}")?;
        let letters = |pairs: &[(SystemFlags, char)]| -> String {
            pairs.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, letter)| *letter).collect()
        };
        let status = letters(&[(SystemFlags::SEEN, 'R')]);
        let more = letters(&[
            (SystemFlags::ANSWERED, 'A'),
            (SystemFlags::FLAGGED, 'F'),
            (SystemFlags::DELETED, 'D'),
            (SystemFlags::DRAFT, 'T'),
        ]);
        writeln!(out, "Status: {status}O")?;
        if !more.is_empty() {
            writeln!(out, "X-Status: {more}")?;
        }
        let keywords: Vec<&str> = set.keywords().iter().map(Keyword::as_str).collect();
        if !keywords.is_empty() {
            writeln!(out, "X-Keywords: {}", keywords.join(" "))?;
        }
        Ok(Writer { out, at_line_start: true, held: Vec::new() })
    }

    /// Writes octets of the message, split anywhere.
    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        for piece in octets.split_inclusive(|&octet| octet == b'\n') {
            self.held.extend_from_slice(piece);
            let ended = piece.ends_with(b"\n");
            if !ended && self.at_line_start && may_be_separator(&self.held) {
                continue;
            }
            if self.at_line_start && is_separator(&self.held) {
                self.out.write_all(b">")?;
            }
            if ended {
                let text = self.held.strip_suffix(b"\r\n").or(self.held.strip_suffix(b"\n")).unwrap_or(&self.held);
                self.out.write_all(text)?;
                self.out.write_all(b"\n")?;
                self.held.clear();
            } else {
                // A CR at the end may be half of a line end.
                let kept = usize::from(self.held.ends_with(b"\r"));
                let text = self.held.get(..self.held.len() - kept).unwrap_or_default();
                self.out.write_all(text)?;
                self.held.drain(..self.held.len() - kept);
            }
            self.at_line_start = ended;
        }
        Ok(())
    }

    /// Ends the message with the empty line before the next.
    pub(super) fn end(mut self) -> io::Result<W> {
        if !self.held.is_empty() {
            if self.at_line_start && is_separator(&self.held) {
                self.out.write_all(b">")?;
            }
            self.out.write_all(&self.held)?;
            self.at_line_start = false;
        }
        if !self.at_line_start {
            self.out.write_all(b"\n")?;
        }
        self.out.write_all(b"\n")?;
        Ok(self.out)
    }
}

fn unquoted(line: &[u8]) -> &[u8] {
    let quotes = line.iter().take_while(|&&octet| octet == b'>').count();
    line.get(quotes..).unwrap_or_default()
}

fn is_separator(line: &[u8]) -> bool {
    unquoted(line).starts_with(b"From ")
}

fn may_be_separator(start: &[u8]) -> bool {
    b"From ".starts_with(unquoted(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mbox: &str) -> Vec<(Option<Separator>, String)> {
        let mut reader = Reader::new(mbox.as_bytes());
        let mut messages = Vec::new();
        while let Some(separator) = reader.next_message().unwrap() {
            let mut text = Vec::new();
            while let Some(line) = reader.next_line().unwrap() {
                text.extend_from_slice(line);
            }
            messages.push((separator, String::from_utf8(text).unwrap()));
        }
        assert_eq!(reader.offset, mbox.len() as u64);
        messages
    }

    #[test]
    fn messages_are_told_apart_and_unquoted() {
        let mbox = "From a@b Sun Nov 22 10:00:00 2026\nSubject: 1\n\n>From here\n>>From there\n\nFrom b Mon Nov 23 10:00 2026\n\nx\n";
        let messages = read(mbox);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].1, "Subject: 1\r\n\r\nFrom here\r\n>From there\r\n");
        assert_eq!(messages[0].0.unwrap().date, DateTime::from_civil((2026, 11, 22), (10, 0, 0), 0));
        assert_eq!(messages[1].1, "\r\nx\r\n");
        assert!(messages[1].0.unwrap().date.is_some());
    }

    #[test]
    fn what_is_no_mbox_is_told() {
        assert_eq!(read("Subject: x\n\ny\n")[0].0, None);
        assert!(read("").is_empty());
    }

    #[test]
    fn what_is_written_is_read_back_however_it_is_split() {
        let message = "Subject: x\r\n\r\nFrom here\r\n>From there\r\n\rFrom\r\n>\r\nFrom";
        for split in 0..message.len() {
            let date = DateTime::from_civil((2026, 2, 3), (4, 5, 6), 60).unwrap();
            let mut writer =
                Writer::begin(Vec::new(), "a@b", date, &(SystemFlags::SEEN | SystemFlags::FLAGGED).into()).unwrap();
            writer.write(&message.as_bytes()[..split]).unwrap();
            writer.write(&message.as_bytes()[split..]).unwrap();
            let written = String::from_utf8(writer.end().unwrap()).unwrap();
            let messages = read(&written);
            assert_eq!(messages.len(), 1, "{split}: {written:?}");
            let expected = format!("Status: RO\r\nX-Status: F\r\n{message}\r\n");
            assert_eq!(messages[0].1.replace('\r', ""), expected.replace('\r', ""), "{split}");
            assert_eq!(messages[0].0.unwrap().date.unwrap().instant, date.instant);
        }
    }

    #[test]
    fn header_fields_are_flags() {
        let mut flags = FlagSet::new();
        assert!(read_flags(b"Status: RO\r\n", &mut flags));
        assert_eq!(flags.system, SystemFlags::SEEN);
        assert!(read_flags(b"x-status: AFDT\r\n", &mut flags));
        assert_eq!(flags.system, SystemFlags::all());
        assert!(read_flags(b"X-Keywords: $Forwarded work\r\n", &mut flags));
        assert_eq!(flags.keywords().len(), 2);
        assert!(!read_flags(b"Subject: Status: R\r\n", &mut flags));
        assert!(!read_flags(b"\r\n", &mut flags));
    }

    #[test]
    fn keywords_are_read_back() {
        let mut flags = FlagSet::from(SystemFlags::SEEN);
        flags.insert(Keyword::new("$Forwarded").unwrap());
        let date = DateTime::from_civil((2026, 2, 3), (4, 5, 6), 0).unwrap();
        let mut writer = Writer::begin(Vec::new(), "a@b", date, &flags).unwrap();
        writer.write(b"Subject: x\r\n\r\ny\r\n").unwrap();
        let written = String::from_utf8(writer.end().unwrap()).unwrap();
        let mut found = FlagSet::new();
        let (_, text) = read(&written).remove(0);
        text.split_inclusive("\r\n").for_each(|line| {
            let _ = read_flags(line.as_bytes(), &mut found);
        });
        assert_eq!(found, flags);
    }
}
