//! Commands, parsed in place: no allocation, nothing copied.
//!
//! RFC 5321 §4.1.1, with the arguments of RFC 1870, 2033, 2852, 3030, 3207, 3461, 3865, 4865, 4954, 6152, 6531, 6710,
//! 7293 and 8689. The verb is folded
//! into one integer and compared once; arguments are walked by a hand cursor. A [`Command`] borrows the line it was
//! parsed from.

pub mod params;

use crate::address::{Cursor, ForwardPath, Grammar, ReversePath, SyntaxError};
use crate::config::Extensions;
use params::{MailParameters, RcptParameters};

/// One command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// `EHLO domain`.
    Ehlo(&'a str),
    /// `HELO domain`.
    Helo(&'a str),
    /// `LHLO domain` (RFC 2033 §4.1).
    Lhlo(&'a str),
    /// `MAIL FROM:<path> parameters`.
    Mail(ReversePath<'a>, MailParameters<'a>),
    /// `RCPT TO:<path> parameters`.
    Rcpt(ForwardPath<'a>, RcptParameters<'a>),
    /// `DATA`.
    Data,
    /// `BDAT size [LAST]` (RFC 3030 §2).
    Bdat {
        /// Octets that follow the command line.
        size: u64,
        /// Whether the message ends with them.
        last: bool,
    },
    /// `RSET`.
    Rset,
    /// `NOOP`, with or without a string.
    Noop,
    /// `QUIT`.
    Quit,
    /// `VRFY string`.
    Vrfy(&'a str),
    /// `EXPN string`.
    Expn(&'a str),
    /// `HELP`, with or without a string.
    Help,
    /// `STARTTLS` (RFC 3207 §4).
    StartTls,
    /// `XCLIENT attribute=value…` (Postfix's XCLIENT_README).
    XClient(&'a str),
    /// `XFORWARD attribute=value…` (Postfix's XFORWARD_README).
    XForward(&'a str),
    /// `AUTH mechanism [initial-response]` (RFC 4954 §4).
    Auth {
        /// The mechanism's name as it was written.
        mechanism: &'a str,
        /// The initial response, still in base64; `=` stands for an empty one.
        initial: Option<&'a str>,
    },
}

/// Why a line is no command this server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No verb of any SMTP.
    #[error("unrecognized command")]
    Unknown,
    /// A verb that exists, but not here.
    #[error("command not implemented")]
    NotImplemented,
    /// Octets that stand in no command: controls, bare CR, what is not UTF-8.
    #[error("octets that no command has")]
    Octets,
    /// Arguments missing, malformed, or where none may be.
    #[error("bad arguments: {0}")]
    Arguments(SyntaxError),
    /// The path of MAIL is malformed or too long.
    #[error("bad reverse-path: {0}")]
    ReversePath(SyntaxError),
    /// The path of RCPT is malformed or too long.
    #[error("bad forward-path: {0}")]
    ForwardPath(SyntaxError),
    /// A parameter of MAIL or RCPT that was not offered.
    #[error("unknown parameter")]
    UnknownParameter,
    /// A parameter that is known, with a value that is not, or given twice.
    #[error("bad parameter: {0}")]
    Parameter(SyntaxError),
}

/// A verb as an integer: its octets in upper case, first one highest.
const fn verb(name: &[u8]) -> u64 {
    let mut folded = 0;
    let mut rest = name;
    while let [octet, tail @ ..] = rest {
        folded = folded << 8 | octet.to_ascii_uppercase() as u64;
        rest = tail;
    }
    folded
}

const EHLO: u64 = verb(b"EHLO");
const HELO: u64 = verb(b"HELO");
const LHLO: u64 = verb(b"LHLO");
const MAIL: u64 = verb(b"MAIL");
const RCPT: u64 = verb(b"RCPT");
const DATA: u64 = verb(b"DATA");
const BDAT: u64 = verb(b"BDAT");
const RSET: u64 = verb(b"RSET");
const NOOP: u64 = verb(b"NOOP");
const QUIT: u64 = verb(b"QUIT");
const VRFY: u64 = verb(b"VRFY");
const EXPN: u64 = verb(b"EXPN");
const HELP: u64 = verb(b"HELP");
const STARTTLS: u64 = verb(b"STARTTLS");
const AUTH: u64 = verb(b"AUTH");
const XCLIENT: u64 = verb(b"XCLIENT");
const XFORWARD: u64 = verb(b"XFORWARD");

/// RFC 5321 §4.2.4: verbs that some SMTP knows and this server does not run are 502, all others 500.
const NOT_IMPLEMENTED: [u64; 11] = [
    verb(b"ETRN"),
    verb(b"ATRN"),
    verb(b"BURL"),
    verb(b"TURN"),
    verb(b"SEND"),
    verb(b"SOML"),
    verb(b"SAML"),
    verb(b"VERB"),
    verb(b"ONEX"),
    XCLIENT,
    XFORWARD,
];

impl<'a> Command<'a> {
    /// Parses a line, its line end already cut off.
    ///
    /// `extensions` are the ones in force: parameters of others are unknown.
    ///
    /// # Errors
    /// See [`CommandError`]; [`crate::reply::command_error`] has the reply for each.
    pub fn parse(line: &'a [u8], extensions: Extensions, grammar: Grammar) -> Result<Command<'a>, CommandError> {
        // Four letters that are a whole command need no more looking at.
        if let [a, b, c, d] = line {
            match verb(&[*a, *b, *c, *d]) {
                NOOP => return Ok(Command::Noop),
                RSET => return Ok(Command::Rset),
                DATA => return Ok(Command::Data),
                QUIT => return Ok(Command::Quit),
                _ => {}
            }
        }
        let line = std::str::from_utf8(line).map_err(|_| CommandError::Octets)?;
        if has_controls(line) {
            return Err(CommandError::Octets);
        }
        // RFC 5321 §4.1.1: white space before the line end is tolerated. All that is left of it are spaces and tabs.
        let line = line.trim_ascii_end();
        let mut cursor = Cursor::new(line);
        let name = match line.as_bytes() {
            // Nearly every verb has four letters.
            [a, b, c, d] | [a, b, c, d, b' ', ..] => {
                cursor.advance(4);
                verb(&[*a, *b, *c, *d])
            }
            _ => {
                let name = cursor.take_while(|octet| octet != b' ');
                if name.len() > 8 {
                    return Err(CommandError::Unknown);
                }
                verb(name.as_bytes())
            }
        };
        let arguments = Arguments { cursor, extensions, grammar };
        match name {
            MAIL => arguments.mail(),
            RCPT => arguments.rcpt(),
            DATA => arguments.none(Command::Data),
            BDAT => arguments.bdat(),
            EHLO => arguments.text().map(Command::Ehlo),
            HELO => arguments.text().map(Command::Helo),
            LHLO => arguments.text().map(Command::Lhlo),
            RSET => arguments.none(Command::Rset),
            NOOP => Ok(Command::Noop),
            QUIT => arguments.none(Command::Quit),
            VRFY => arguments.text().map(Command::Vrfy),
            EXPN => arguments.text().map(Command::Expn),
            HELP => Ok(Command::Help),
            STARTTLS => arguments.none(Command::StartTls),
            AUTH => arguments.auth(),
            XCLIENT if extensions.contains(Extensions::XCLIENT) => arguments.text().map(Command::XClient),
            XFORWARD if extensions.contains(Extensions::XFORWARD) => arguments.text().map(Command::XForward),
            known if NOT_IMPLEMENTED.contains(&known) => Err(CommandError::NotImplemented),
            _ => Err(CommandError::Unknown),
        }
    }
}

/// Whether there are octets that stand in no command: controls other than the tab.
fn has_controls(line: &str) -> bool {
    let line = line.as_bytes();
    let (words, rest) = line.as_chunks::<8>();
    // Nearly every line has letters only, and eight of them are told at once; the last eight may overlap.
    let plain = match line.last_chunk::<8>() {
        Some(last) => words.iter().all(is_plain) && is_plain(last),
        None => rest.iter().all(|octet| (b' '..0x7f).contains(octet)),
    };
    !plain && line.iter().any(|octet| octet.is_ascii_control() && *octet != b'\t')
}

/// Whether eight octets are all of US-ASCII and none a control.
fn is_plain(octets: &[u8; 8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(*octets);
    // The top bit of an octet shows: by itself when above 127, by a borrow when below a space, by a carry when DEL. Where
    // one octet borrows from or carries into the next, the one itself shows.
    (word | word.wrapping_sub(EACH * 0x20) | word.wrapping_add(EACH)) & (EACH * 0x80) == 0
}

/// What follows a verb.
struct Arguments<'a> {
    cursor: Cursor<'a>,
    extensions: Extensions,
    grammar: Grammar,
}

impl<'a> Arguments<'a> {
    // RFC 5321 §4.1.1.4, RFC 3207 §4: DATA, RSET, QUIT and STARTTLS take no arguments.
    fn none(self, command: Command<'a>) -> Result<Command<'a>, CommandError> {
        if self.cursor.is_end() { Ok(command) } else { Err(CommandError::Arguments(self.cursor.unexpected())) }
    }

    fn text(mut self) -> Result<&'a str, CommandError> {
        self.cursor.take_spaces();
        let text = self.cursor.rest();
        if text.is_empty() || (!self.grammar.utf8 && !text.is_ascii()) {
            return Err(CommandError::Arguments(self.cursor.unexpected()));
        }
        Ok(text)
    }

    fn mail(mut self) -> Result<Command<'a>, CommandError> {
        self.prefix("FROM:")?;
        let path = self.cursor.reverse_path(self.grammar).map_err(CommandError::ReversePath)?;
        let parameters = MailParameters::parse(&mut self.cursor, self.extensions)?;
        Ok(Command::Mail(path, parameters))
    }

    fn rcpt(mut self) -> Result<Command<'a>, CommandError> {
        self.prefix("TO:")?;
        let path = self.cursor.forward_path(self.grammar).map_err(CommandError::ForwardPath)?;
        let parameters = RcptParameters::parse(&mut self.cursor, self.extensions)?;
        Ok(Command::Rcpt(path, parameters))
    }

    /// `SP FROM:`, and the spaces behind the colon that many clients send.
    // Deviation from RFC 5321 §3.3: spaces behind the colon are not permitted there; every large server takes them.
    fn prefix(&mut self, word: &str) -> Result<(), CommandError> {
        self.cursor.expect(b' ').map_err(CommandError::Arguments)?;
        self.cursor.take_spaces();
        if !self.cursor.take_word(word) {
            return Err(CommandError::Arguments(self.cursor.unexpected()));
        }
        self.cursor.take_spaces();
        Ok(())
    }

    // RFC 3030 §2: BDAT chunk-size, in octets, and LAST on the final one.
    fn bdat(mut self) -> Result<Command<'a>, CommandError> {
        self.cursor.expect(b' ').map_err(CommandError::Arguments)?;
        self.cursor.take_spaces();
        let bad = CommandError::Arguments(self.cursor.unexpected());
        let digits = self.cursor.take_while(|octet| octet.is_ascii_digit());
        let size = digits.parse().map_err(|_| bad)?;
        let last = self.cursor.take(b' ') && {
            self.cursor.take_spaces();
            self.cursor.take_word("LAST")
        };
        self.none(Command::Bdat { size, last })
    }

    // RFC 4954 §4: a mechanism's name has 1 to 20 octets; the initial response is base64 or "=".
    fn auth(mut self) -> Result<Command<'a>, CommandError> {
        self.cursor.expect(b' ').map_err(CommandError::Arguments)?;
        self.cursor.take_spaces();
        let mechanism = self.cursor.take_while(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_');
        if !(1..=20).contains(&mechanism.len()) {
            return Err(CommandError::Arguments(self.cursor.unexpected()));
        }
        let mut initial = None;
        if self.cursor.take(b' ') {
            self.cursor.take_spaces();
            initial = Some(self.cursor.take_while(|octet| octet != b' '));
        }
        self.none(Command::Auth { mechanism, initial })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::params::{Body, Hold, Notify, Priority, Ret};

    fn parse(line: &str) -> Result<Command<'_>, CommandError> {
        let trusted = Extensions::REGISTERED | Extensions::XCLIENT | Extensions::XFORWARD;
        Command::parse(line.as_bytes(), Extensions::all() - trusted, Grammar::default())
    }

    #[test]
    fn verbs_in_any_case() {
        assert_eq!(parse("ehlo client.example"), Ok(Command::Ehlo("client.example")));
        assert_eq!(parse("HeLo x"), Ok(Command::Helo("x")));
        assert_eq!(parse("LHLO [127.0.0.1]"), Ok(Command::Lhlo("[127.0.0.1]")));
        assert_eq!(parse("data"), Ok(Command::Data));
        assert_eq!(parse("RSET  \t"), Ok(Command::Rset));
        assert_eq!(parse("NOOP whatever you like"), Ok(Command::Noop));
        assert_eq!(parse("quit"), Ok(Command::Quit));
        assert_eq!(parse("VRFY Crispin"), Ok(Command::Vrfy("Crispin")));
        assert_eq!(parse("EXPN Example-People"), Ok(Command::Expn("Example-People")));
        assert_eq!(parse("HELP"), Ok(Command::Help));
        assert_eq!(parse("help data"), Ok(Command::Help));
        assert_eq!(parse("StartTLS"), Ok(Command::StartTls));
        assert_eq!(parse("BDAT 86 LAST"), Ok(Command::Bdat { size: 86, last: true }));
        assert_eq!(parse("bdat 0"), Ok(Command::Bdat { size: 0, last: false }));
    }

    #[test]
    fn unknown_verbs_and_unimplemented_ones() {
        for line in ["", " ", "FOO", "MAILFROM:<a@b>", "EHLOx", "\tEHLO x", "STARTTLSX", "UTTERNONSENSE"] {
            assert_eq!(parse(line), Err(CommandError::Unknown), "{line:?}");
        }
        for line in ["ETRN example.org", "TURN", "SOML FROM:<a@b>", "xclient NAME=x"] {
            assert_eq!(parse(line), Err(CommandError::NotImplemented), "{line:?}");
        }
    }

    #[test]
    fn octets_no_command_has() {
        for line in [&b"NOOP \0"[..], b"NO\rOP", b"MAIL FROM:<a\r@b>", b"EHLO \xff", b"\xc3\x28", b"NOOP \x7f"] {
            assert_eq!(
                Command::parse(line, Extensions::all(), Grammar::default()),
                Err(CommandError::Octets),
                "{line:?}"
            );
        }
    }

    #[test]
    fn controls_are_seen_at_every_place_of_every_length() {
        for len in 1..40 {
            for at in 0..len {
                for octet in 0..=0x7f_u8 {
                    let mut line = vec![b'x'; len];
                    line[at] = octet;
                    let expected = octet.is_ascii_control() && octet != b'\t';
                    assert_eq!(has_controls(str::from_utf8(&line).unwrap()), expected, "{octet} at {at} of {len}");
                }
            }
            let wide = "\u{e9}".repeat(len);
            assert!(!has_controls(&wide) && has_controls(&(wide.clone() + "\r")) && !has_controls(&(wide + "\t")));
        }
    }

    #[test]
    fn arguments_missing_or_too_many() {
        for line in [
            "EHLO",
            "HELO ",
            "MAIL",
            "MAIL <a@b>",
            "MAIL TO:<a@b>",
            "MAILX",
            "RCPT",
            "RCPT FROM:<a@b>",
            "DATA x",
            "STARTTLS x",
            "RSET x",
            "QUIT x",
            "VRFY",
            "EXPN",
            "BDAT",
            "BDAT x",
            "BDAT -1",
            "BDAT 1 LASTS",
            "BDAT 1LAST",
            "BDAT 99999999999999999999999",
            "AUTH",
            "AUTH PLAIN x y",
            "AUTH PL@IN",
            "AUTH ABCDEFGHIJKLMNOPQRSTU",
        ] {
            assert!(matches!(parse(line), Err(CommandError::Arguments(_) | CommandError::Unknown)), "{line:?}");
        }
    }

    #[test]
    fn mail_with_every_parameter() {
        let line = "MAIL FROM:<\"a b\"@example.org> SIZE=1000 BODY=8BITMIME AUTH=e+3Dmc2@example.com RET=HDRS ENVID=QQ+20 SMTPUTF8";
        let Ok(Command::Mail(ReversePath::Mailbox(mailbox), parameters)) = parse(line) else {
            panic!("{:?}", parse(line))
        };
        assert_eq!(mailbox.as_str(), "\"a b\"@example.org");
        assert_eq!(parameters.size, Some(1000));
        assert_eq!(parameters.body, Some(Body::EightBitMime));
        assert_eq!(parameters.auth.map(|auth| auth.to_string()).as_deref(), Some("e=mc2@example.com"));
        assert_eq!(parameters.ret, Some(Ret::Headers));
        assert_eq!(parameters.envid.map(|id| id.to_string()).as_deref(), Some("QQ "));
        assert!(parameters.smtputf8);
        assert!(matches!(parse("mail from:<>"), Ok(Command::Mail(ReversePath::Null, _))));
        assert!(matches!(parse("MAIL FROM: <a@b>"), Ok(Command::Mail(..))));
    }

    #[test]
    fn mail_with_schedules() {
        let line =
            "MAIL FROM:<a@b> requiretls BY=120;RT MT-PRIORITY=-3 HOLDFOR=60 SOLICIT=net.example:ADV,org.example:X";
        let Ok(Command::Mail(_, parameters)) = parse(line) else { panic!("{:?}", parse(line)) };
        assert!(parameters.require_tls && parameters.others.is_empty());
        assert_eq!(parameters.deliver_by.map(|by| by.to_string()).as_deref(), Some("120;RT"));
        assert_eq!(parameters.priority.map(Priority::value), Some(-3));
        assert_eq!(parameters.hold, Some(Hold::For(60)));
        assert_eq!(parameters.solicit, Some("net.example:ADV,org.example:X"));
        let line = "RCPT TO:<a@b> RRVS=2026-11-22T22:53:59Z;C";
        let Ok(Command::Rcpt(_, parameters)) = parse(line) else { panic!("{:?}", parse(line)) };
        assert_eq!(parameters.valid_since.map(|it| it.to_string()).as_deref(), Some("2026-11-22T22:53:59Z;C"));
    }

    /// Parameters of registered extensions are kept as they stand, among those known here.
    #[test]
    fn parameters_of_others() {
        let parse = |line| Command::parse(line, Extensions::SIZE | Extensions::REGISTERED, Grammar::default());
        let Ok(Command::Mail(_, parameters)) = parse(b"MAIL FROM:<a@b> XONE SIZE=5 xtwo=2;3 XONE=x") else { panic!() };
        assert_eq!(parameters.size, Some(5));
        let others: Vec<_> = parameters.others.iter().collect();
        assert_eq!(others, [("XONE", None), ("xtwo", Some("2;3")), ("XONE", Some("x"))]);
        let Ok(Command::Rcpt(_, parameters)) = parse(b"RCPT TO:<a@b> SIZE=5") else { panic!() };
        assert_eq!(parameters.others.iter().collect::<Vec<_>>(), [("SIZE", Some("5"))]);
        for known in [&b"MAIL FROM:<a@b> BODY=7BIT"[..], b"MAIL FROM:<a@b> X BY=1;R", b"RCPT TO:<a@b> NOTIFY=NEVER"] {
            assert_eq!(parse(known), Err(CommandError::UnknownParameter), "known, but not offered");
        }
        assert!(matches!(parse(b"MAIL FROM:<a@b> XONE="), Err(CommandError::Parameter(_))));
    }

    #[test]
    fn rcpt_with_every_parameter() {
        let line = "RCPT TO:<a@b> NOTIFY=SUCCESS,delay ORCPT=rfc822;Bob+2B@b";
        let Ok(Command::Rcpt(ForwardPath::Mailbox(mailbox), parameters)) = parse(line) else { panic!() };
        assert_eq!(mailbox.domain(), "b");
        assert_eq!(parameters.notify, Some(Notify::SUCCESS | Notify::DELAY));
        assert_eq!(parameters.orcpt.unwrap().address_type, "rfc822");
        assert_eq!(parameters.orcpt.unwrap().address.to_string(), "Bob+@b");
        assert!(matches!(parse("RCPT TO:<pOSTmaster>"), Ok(Command::Rcpt(ForwardPath::Postmaster, _))));
        assert!(matches!(parse("RCPT TO:<Postmaster> NOTIFY=NEVER"), Ok(Command::Rcpt(..))));
    }

    #[test]
    fn paths_out_of_grammar() {
        for line in ["MAIL FROM:a@b", "MAIL FROM:<a@b", "MAIL FROM:<a b@c>", "MAIL FROM:<@a>", "MAIL FROM:< >"] {
            assert!(matches!(parse(line), Err(CommandError::ReversePath(_))), "{line:?}");
        }
        for line in ["RCPT TO:<>", "RCPT TO:<a>", "RCPT TO:<Postmaster", "RCPT TO:<a@b@c>"] {
            assert!(matches!(parse(line), Err(CommandError::ForwardPath(_))), "{line:?}");
        }
        assert!(matches!(parse("MAIL FROM:<a@b>x"), Err(CommandError::Parameter(_))));
    }

    #[test]
    fn parameters_unknown_bad_or_twice() {
        for line in
            ["MAIL FROM:<a@b> FOO", "MAIL FROM:<a@b> FOO=BAR", "RCPT TO:<a@b> SIZE=1", "MAIL FROM:<> NOTIFY=NEVER"]
        {
            assert_eq!(parse(line), Err(CommandError::UnknownParameter), "{line:?}");
        }
        for line in [
            "MAIL FROM:<a@b> SIZE",
            "MAIL FROM:<a@b> SIZE=x",
            "MAIL FROM:<a@b> SIZE=123456789012345678901",
            "MAIL FROM:<a@b> SIZE=1 SIZE=1",
            "MAIL FROM:<a@b> BODY=9BIT",
            "MAIL FROM:<a@b> RET=",
            "MAIL FROM:<a@b> AUTH=a+zz",
            "MAIL FROM:<a@b> SMTPUTF8=1",
            "MAIL FROM:<a@b> REQUIRETLS=1",
            "MAIL FROM:<a@b> REQUIRETLS REQUIRETLS",
            "MAIL FROM:<a@b> BY=0;R",
            "MAIL FROM:<a@b> MT-PRIORITY=10",
            "MAIL FROM:<a@b> HOLDFOR=1 HOLDUNTIL=2026-11-22T22:53:59Z",
            "MAIL FROM:<a@b> HOLDUNTIL=tomorrow",
            "MAIL FROM:<a@b> SOLICIT=a,,b",
            "MAIL FROM:<a@b> SOLICIT=1a",
            "RCPT TO:<a@b> RRVS=2026-11-22",
            "RCPT TO:<a@b> RRVS",
            "MAIL FROM:<a@b> =x",
            "MAIL FROM:<a@b> -X=1",
            "MAIL FROM:<a@b> ENVID=a=b",
            "RCPT TO:<a@b> NOTIFY=NEVER,SUCCESS",
            "RCPT TO:<a@b> NOTIFY=",
            "RCPT TO:<a@b> ORCPT=a@b",
            "RCPT TO:<a@b> ORCPT=;x",
            "RCPT TO:<a@b> NOTIFY=SUCCESS,,DELAY",
        ] {
            assert!(matches!(parse(line), Err(CommandError::Parameter(_))), "{line:?} {:?}", parse(line));
        }
        let none = Command::parse(b"MAIL FROM:<a@b> RET=FULL", Extensions::SIZE, Grammar::default());
        assert_eq!(none, Err(CommandError::UnknownParameter));
    }

    #[test]
    fn auth_with_and_without_initial_response() {
        assert_eq!(parse("AUTH PLAIN"), Ok(Command::Auth { mechanism: "PLAIN", initial: None }));
        assert_eq!(parse("auth scram-sha-256 ="), Ok(Command::Auth { mechanism: "scram-sha-256", initial: Some("=") }));
        assert_eq!(parse("AUTH PLAIN AGE="), Ok(Command::Auth { mechanism: "PLAIN", initial: Some("AGE=") }));
    }
}
