//! The parameters of MAIL and RCPT, typed, borrowed from the command.
//!
//! RFC 5321 §4.1.2 (esmtp-param), RFC 1870 §6, RFC 2852 §4, RFC 3461 §4, RFC 3865 §2.3, RFC 4865 §3, RFC 4954 §5,
//! RFC 6152 §3, RFC 6531 §3.4, RFC 6710 §3, RFC 7293 §3.1, RFC 8689 §2. A parameter of an extension that was not offered
//! is unknown, as RFC 5321 §4.1.1.11 has it; with [`Extensions::REGISTERED`] it is kept for whoever knows it
//! ([`Others`]).

mod schedule;

use std::fmt;

use super::CommandError;
use crate::address::{Cursor, Grammar, Mailbox, SyntaxError, is_esmtp_value, is_let_dig_hyp};
use crate::config::Extensions;
pub use schedule::{ByMode, DeliverBy, Hold, Priority, Unsupported, ValidSince};

/// What may follow the reverse-path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailParameters<'a> {
    /// RFC 1870 §6: the declared size in octets.
    pub size: Option<u64>,
    /// RFC 6152 §3, RFC 3030 §3: what the body's octets may be.
    pub body: Option<Body>,
    /// RFC 4954 §5: who submitted the message first.
    pub auth: Option<Xtext<'a>>,
    /// RFC 3461 §4.3: how much of the message a report returns.
    pub ret: Option<Ret>,
    /// RFC 3461 §4.4: the sender's name for this message.
    pub envid: Option<Xtext<'a>>,
    /// RFC 6531 §3.4: addresses or headers hold UTF-8.
    pub smtputf8: bool,
    /// RFC 8689 §2: every hop must have TLS that was verified.
    pub require_tls: bool,
    /// RFC 2852 §4: when it must be delivered.
    pub deliver_by: Option<DeliverBy>,
    /// RFC 6710 §3: how urgent it is.
    pub priority: Option<Priority>,
    /// RFC 4865 §3: how long it is held.
    pub hold: Option<Hold>,
    /// RFC 3865 §2.3: the solicitation class keywords, separated by commas.
    pub solicit: Option<&'a str>,
    /// Parameters of no extension here.
    pub others: Others<'a>,
}

/// What may follow the forward-path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RcptParameters<'a> {
    /// RFC 3461 §4.1: when to report.
    pub notify: Option<Notify>,
    /// RFC 3461 §4.2: the recipient as the sender first wrote it.
    pub orcpt: Option<OriginalRecipient<'a>>,
    /// RFC 7293 §3.1: since when the mailbox must have had its owner.
    pub valid_since: Option<ValidSince>,
    /// Parameters of no extension here.
    pub others: Others<'a>,
}

/// The parameters that are of no extension of this crate, for extensions that are registered; well-formed, in their
/// order, repeated ones too.
///
/// Only where [`Extensions::REGISTERED`] is in force: without it, such a parameter makes the command unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others<'a> {
    /// All parameters as they stand on the line, where there are others among them.
    text: &'a str,
    rcpt: bool,
}

impl<'a> Others<'a> {
    /// Each parameter: its keyword as it was written, and its value.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let mut cursor = Cursor::new(self.text);
        std::iter::from_fn(move || Parameter::next(&mut cursor).ok().flatten())
            .filter(move |parameter| !parameter.is_known(self.rcpt))
            .map(|parameter| (parameter.keyword, parameter.value))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.text.is_empty()
    }
}

/// The keywords of MAIL that are never left to others, offered or not.
const MAIL: [&str; 12] = [
    "SIZE",
    "BODY",
    "AUTH",
    "RET",
    "ENVID",
    "SMTPUTF8",
    "REQUIRETLS",
    "BY",
    "MT-PRIORITY",
    "HOLDFOR",
    "HOLDUNTIL",
    "SOLICIT",
];

/// The keywords of RCPT that are never left to others.
const RCPT: [&str; 3] = ["NOTIFY", "ORCPT", "RRVS"];

/// What the octets of a message may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Body {
    /// `7BIT`: ASCII lines.
    #[default]
    SevenBit,
    /// `8BITMIME`: any octets in lines.
    EightBitMime,
    /// `BINARYMIME`: any octets, lines or none; only by BDAT.
    BinaryMime,
}

