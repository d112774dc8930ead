//! Commands as a client sends them, parsed where they lie.
//!
//! RFC 1939 §3 (grammar), §5 to §7 (commands), RFC 1939 §9 (their list), RFC 2449 §3 to §5, RFC 2595 §4, RFC 5034 §4,
//! RFC 5034 §5 (grammar), RFC 6856 §2.1 and §3.
//!
//! A command is a keyword of three or four letters and arguments behind single spaces. The parser is a cursor over the
//! line without its line end; it allocates nothing, and every argument is a slice of the line.

/// A command, borrowing from its line.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// `APOP name digest`, RFC 1939 §7.
    Apop {
        /// The maildrop's name.
        name: &'a [u8],
        /// The MD5 digest the client computed.
        digest: [u8; 16],
    },
    /// `AUTH [mechanism [initial-response]]`, RFC 5034 §4. Without a mechanism it asks for the list.
    Auth(Option<Auth<'a>>),
    /// `CAPA`, RFC 2449 §5.
    Capa,
    /// `DELE msg`, RFC 1939 §5.
    Dele(u32),
    /// `LANG [range]`, RFC 6856 §3.
    Lang(Option<&'a [u8]>),
    /// `LIST [msg]`, RFC 1939 §5.
    List(Option<u32>),
    /// `NOOP`, RFC 1939 §5.
    Noop,
    /// `PASS string`, RFC 1939 §7: the rest of the line, spaces and all.
    Pass(&'a [u8]),
    /// `QUIT`, RFC 1939 §5 and §6.
    Quit,
    /// `RETR msg`, RFC 1939 §5.
    Retr(u32),
    /// `RSET`, RFC 1939 §5.
    Rset,
    /// `STAT`, RFC 1939 §5.
    Stat,
    /// `STLS`, RFC 2595 §4.
    Stls,
    /// `TOP msg n`, RFC 1939 §7: the message's number, and how many lines of its body.
    Top(u32, u64),
    /// `UIDL [msg]`, RFC 1939 §7.
    Uidl(Option<u32>),
    /// `USER name`, RFC 1939 §7.
    User(&'a [u8]),
    /// `UTF8`, RFC 6856 §2.1.
    Utf8,
}

/// The arguments of AUTH.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// The mechanism's name.
    pub mechanism: &'a [u8],
    /// The initial response, still in base64; `=` for an empty one.
    pub initial: Option<&'a [u8]>,
}

impl Command<'_> {
    /// The keyword, in upper case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Command::Apop { .. } => "APOP",
            Command::Auth(_) => "AUTH",
            Command::Capa => "CAPA",
            Command::Dele(_) => "DELE",
            Command::Lang(_) => "LANG",
            Command::List(_) => "LIST",
            Command::Noop => "NOOP",
            Command::Pass(_) => "PASS",
            Command::Quit => "QUIT",
            Command::Retr(_) => "RETR",
            Command::Rset => "RSET",
            Command::Stat => "STAT",
            Command::Stls => "STLS",
            Command::Top(..) => "TOP",
            Command::Uidl(_) => "UIDL",
            Command::User(_) => "USER",
            Command::Utf8 => "UTF8",
        }
    }
}

impl std::fmt::Debug for Command<'_> {
    /// Shows numbers only: names and passwords stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        match self {
            Command::Dele(number) | Command::Retr(number) => write!(f, " {number}"),
            Command::List(Some(number)) | Command::Uidl(Some(number)) => write!(f, " {number}"),
            Command::Top(number, lines) => write!(f, " {number} {lines}"),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Auth<'_> {
    /// Shows neither the mechanism nor the response.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth")
    }
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// What is wrong.
    pub kind: CommandErrorKind,
    /// Where, in octets from the line's beginning.
    pub offset: usize,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommandErrorKind {
    /// The keyword is none this server knows.
    Unknown,
    /// An argument is missing.
    Missing,
    /// There is an argument too many.
    Extra,
    /// A number was expected here.
    Number,
    /// An argument that is not of its form, such as a digest that is not hexadecimal.
    Form,
}

