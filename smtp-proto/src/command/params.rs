//! The parameters of MAIL and RCPT, typed, borrowed from the command.
//!
//! RFC 5321 §4.1.2 (esmtp-param), RFC 1870 §6, RFC 3461 §4, RFC 4954 §5, RFC 6152 §3, RFC 6531 §3.4. A parameter of an
//! extension that was not offered is unknown, as RFC 5321 §4.1.1.11 has it.

use std::fmt;

use super::CommandError;
use crate::address::{Cursor, Grammar, Mailbox, SyntaxError, is_esmtp_value, is_let_dig_hyp};
use crate::config::Extensions;

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
}

/// What may follow the forward-path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RcptParameters<'a> {
    /// RFC 3461 §4.1: when to report.
    pub notify: Option<Notify>,
    /// RFC 3461 §4.2: the recipient as the sender first wrote it.
    pub orcpt: Option<OriginalRecipient<'a>>,
}

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
                if found.smtputf8 || parameter.value.is_some() {
                    return Err(parameter.bad());
                }
                found.smtputf8 = true;
            } else {
                return Err(CommandError::UnknownParameter);
            }
        }
        Ok(found)
    }
}

impl<'a> RcptParameters<'a> {
    pub(super) fn parse(cursor: &mut Cursor<'a>, extensions: Extensions) -> Result<RcptParameters<'a>, CommandError> {
        let mut found = RcptParameters::default();
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
            } else {
                return Err(CommandError::UnknownParameter);
            }
        }
        Ok(found)
    }
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
