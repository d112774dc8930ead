//! Replies: codes, enhanced codes and every text this crate says, in one place; and the reader of a server's replies.
//!
//! RFC 5321 §4.2, RFC 2034, RFC 3463, RFC 5248. A [`Reply`] is a value; its text is cleaned when it is written, so
//! nothing a backend puts into it can break the reply apart.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::command::CommandError;

/// `class.subject.detail` (RFC 3463 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnhancedCode {
    /// 2 success, 4 transient, 5 permanent.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl EnhancedCode {
    /// A code from its three numbers.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> EnhancedCode {
        EnhancedCode { class, subject, detail }
    }

    /// Reads `x.y.z` at the front of a reply's text; gives it and what follows.
    #[must_use]
    pub fn split(text: &str) -> Option<(EnhancedCode, &str)> {
        let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut numbers = code.split('.');
        let class = numbers.next().filter(|class| matches!(*class, "2" | "4" | "5"))?;
        let mut number = || {
            let digits = numbers.next()?;
            let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_digit());
            if plain { digits.parse::<u16>().ok() } else { None }
        };
        let (subject, detail) = (number()?, number()?);
        if numbers.next().is_some() {
            return None;
        }
        Some((EnhancedCode { class: class.parse().ok()?, subject, detail }, rest))
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A reply: a code, perhaps an enhanced one, a line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599 (RFC 5321 §4.2).
    pub code: u16,
    /// RFC 2034 §4: none in greetings, EHLO replies and 3xx.
    pub enhanced: Option<EnhancedCode>,
    /// For people and logs. Controls in it are written as spaces, and it is cut to fit the line limit.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced code.
    pub fn new(code: u16, enhanced: EnhancedCode, text: impl Into<Cow<'static, str>>) -> Reply {
        Reply { code, enhanced: Some(enhanced), text: text.into() }
    }

    const fn fixed(code: u16, (class, subject, detail): (u8, u16, u16), text: &'static str) -> Reply {
        Reply { code, enhanced: Some(EnhancedCode::new(class, subject, detail)), text: Cow::Borrowed(text) }
    }

    const fn plain(code: u16, text: &'static str) -> Reply {
        Reply { code, enhanced: None, text: Cow::Borrowed(text) }
    }

    /// 2xx.
    #[must_use]
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx.
    #[must_use]
    pub const fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4xx: the same may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx: the same will not succeed.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// This reply if it refuses, and 451 where an answer that should refuse holds something else.
    pub(crate) fn refusing(self) -> Reply {
        if matches!(self.code, 400..=599) { self } else { LOCAL_ERROR }
    }

    // RFC 2034 §4: greetings and the replies to EHLO, HELO and LHLO have no enhanced code.
    pub(crate) fn without_code(self) -> Reply {
        Reply { enhanced: None, ..self }
    }

    /// Writes the reply as one line.
    pub(crate) fn write(&self, out: &mut BytesMut) {
        self.write_line(out, b' ');
    }

    fn write_line(&self, out: &mut BytesMut, separator: u8) {
        let start = out.len();
        put_number(out, self.code);
        out.put_u8(separator);
        if let Some(enhanced) = self.enhanced {
            put_number(out, u16::from(enhanced.class));
            out.put_u8(b'.');
            put_number(out, enhanced.subject);
            out.put_u8(b'.');
            put_number(out, enhanced.detail);
            out.put_u8(b' ');
        }
        put_text(out, &self.text, REPLY_LINE - 2 - (out.len() - start));
        out.put_slice(b"\r\n");
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.enhanced {
            Some(enhanced) => write!(f, "{} {enhanced} {}", self.code, self.text),
            None => write!(f, "{} {}", self.code, self.text),
        }
    }
}

/// RFC 5321 §4.5.3.1.5: octets of a reply line, CRLF included.
pub const REPLY_LINE: usize = 512;

fn put_number(out: &mut BytesMut, number: u16) {
    let digit = |n: u16| b'0'.wrapping_add(n.to_le_bytes()[0]);
    if number >= 100 {
        out.put_u8(digit(number / 100 % 10));
    }
    if number >= 10 {
        out.put_u8(digit(number / 10 % 10));
    }
    out.put_u8(digit(number % 10));
}

/// Writes text without controls, at most `max` octets, cut between characters.
///
/// A line end in a backend's text would otherwise let that text forge replies.
fn put_text(out: &mut BytesMut, text: &str, max: usize) {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    if text.bytes().any(|octet| octet.is_ascii_control()) {
        out.extend(text.bytes().map(|octet| if octet.is_ascii_control() { b' ' } else { octet }));
    } else {
        out.put_slice(text.as_bytes());
    }
}