/// How much of the message a report returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// `FULL`: all of it, when it failed.
    Full,
    /// `HDRS`: its header.
    Headers,
}

bitflags::bitflags! {
    /// When the sender wants a report about a recipient; `NEVER` is the empty set.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Notify: u8 {
        /// When it was delivered.
        const SUCCESS = 1;
        /// When it could not be delivered.
        const FAILURE = 2;
        /// When delivery takes unusually long.
        const DELAY = 4;
    }
}

impl Notify {
    /// `NOTIFY=NEVER`.
    pub const NEVER: Notify = Notify::empty();
}

impl Default for Notify {
    // RFC 3461 §4.1: without NOTIFY a server reports as it used to: failures, and delays if it does so at all.
    fn default() -> Notify {
        Notify::FAILURE | Notify::DELAY
    }
}

/// `address-type;xtext` of ORCPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginalRecipient<'a> {
    /// The address type, `rfc822` or `utf-8` most often.
    pub address_type: &'a str,
    /// The address.
    pub address: Xtext<'a>,
}

/// Checked xtext (RFC 3461 §4): `+` and two upper-case hexadecimal digits stand for one octet.
///
/// `Display` decodes it; octets that are no UTF-8 afterwards show as U+FFFD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xtext<'a>(&'a str);

impl<'a> Xtext<'a> {
    /// Checks a value.
    ///
    /// # Errors
    /// The offset of the first octet that is no xtext.
    pub fn parse(text: &'a str) -> Result<Xtext<'a>, usize> {
        let mut rest = text.as_bytes();
        loop {
            rest = match rest {
                [] => return Ok(Xtext(text)),
                [b'+', high, low, tail @ ..] if is_upper_hex(*high) && is_upper_hex(*low) => tail,
                // RFC 6533 §3: under SMTPUTF8 an address may hold UTF-8 and `\x{}` escapes as they are.
                [b'!'..=b'*' | b','..=b'<' | b'>'..=b'~' | 128.., tail @ ..] => tail,
                _ => return Err(text.len() - rest.len()),
            };
        }
    }

    /// The value as it was written.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The decoded octets.
    #[must_use]
    pub fn decode(self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.0.len());
        let mut rest = self.0.as_bytes();
        loop {
            rest = match rest {
                [] => return octets,
                [b'+', high, low, tail @ ..] => {
                    octets.push(hex_value(*high) << 4 | hex_value(*low));
                    tail
                }
                [octet, tail @ ..] => {
                    octets.push(*octet);
                    tail
                }
            };
        }
    }
}

impl fmt::Display for Xtext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.decode()))
    }
}

/// Writes a text as xtext (RFC 3461 §4).
pub fn encode_xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'!'..=b'*' | b','..=b'<' | b'>'..=b'~' => out.push(char::from(octet)),
            _ => {
                out.push('+');
                for digit in [octet >> 4, octet & 15] {
                    out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
                }
            }
        }
    }
    out
}

fn is_upper_hex(octet: u8) -> bool {
    matches!(octet, b'0'..=b'9' | b'A'..=b'F')
}

fn hex_value(octet: u8) -> u8 {
    match octet {
        b'0'..=b'9' => octet - b'0',
        b'A'..=b'F' => octet - b'A' + 10,
        _ => 0,
    }
}

/// One `keyword[=value]` and where its value starts.
struct Parameter<'a> {
    keyword: &'a str,
    value: Option<&'a str>,
    offset: usize,
}

