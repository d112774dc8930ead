//! PLAIN (RFC 4616): the one message, read and written.

use bytes::Bytes;

/// The three fields of the message, unprepared.
pub(super) struct Message<'a> {
    pub(super) authzid: Option<&'a str>,
    pub(super) user: &'a str,
    pub(super) password: &'a str,
}

/// Reads `[authzid] NUL authcid NUL passwd`; `None` for anything else.
pub(super) fn parse(octets: &[u8]) -> Option<Message<'_>> {
    // RFC 4616 §2: UTF-8 throughout, NUL only between the fields, authcid and passwd not empty.
    let text = std::str::from_utf8(octets).ok()?;
    let (authzid, rest) = text.split_once('\0')?;
    let (user, password) = rest.split_once('\0')?;
    if user.is_empty() || password.is_empty() || password.contains('\0') {
        return None;
    }
    Some(Message { authzid: Some(authzid).filter(|authzid| !authzid.is_empty()), user, password })
}

/// Writes the message; `None` when a field cannot be said.
pub(super) fn write(message: &Message<'_>) -> Option<Bytes> {
    let authzid = message.authzid.unwrap_or_default();
    let octets = [authzid, message.user, message.password].join("\0").into_bytes();
    parse(&octets)?;
    Some(Bytes::from(octets))
}