/// Writes a reply of several lines: the EHLO reply and HELP.
pub(crate) fn write_lines<'a>(out: &mut BytesMut, code: u16, lines: impl IntoIterator<Item = Cow<'a, str>>) {
    let mut lines = lines.into_iter().peekable();
    while let Some(line) = lines.next() {
        put_number(out, code);
        out.put_u8(if lines.peek().is_some() { b'-' } else { b' ' });
        put_text(out, &line, REPLY_LINE - 6);
        out.put_slice(b"\r\n");
    }
}

// The texts. RFC 5321 §4.2.3 for the codes, RFC 3463 and the registry of RFC 5248 for the enhanced ones.

/// Said to anything without a better word.
pub const OK: Reply = Reply::fixed(250, (2, 0, 0), "OK");
pub(crate) const SENDER_OK: Reply = Reply::fixed(250, (2, 1, 0), "Sender OK");
pub(crate) const RECIPIENT_OK: Reply = Reply::fixed(250, (2, 1, 5), "Recipient OK");
pub(crate) const CHUNK_OK: Reply = Reply::fixed(250, (2, 6, 0), "Chunk taken");
pub(crate) const BYE: Reply = Reply::fixed(221, (2, 0, 0), "Bye");
pub(crate) const READY_FOR_TLS: Reply = Reply::fixed(220, (2, 0, 0), "Ready to start TLS");
pub(crate) const CANNOT_VERIFY: Reply = Reply::fixed(252, (2, 5, 0), "Cannot verify, but will try to deliver");
pub(crate) const AUTHENTICATED: Reply = Reply::fixed(235, (2, 7, 0), "Authentication succeeded");
pub(crate) const START_MAIL: Reply = Reply::plain(354, "Start mail input; end with <CRLF>.<CRLF>");

pub(crate) const IDLE: Reply = Reply::fixed(421, (4, 4, 2), "Idle for too long, closing");
pub(crate) const TOO_SLOW: Reply = Reply::fixed(421, (4, 4, 2), "Message took too long, closing");
pub(crate) const SHUTTING_DOWN: Reply = Reply::fixed(421, (4, 3, 2), "Service shutting down, closing");
pub(crate) const TOO_MANY_MESSAGES: Reply =
    Reply::fixed(421, (4, 7, 0), "Too many messages on this connection, closing");
pub(crate) const TOO_MANY_ERRORS: Reply = Reply::fixed(421, (4, 7, 0), "Too many errors, closing");
pub(crate) const TOO_MANY_LOGINS: Reply = Reply::fixed(421, (4, 7, 0), "Too many failed logins, closing");
pub(crate) const TOO_MUCH_SWALLOWED: Reply = Reply::fixed(421, (4, 3, 0), "Refused octets keep coming, closing");
pub(crate) const NO_ANSWER: Reply = Reply::fixed(421, (4, 3, 0), "No decision in time, closing");
/// The safe refusal: nothing was done, the same may succeed later.
pub const LOCAL_ERROR: Reply = Reply::fixed(451, (4, 3, 0), "Local error, try again later");
/// The store is too busy.
pub const BUSY: Reply = Reply::fixed(451, (4, 3, 2), "Busy, try again later");
pub(crate) const TOO_MANY_RECIPIENTS: Reply = Reply::fixed(452, (4, 5, 3), "Too many recipients");
/// The mailbox has no room now.
pub const MAILBOX_FULL: Reply = Reply::fixed(452, (4, 2, 2), "Mailbox full");
/// The store has no room at all.
pub const STORAGE_FULL: Reply = Reply::fixed(452, (4, 3, 1), "Insufficient storage");
pub(crate) const ETRN_UNABLE: Reply = Reply::fixed(458, (4, 3, 0), "Unable to queue messages for this node");
pub(crate) const ETRN_NOT_ALLOWED: Reply = Reply::fixed(459, (4, 7, 1), "Not for this node, or not by you");
/// A login could not be checked; it may be later.
pub const AUTH_UNAVAILABLE: Reply = Reply::fixed(454, (4, 7, 0), "Temporary authentication failure");