impl<'a> Parameter<'a> {
    /// The next parameter, or `None` at the end of the line.
    fn next(cursor: &mut Cursor<'a>) -> Result<Option<Parameter<'a>>, CommandError> {
        if cursor.is_end() {
            return Ok(None);
        }
        cursor.expect(b' ').map_err(CommandError::Parameter)?;
        cursor.take_spaces();
        let keyword = cursor.take_while(is_let_dig_hyp);
        if keyword.is_empty() || keyword.starts_with('-') {
            return Err(CommandError::Parameter(cursor.unexpected()));
        }
        let mut value = None;
        let mut offset = cursor.offset();
        if cursor.take(b'=') {
            offset = cursor.offset();
            let text = cursor.take_while(is_esmtp_value);
            if text.is_empty() {
                return Err(CommandError::Parameter(cursor.unexpected()));
            }
            value = Some(text);
        }
        if !matches!(cursor.peek(), None | Some(b' ')) {
            return Err(CommandError::Parameter(cursor.unexpected()));
        }
        Ok(Some(Parameter { keyword, value, offset }))
    }

    fn is_known(&self, rcpt: bool) -> bool {
        let known: &[&str] = if rcpt { &RCPT } else { &MAIL };
        known.iter().any(|keyword| self.is(keyword))
    }

    /// Nothing here knows it: whether someone else may.
    fn other(&self, rcpt: bool, extensions: Extensions) -> Result<(), CommandError> {
        let left = extensions.contains(Extensions::REGISTERED) && !self.is_known(rcpt);
        if left { Ok(()) } else { Err(CommandError::UnknownParameter) }
    }

    /// What is there or not: it has no value, and is given once.
    fn flag(&self, slot: &mut bool) -> Result<(), CommandError> {
        if self.value.is_some() || std::mem::replace(slot, true) { Err(self.bad()) } else { Ok(()) }
    }

    /// Sets what a value reads as.
    fn read<T>(&self, slot: &mut Option<T>, read: impl Fn(&'a str) -> Option<T>) -> Result<(), CommandError> {
        let value = read(self.value()?).ok_or_else(|| self.bad())?;
        self.once(slot, value)
    }

    fn is(&self, keyword: &str) -> bool {
        self.keyword.eq_ignore_ascii_case(keyword)
    }

    fn bad(&self) -> CommandError {
        CommandError::Parameter(SyntaxError { offset: self.offset, kind: crate::address::SyntaxErrorKind::Unexpected })
    }

    fn value(&self) -> Result<&'a str, CommandError> {
        self.value.ok_or_else(|| self.bad())
    }

    fn xtext(&self, max: usize) -> Result<Xtext<'a>, CommandError> {
        let value = self.value()?;
        if value.len() > max {
            return Err(self.bad());
        }
        Xtext::parse(value).map_err(|_| self.bad())
    }

    /// Sets what may be given once.
    fn once<T>(&self, slot: &mut Option<T>, value: T) -> Result<(), CommandError> {
        if slot.replace(value).is_some() { Err(self.bad()) } else { Ok(()) }
    }
}