/// Parses one line, given without its line end.
///
/// # Errors
/// [`CommandError`] says what is wrong and where. A number too large for a message number parses as `u32::MAX`, which no
/// maildrop reaches: to the client it is a message that is not there.
pub fn parse(line: &[u8]) -> Result<Command<'_>, CommandError> {
    let mut cursor = Cursor { line, at: 0 };
    // RFC 1939 §3: keywords are not case-sensitive, and three or four characters long.
    let command = match &cursor.keyword()? {
        b"APOP" => Command::Apop { name: cursor.argument()?, digest: cursor.digest()? },
        b"AUTH" => Command::Auth(cursor.auth()?),
        b"CAPA" => Command::Capa,
        b"DELE" => Command::Dele(cursor.message()?),
        b"LANG" => Command::Lang(cursor.optional()),
        b"LIST" => Command::List(cursor.optional_message()?),
        b"NOOP" => Command::Noop,
        // RFC 1939 §7: PASS has exactly one argument, so a space is part of the password.
        b"PASS" => return cursor.rest().map(Command::Pass),
        b"QUIT" => Command::Quit,
        b"RETR" => Command::Retr(cursor.message()?),
        b"RSET" => Command::Rset,
        b"STAT" => Command::Stat,
        b"STLS" => Command::Stls,
        b"TOP\0" => Command::Top(cursor.message()?, cursor.lines()?),
        b"UIDL" => Command::Uidl(cursor.optional_message()?),
        // A name may hold spaces too: the argument is the rest of the line.
        b"USER" => return cursor.rest().map(Command::User),
        b"UTF8" => Command::Utf8,
        _ => return Err(CommandError { kind: CommandErrorKind::Unknown, offset: 0 }),
    };
    cursor.end()?;
    Ok(command)
}

struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    fn error<T>(&self, kind: CommandErrorKind) -> Result<T, CommandError> {
        Err(CommandError { kind, offset: self.at })
    }

    /// The keyword in upper case; NUL stands for the letter that three-letter keywords lack.
    fn keyword(&mut self) -> Result<[u8; 4], CommandError> {
        let mut keyword = [0; 4];
        let len = memchr::memchr(b' ', self.line).unwrap_or(self.line.len());
        let (Some(word), true) = (self.line.get(..len), len <= keyword.len()) else {
            return self.error(CommandErrorKind::Unknown);
        };
        for (to, from) in keyword.iter_mut().zip(word) {
            if !from.is_ascii_alphanumeric() {
                return self.error(CommandErrorKind::Unknown);
            }
            *to = from.to_ascii_uppercase();
        }
        self.at = len;
        Ok(keyword)
    }

    /// The next argument up to a space, when there is one. Spaces at the end of the line are none.
    fn optional(&mut self) -> Option<&'a [u8]> {
        let left = self.left();
        let start = left.iter().position(|&octet| octet != b' ').filter(|&start| start > 0)?;
        let word = left.get(start..)?;
        let len = memchr::memchr(b' ', word).unwrap_or(word.len());
        self.at += start + len;
        word.get(..len)
    }

    fn argument(&mut self) -> Result<&'a [u8], CommandError> {
        match self.optional() {
            Some(argument) => Ok(argument),
            None => self.error(CommandErrorKind::Missing),
        }
    }

    /// Everything behind the one space that follows the keyword.
    fn rest(&mut self) -> Result<&'a [u8], CommandError> {
        match self.left().split_first() {
            Some((b' ', rest)) => Ok(rest),
            _ => self.error(CommandErrorKind::Missing),
        }
    }

    fn message(&mut self) -> Result<u32, CommandError> {
        let digits = self.argument()?;
        Ok(u32::try_from(self.number(digits)?).unwrap_or(u32::MAX))
    }

    fn optional_message(&mut self) -> Result<Option<u32>, CommandError> {
        match self.optional() {
            Some(digits) => Ok(Some(u32::try_from(self.number(digits)?).unwrap_or(u32::MAX))),
            None => Ok(None),
        }
    }

    fn lines(&mut self) -> Result<u64, CommandError> {
        let digits = self.argument()?;
        self.number(digits)
    }

    /// A decimal number; one that does not fit becomes the largest.
    fn number(&self, digits: &[u8]) -> Result<u64, CommandError> {
        let mut value = 0u64;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return Err(CommandError { kind: CommandErrorKind::Number, offset: self.at - digits.len() });
            }
            value = value.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        }
        Ok(value)
    }

    /// RFC 1939 §7: a digest of sixteen octets in hexadecimal, sent in lower case. Upper case means the same.
    fn digest(&mut self) -> Result<[u8; 16], CommandError> {
        let text = self.argument()?;
        let mut digest = [0; 16];
        let mut pairs = text.chunks_exact(2);
        for (octet, pair) in digest.iter_mut().zip(&mut pairs) {
            let (Some(high), Some(low)) = (pair.first().and_then(hex), pair.last().and_then(hex)) else {
                return self.error(CommandErrorKind::Form);
            };
            *octet = high << 4 | low;
        }
        if text.len() == 32 { Ok(digest) } else { self.error(CommandErrorKind::Form) }
    }

    fn auth(&mut self) -> Result<Option<Auth<'a>>, CommandError> {
        let Some(mechanism) = self.optional() else { return Ok(None) };
        Ok(Some(Auth { mechanism, initial: self.optional() }))
    }

    fn end(&mut self) -> Result<(), CommandError> {
        match self.optional() {
            Some(_) => self.error(CommandErrorKind::Extra),
            None => Ok(()),
        }
    }
}