pub(crate) const UNRECOGNIZED: Reply = Reply::fixed(500, (5, 5, 1), "Command unrecognized");
pub(crate) const LINE_TOO_LONG: Reply = Reply::fixed(500, (5, 5, 2), "Line too long");
pub(crate) const AUTH_LINE_TOO_LONG: Reply = Reply::fixed(500, (5, 5, 6), "Authentication exchange line is too long");
pub(crate) const BARE_LINE_END: Reply = Reply::fixed(500, (5, 5, 2), "Lines must end with CRLF");
pub(crate) const BAD_OCTETS: Reply = Reply::fixed(500, (5, 5, 2), "Octets that no command has");
pub(crate) const BAD_ARGUMENTS: Reply = Reply::fixed(501, (5, 5, 4), "Syntax error in arguments");
pub(crate) const BAD_SENDER: Reply = Reply::fixed(501, (5, 1, 7), "Bad sender address syntax");
pub(crate) const BAD_RECIPIENT: Reply = Reply::fixed(501, (5, 1, 3), "Bad recipient address syntax");
pub(crate) const BAD_PARAMETER: Reply = Reply::fixed(501, (5, 5, 4), "Syntax error in parameters");
pub(crate) const BAD_ATTRIBUTES: Reply = Reply::fixed(501, (5, 5, 4), "Syntax error in attributes");
// RFC 4865 §4.2: held longer than was offered.
pub(crate) const HOLD_TOO_LONG: Reply = Reply::fixed(501, (5, 5, 4), "Held for longer than is offered");
pub(crate) const BAD_BASE64: Reply = Reply::fixed(501, (5, 5, 2), "Cannot decode base64");
#[cfg(feature = "store")]
pub(crate) const MALFORMED_AUTH: Reply = Reply::fixed(501, (5, 5, 2), "Malformed authentication message");
pub(crate) const AUTH_CANCELLED: Reply = Reply::fixed(501, (5, 7, 0), "Authentication cancelled");
pub(crate) const NOT_IMPLEMENTED: Reply = Reply::fixed(502, (5, 5, 1), "Command not implemented");
pub(crate) const HELLO_FIRST: Reply = Reply::fixed(503, (5, 5, 1), "Say hello first");
pub(crate) const NESTED_MAIL: Reply = Reply::fixed(503, (5, 5, 1), "Sender already given");
pub(crate) const IN_MAIL: Reply = Reply::fixed(503, (5, 5, 1), "Mail transaction in progress");
pub(crate) const MAIL_FIRST: Reply = Reply::fixed(503, (5, 5, 1), "MAIL first");
pub(crate) const CHUNKS_BEGUN: Reply = Reply::fixed(503, (5, 5, 1), "Only BDAT or RSET until the last chunk");
pub(crate) const BINARY_NEEDS_BDAT: Reply = Reply::fixed(503, (5, 5, 1), "BINARYMIME needs BDAT");
pub(crate) const TLS_ACTIVE: Reply = Reply::fixed(503, (5, 5, 1), "TLS already active");
pub(crate) const AUTH_AGAIN: Reply = Reply::fixed(503, (5, 5, 1), "Already authenticated");
pub(crate) const AUTH_IN_MAIL: Reply = Reply::fixed(503, (5, 5, 1), "AUTH not permitted during a mail transaction");
pub(crate) const UNKNOWN_MECHANISM: Reply = Reply::fixed(504, (5, 5, 4), "Unrecognized authentication mechanism");
pub(crate) const AUTH_REQUIRED: Reply = Reply::fixed(530, (5, 7, 0), "Authentication required");
pub(crate) const TLS_REQUIRED: Reply = Reply::fixed(530, (5, 7, 0), "Must issue a STARTTLS command first");
/// The credentials are wrong.
pub const AUTH_FAILED: Reply = Reply::fixed(535, (5, 7, 8), "Authentication credentials invalid");
pub(crate) const AUTH_NEEDS_TLS: Reply =
    Reply::fixed(538, (5, 7, 11), "Encryption required for requested authentication mechanism");