impl<'a> MailParameters<'a> {
    pub(super) fn parse(cursor: &mut Cursor<'a>, extensions: Extensions) -> Result<MailParameters<'a>, CommandError> {
        let mut found = MailParameters::default();
        let text = cursor.rest();
        while let Some(parameter) = Parameter::next(cursor)? {
            if parameter.is("SIZE") && extensions.contains(Extensions::SIZE) {
                let value = parameter.value()?;
                // RFC 1870 §3: 1 to 20 digits.
                if value.len() > 20 || !value.bytes().all(|octet| octet.is_ascii_digit()) {
                    return Err(parameter.bad());
                }
                parameter.once(&mut found.size, value.parse().map_err(|_| parameter.bad())?)?;
            } else if parameter.is("BODY") && extensions.contains(Extensions::EIGHT_BIT_MIME) {
                let value = parameter.value()?;
                let body = if value.eq_ignore_ascii_case("7BIT") {
                    Body::SevenBit
                } else if value.eq_ignore_ascii_case("8BITMIME") {
                    Body::EightBitMime
                } else if value.eq_ignore_ascii_case("BINARYMIME") && extensions.contains(Extensions::BINARY_MIME) {
                    Body::BinaryMime
                } else {
                    return Err(parameter.bad());
                };
                parameter.once(&mut found.body, body)?;
            } else if parameter.is("AUTH") && extensions.contains(Extensions::AUTH) {
                let auth = parameter.xtext(500)?;
                // RFC 4954 §5: a mailbox, or `<>` for nobody known.
                let who = auth.to_string();
                let grammar = Grammar::default().with_utf8(extensions.contains(Extensions::SMTPUTF8));
                if who != "<>" && Mailbox::parse(&who, grammar).is_err() {
                    return Err(parameter.bad());
                }
                parameter.once(&mut found.auth, auth)?;
            } else if parameter.is("RET") && extensions.contains(Extensions::DSN) {
                let ret = match parameter.value()? {
                    value if value.eq_ignore_ascii_case("FULL") => Ret::Full,
                    value if value.eq_ignore_ascii_case("HDRS") => Ret::Headers,
                    _ => return Err(parameter.bad()),
                };
                parameter.once(&mut found.ret, ret)?;
            } else if parameter.is("ENVID") && extensions.contains(Extensions::DSN) {
                parameter.once(&mut found.envid, parameter.xtext(100)?)?;
            } else if parameter.is("SMTPUTF8") && extensions.contains(Extensions::SMTPUTF8) {
                parameter.flag(&mut found.smtputf8)?;
            } else if parameter.is("REQUIRETLS") && extensions.contains(Extensions::REQUIRETLS) {
                parameter.flag(&mut found.require_tls)?;
            } else if parameter.is("BY") && extensions.contains(Extensions::DELIVERBY) {
                parameter.read(&mut found.deliver_by, DeliverBy::parse)?;
            } else if parameter.is("MT-PRIORITY") && extensions.contains(Extensions::MT_PRIORITY) {
                parameter.read(&mut found.priority, Priority::parse)?;
            // RFC 4865 §3: one of the two, once.
            } else if parameter.is("HOLDFOR") && extensions.contains(Extensions::FUTURERELEASE) {
                parameter.read(&mut found.hold, Hold::parse_for)?;
            } else if parameter.is("HOLDUNTIL") && extensions.contains(Extensions::FUTURERELEASE) {
                parameter.read(&mut found.hold, Hold::parse_until)?;
            } else if parameter.is("SOLICIT") && extensions.contains(Extensions::NO_SOLICITING) {
                parameter.read(&mut found.solicit, |value| is_solicitation(value).then_some(value))?;
            } else {
                parameter.other(false, extensions)?;
                found.others = Others { text, rcpt: false };
            }
        }
        Ok(found)
    }
}

impl<'a> RcptParameters<'a> {
    pub(super) fn parse(cursor: &mut Cursor<'a>, extensions: Extensions) -> Result<RcptParameters<'a>, CommandError> {
        let mut found = RcptParameters::default();
        let text = cursor.rest();
        while let Some(parameter) = Parameter::next(cursor)? {
            if parameter.is("NOTIFY") && extensions.contains(Extensions::DSN) {
                let notify = notify(parameter.value()?).ok_or_else(|| parameter.bad())?;
                parameter.once(&mut found.notify, notify)?;
            } else if parameter.is("ORCPT") && extensions.contains(Extensions::DSN) {
                let value = parameter.value()?;
                let (address_type, address) = value.split_once(';').ok_or_else(|| parameter.bad())?;
                let is_atom = !address_type.is_empty() && address_type.bytes().all(crate::address::is_atext);
                if !is_atom || value.len() > 500 {
                    return Err(parameter.bad());
                }
                let address = Xtext::parse(address).map_err(|_| parameter.bad())?;
                parameter.once(&mut found.orcpt, OriginalRecipient { address_type, address })?;
            } else if parameter.is("RRVS") && extensions.contains(Extensions::RRVS) {
                parameter.read(&mut found.valid_since, ValidSince::parse)?;
            } else {
                parameter.other(true, extensions)?;
                found.others = Others { text, rcpt: true };
            }
        }
        Ok(found)
    }
}

/// Whether these are solicitation class keywords, with commas between them.
// RFC 3865 §2.2 and §2.3: a letter, then letters, digits and a few marks; 1,000 octets in all.
pub(crate) fn is_solicitation(value: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_alphabetic())
            && word.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_' | b':'))
    };
    value.len() <= 1000 && value.split(',').all(is_word)
}

// RFC 3461 §4.1: NEVER alone, or a list of the others.
fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::NEVER);
    }
    value.split(',').try_fold(Notify::empty(), |set, word| {
        Some(
            set | match word {
                word if word.eq_ignore_ascii_case("SUCCESS") => Notify::SUCCESS,
                word if word.eq_ignore_ascii_case("FAILURE") => Notify::FAILURE,
                word if word.eq_ignore_ascii_case("DELAY") => Notify::DELAY,
                _ => return None,
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_round_trip() {
        for text in ["plain", "a+b=c d", "zo\u{eb}", ""] {
            let encoded = encode_xtext(text);
            assert_eq!(Xtext::parse(&encoded).unwrap().to_string(), text);
        }
        assert!(Xtext::parse("a b").is_err());
        assert!(Xtext::parse("a+4x").is_err());
        assert!(Xtext::parse("a+4").is_err());
        assert!(Xtext::parse("a+3d").is_err(), "lower-case digits are not xtext");
    }
}