fn hex(digit: &u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CommandErrorKind::{Extra, Form, Missing, Number, Unknown};

    #[test]
    fn commands_parse_in_any_case() {
        assert_eq!(parse(b"quit"), Ok(Command::Quit));
        assert_eq!(parse(b"Retr 12"), Ok(Command::Retr(12)));
        assert_eq!(parse(b"TOP 1 0"), Ok(Command::Top(1, 0)));
        assert_eq!(parse(b"top 3 18446744073709551616"), Ok(Command::Top(3, u64::MAX)));
        assert_eq!(parse(b"LIST"), Ok(Command::List(None)));
        assert_eq!(parse(b"LIST "), Ok(Command::List(None)));
        assert_eq!(parse(b"LIST 2"), Ok(Command::List(Some(2))));
        assert_eq!(parse(b"uidl 99999999999"), Ok(Command::Uidl(Some(u32::MAX))));
        assert_eq!(parse(b"LANG *"), Ok(Command::Lang(Some(b"*"))));
        assert_eq!(parse(b"utf8"), Ok(Command::Utf8));
    }

    /// One peer splits PASS at spaces, so users whose passwords hold one could never log in.
    #[test]
    fn pass_takes_the_rest_of_the_line() {
        assert_eq!(parse(b"PASS  two  spaces "), Ok(Command::Pass(b" two  spaces ")));
        assert_eq!(parse(b"PASS "), Ok(Command::Pass(b"")));
        assert_eq!(parse(b"USER tim smith"), Ok(Command::User(b"tim smith")));
        assert_eq!(parse(b"PASS").unwrap_err().kind, Missing);
    }

    #[test]
    fn auth_takes_an_initial_response() {
        let auth = |mechanism, initial| Ok(Command::Auth(Some(Auth { mechanism, initial })));
        assert_eq!(parse(b"AUTH"), Ok(Command::Auth(None)));
        assert_eq!(parse(b"AUTH PLAIN"), auth(b"PLAIN".as_slice(), None));
        assert_eq!(parse(b"AUTH EXTERNAL ="), auth(b"EXTERNAL".as_slice(), Some(b"=".as_slice())));
        assert_eq!(parse(b"AUTH PLAIN AHQ= x").unwrap_err().kind, Extra);
    }

    #[test]
    fn apop_wants_a_digest() {
        let digest = *b"\xc4\xc9\x33\x4b\xac\x56\x0e\xcc\x97\x9e\x58\x00\x1b\x3e\x22\xfb";
        assert_eq!(parse(b"APOP mrose c4c9334bac560ecc979e58001b3e22fb"), Ok(Command::Apop { name: b"mrose", digest }));
        assert_eq!(parse(b"APOP mrose c4c9334bac560ecc979e58001b3e22f").unwrap_err().kind, Form);
        assert_eq!(parse(b"APOP mrose c4c9334bac560ecc979e58001b3e22fb0").unwrap_err().kind, Form);
        assert_eq!(parse(b"APOP mrose").unwrap_err().kind, Missing);
    }

    #[test]
    fn errors_say_what_and_where() {
        let error = |line, kind, offset| assert_eq!(parse(line), Err(CommandError { kind, offset }), "{line:?}");
        error(b"", Unknown, 0);
        error(b" STAT", Unknown, 0);
        error(b"LAST", Unknown, 0);
        error(b"QUITE", Unknown, 0);
        error(b"\xff\xfe\0", Unknown, 0);
        error(b"STAT x", Extra, 6);
        error(b"RETR", Missing, 4);
        error(b"RETR one", Number, 5);
        error(b"RETR -1", Number, 5);
        error(b"TOP 1", Missing, 5);
        error(b"TOP 1 2 3", Extra, 9);
    }

    #[test]
    fn debug_prints_no_secrets() {
        let shown = format!("{:?} {:?}", parse(b"PASS hunter2").unwrap(), parse(b"AUTH PLAIN aHVudGVyMg==").unwrap());
        assert_eq!(shown, "PASS AUTH");
    }
}
