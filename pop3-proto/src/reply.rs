//! Replies as lines: how a server writes them and a client reads them.
//!
//! RFC 1939 §3 (status indicators, multi-line responses), RFC 2449 §6.4 and §8 (response codes), RFC 3206 §4 and §5,
//! RFC 5034 §4 (continuations), RFC 6856 §5.

use bytes::{BufMut, BytesMut};

/// What a machine is to understand of a failure. RFC 2449 §8: in brackets, first in the text of `-ERR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseCode {
    /// RFC 2449 §8.1.2: the user is right, the maildrop is in use.
    InUse,
    /// RFC 2449 §8.1.1: the user logged in too recently.
    LoginDelay,
    /// RFC 3206 §4: the system fails for now; the credentials may be right.
    SysTemp,
    /// RFC 3206 §4: the system fails until somebody mends it.
    SysPerm,
    /// RFC 3206 §5: the credentials are the problem.
    Auth,
    /// RFC 6856 §5: the message needs UTF-8 mode.
    Utf8,
}

impl ResponseCode {
    /// Every code with its text.
    pub const NAMES: [(ResponseCode, &'static str); 6] = [
        (ResponseCode::InUse, "IN-USE"),
        (ResponseCode::LoginDelay, "LOGIN-DELAY"),
        (ResponseCode::SysTemp, "SYS/TEMP"),
        (ResponseCode::SysPerm, "SYS/PERM"),
        (ResponseCode::Auth, "AUTH"),
        (ResponseCode::Utf8, "UTF8"),
    ];

    /// Its text, without brackets.
    #[must_use]
    pub fn name(self) -> &'static str {
        ResponseCode::NAMES.iter().find(|(code, _)| *code == self).map_or("", |(_, name)| name)
    }

    /// The code of this text. RFC 2449 §8: codes are not case-sensitive, and one may add levels behind a slash that
    /// clients which don't know them ignore.
    #[must_use]
    pub fn by_name(name: &[u8]) -> Option<ResponseCode> {
        let known = |name: &[u8]| {
            let found = ResponseCode::NAMES.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name));
            found.map(|(code, _)| *code)
        };
        let mut name = name;
        loop {
            if let Some(code) = known(name) {
                return Some(code);
            }
            name = name.get(..memchr::memrchr(b'/', name)?)?;
        }
    }
}

/// A status line as a client reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status<'a> {
    /// `+OK`.
    Ok(&'a [u8]),
    /// `-ERR`.
    Err {
        /// The response code, when there is one that is known.
        code: Option<ResponseCode>,
        /// The text behind the indicator, the code included.
        text: &'a [u8],
    },
    /// `+ `: a challenge in base64.
    Continue(&'a [u8]),
}

impl<'a> Status<'a> {
    /// Reads a line given without its line end. `None` when it is no status line.
    ///
    /// RFC 1939 §3: servers must send the indicators in upper case; a client loses nothing by taking any.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Status<'a>> {
        let behind = |indicator: &[u8]| {
            let (start, text) = line.split_at_checked(indicator.len())?;
            let text = if text.is_empty() { text } else { text.strip_prefix(b" ")? };
            start.eq_ignore_ascii_case(indicator).then_some(text)
        };
        if let Some(text) = behind(b"+OK") {
            return Some(Status::Ok(text));
        }
        if let Some(text) = behind(b"-ERR") {
            return Some(Status::Err { code: code(text), text });
        }
        // RFC 5034 §4: a challenge is `+`, a space and base64. Some servers leave the space out when it is empty.
        behind(b"+").map(Status::Continue)
    }
}

fn code(text: &[u8]) -> Option<ResponseCode> {
    let inner = text.strip_prefix(b"[")?;
    ResponseCode::by_name(inner.get(..memchr::memchr(b']', inner)?)?)
}

/// Appends a number.
pub(crate) fn write_decimal(mut value: u64, out: &mut BytesMut) {
    let mut digits = [0u8; 20];
    let mut len = 0;
    for slot in digits.iter_mut().rev() {
        // A remainder of ten is below ten.
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        len += 1;
        if value == 0 {
            break;
        }
    }
    out.put_slice(digits.get(digits.len() - len..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_parse() {
        assert_eq!(Status::parse(b"+OK"), Some(Status::Ok(b"")));
        assert_eq!(Status::parse(b"+OK 2 320"), Some(Status::Ok(b"2 320")));
        assert_eq!(Status::parse(b"+ok"), Some(Status::Ok(b"")));
        assert_eq!(Status::parse(b"+ "), Some(Status::Continue(b"")));
        assert_eq!(Status::parse(b"+"), Some(Status::Continue(b"")));
        assert_eq!(Status::parse(b"+ AHQ="), Some(Status::Continue(b"AHQ=")));
        let err = |text: &'static [u8], code| Some(Status::Err { code, text });
        assert_eq!(Status::parse(b"-ERR"), err(b"", None));
        assert_eq!(Status::parse(b"-ERR [IN-USE] busy"), err(b"[IN-USE] busy", Some(ResponseCode::InUse)));
        assert_eq!(Status::parse(b"-ERR [sys/temp/disk] x"), err(b"[sys/temp/disk] x", Some(ResponseCode::SysTemp)));
        assert_eq!(Status::parse(b"-ERR [XYZ] x"), err(b"[XYZ] x", None));
        assert_eq!(Status::parse(b"-ERR [IN-USE x"), err(b"[IN-USE x", None));
        for none in [&b""[..], b"OK", b"+OKAY", b"-ERROR", b"*", b"+\tOK"] {
            assert_eq!(Status::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn numbers_are_written_whole() {
        for value in [0, 9, 10, 4_294_967_296, u64::MAX] {
            let mut out = BytesMut::new();
            write_decimal(value, &mut out);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