// RFC 5321 §3.5.1.
#[cfg(feature = "store")]
pub(crate) const AMBIGUOUS: Reply = Reply::fixed(553, (5, 1, 4), "Stands for several, ask EXPN");
/// No such recipient.
pub const UNKNOWN_RECIPIENT: Reply = Reply::fixed(550, (5, 1, 1), "No such recipient");
/// Mail for other domains from someone who did not log in.
pub const RELAY_DENIED: Reply = Reply::fixed(550, (5, 7, 1), "Relaying denied");
// RFC 3865 §2.4: the client was told that such mail is not wanted.
pub(crate) const SOLICITATION: Reply = Reply::fixed(550, (5, 7, 1), "Solicitations of this class are refused");
// RFC 2852 §4: less than the least time that is offered.
pub(crate) const DELIVER_BY_TOO_SOON: Reply = Reply::fixed(550, (5, 4, 7), "Less time than is offered");
/// The sender address belongs to someone else.
pub const SENDER_NOT_OWNED: Reply = Reply::fixed(550, (5, 7, 1), "Sender address is not yours");
pub(crate) const BARE_IN_TEXT: Reply = Reply::fixed(550, (5, 6, 0), "Message holds bare CR or LF; lines end with CRLF");
/// The message went round in circles.
pub const ROUTING_LOOP: Reply = Reply::fixed(554, (5, 4, 6), "Too many hops");
/// More than this mailbox may ever hold.
pub const OVER_QUOTA: Reply = Reply::fixed(552, (5, 2, 2), "Mailbox quota exceeded");
pub(crate) const MESSAGE_TOO_BIG: Reply = Reply::fixed(552, (5, 3, 4), "Message size exceeds fixed limit");
pub(crate) const NON_ASCII_ADDRESS: Reply = Reply::fixed(553, (5, 6, 7), "Non-ASCII addresses need SMTPUTF8");
pub(crate) const NO_RECIPIENTS: Reply = Reply::fixed(554, (5, 5, 1), "No valid recipients");
// RFC 2033 §4.2: in LMTP it is 503.
pub(crate) const NO_RECIPIENTS_LMTP: Reply = Reply::fixed(503, (5, 5, 1), "No valid recipients");
pub(crate) const TURNED_AWAY: Reply = Reply::fixed(503, (5, 5, 1), "No service for you here, say QUIT");
/// A domain of one word, which only means something where it was written (RFC 6409 §4.2).
pub const UNQUALIFIED: Reply = Reply::fixed(554, (5, 1, 2), "Domain is not fully qualified");
// RFC 6531 §3.7.4.2: the answer is not ASCII, and the client did not say that it takes that.
pub(crate) const ANSWER_IS_UTF8: Reply = Reply::fixed(252, (2, 6, 8), "The answer needs SMTPUTF8");
pub(crate) const EARLY_TALKER: Reply = Reply::fixed(554, (5, 5, 0), "Talked before the greeting");
pub(crate) const AFTER_STARTTLS: Reply = Reply::fixed(554, (5, 5, 1), "Octets behind STARTTLS, closing");
pub(crate) const UNKNOWN_CHUNK_SIZE: Reply = Reply::fixed(501, (5, 5, 4), "No chunk size, closing");
pub(crate) const UNKNOWN_PARAMETER: Reply = Reply::fixed(555, (5, 5, 4), "Parameter not recognized");

/// The reply to a line that is no command.
#[must_use]
pub fn command_error(error: CommandError) -> Reply {
    match error {
        CommandError::Unknown => UNRECOGNIZED,
        CommandError::NotImplemented => NOT_IMPLEMENTED,
        CommandError::Octets => BAD_OCTETS,
        CommandError::Arguments(_) => BAD_ARGUMENTS,
        CommandError::ReversePath(_) => BAD_SENDER,
        CommandError::ForwardPath(_) => BAD_RECIPIENT,
        CommandError::UnknownParameter => UNKNOWN_PARAMETER,
        CommandError::Parameter(_) => BAD_PARAMETER,
    }
}

/// Gathers a server's reply from its lines.
#[derive(Debug, Default)]
pub struct ReplyReader {
    code: Option<u16>,
    lines: Vec<String>,
    octets: usize,
}

/// A reply of one or more lines, as a client read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReply {
    /// 200 to 599.
    pub code: u16,
    /// Each line's text without its code, at least one.
    pub lines: Vec<String>,
}

/// Why a line is no part of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// No three digits, or something else than SP or `-` behind them.
    #[error("not a reply line")]
    Syntax,
    /// The code changed inside one reply.
    #[error("the code changed inside a reply")]
    Code,
    /// More octets than a reply may have.
    #[error("the reply is too long")]
    TooLong,
}

/// Octets of one whole reply, at most; far above any EHLO reply in use.
const REPLY_MAX: usize = 64 * 1024;

impl ReplyReader {
    /// Takes a line without its line end; gives the reply when this was its last line.
    ///
    /// # Errors
    /// See [`ReplyError`]; nothing sensible can be read after one.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<ServerReply>, ReplyError> {
        let (Some(digits), rest) = (line.get(..3), line.get(3..).unwrap_or_default()) else {
            return Err(ReplyError::Syntax);
        };
        // RFC 5321 §4.2: the first digit is 2 to 5, the others anything.
        if !matches!(digits, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9']) {
            return Err(ReplyError::Syntax);
        }
        let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        // RFC 5321 §4.2.1: `-` continues; a code alone is a last line too.
        let (last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(ReplyError::Syntax),
        };
        if self.code.is_some_and(|begun| begun != code) {
            return Err(ReplyError::Code);
        }
        // An empty line costs its bookkeeping too.
        self.octets += line.len() + 32;
        if self.octets > REPLY_MAX {
            return Err(ReplyError::TooLong);
        }
        self.code = Some(code);
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        if !last {
            return Ok(None);
        }
        self.code = None;
        self.octets = 0;
        Ok(Some(ServerReply { code, lines: std::mem::take(&mut self.lines) }))
    }
}

impl ServerReply {
    /// The reply as one value: the first line's enhanced code, the lines' texts joined.
    #[must_use]
    pub fn to_reply(&self) -> Reply {
        let mut enhanced = None;
        let mut text = String::new();
        for line in &self.lines {
            let rest = match EnhancedCode::split(line) {
                // RFC 3463 §2: the class agrees with the code's first digit, or the code means nothing.
                Some((code, rest)) if u16::from(code.class) == self.code / 100 => {
                    enhanced = enhanced.or(Some(code));
                    rest
                }
                _ => line,
            };
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(rest);
        }
        Reply { code: self.code, enhanced, text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply) -> String {
        let mut out = BytesMut::new();
        reply.write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_reply_is_one_clean_line() {
        assert_eq!(written(&OK), "250 2.0.0 OK\r\n");
        let wide = Reply::new(550, EnhancedCode::new(5, 7, 30), "x");
        assert_eq!(written(&wide), "550 5.7.30 x\r\n");
        let forged = Reply::new(550, EnhancedCode::new(5, 7, 1), "no\r\n250 2.0.0 yes\0");
        assert_eq!(written(&forged), "550 5.7.1 no  250 2.0.0 yes \r\n");
        let long = Reply::new(550, EnhancedCode::new(5, 7, 1), "\u{e9}".repeat(600));
        assert!(written(&long).len() <= REPLY_LINE);
    }

    #[test]
    fn an_answer_that_does_not_refuse_refuses() {
        assert_eq!(OK.refusing(), LOCAL_ERROR);
        assert_eq!(Reply::plain(999, "").refusing(), LOCAL_ERROR);
        assert_eq!(MAILBOX_FULL.refusing(), MAILBOX_FULL);
    }

    #[test]
    fn enhanced_codes_are_read_strictly() {
        assert_eq!(EnhancedCode::split("5.1.1 gone"), Some((EnhancedCode::new(5, 1, 1), "gone")));
        assert_eq!(EnhancedCode::split("2.0.0"), Some((EnhancedCode::new(2, 0, 0), "")));
        for bad in ["", "3.0.0 x", "5.1 x", "5.1.1.1 x", "5.1.1000 x", "5..1", "5.+1.1", "10.0.0.1 is blocked"] {
            assert_eq!(EnhancedCode::split(bad), None, "{bad}");
        }
    }

    #[test]
    fn replies_are_gathered_from_lines() {
        let mut reader = ReplyReader::default();
        assert_eq!(reader.line(b"250-a.example greets b"), Ok(None));
        assert_eq!(reader.line(b"250-SIZE 1000"), Ok(None));
        let reply = reader.line(b"250 HELP").unwrap().unwrap();
        assert_eq!(reply.lines, ["a.example greets b", "SIZE 1000", "HELP"]);
        let reply = reader.line(b"550-5.1.1 No such").unwrap().or_else(|| reader.line(b"550 5.1.1 user").unwrap());
        assert_eq!(reply.unwrap().to_reply(), Reply::new(550, EnhancedCode::new(5, 1, 1), "No such user"));
        assert_eq!(reader.line(b"354").unwrap().unwrap().code, 354);
        assert_eq!(reader.line(b"250-x"), Ok(None));
        assert_eq!(reader.line(b"251 x"), Err(ReplyError::Code));
    }

    #[test]
    fn lines_that_are_no_reply() {
        for line in [&b""[..], b"25", b"2x0 ok", b"150 x", b"650 x", b"250_x", b"hello"] {
            assert_eq!(ReplyReader::default().line(line), Err(ReplyError::Syntax), "{line:?}");
        }
        let mut reader = ReplyReader::default();
        let endless = (0..100_000).find_map(|_| reader.line(b"250-").err());
        assert_eq!(endless, Some(ReplyError::TooLong));
    }
}
