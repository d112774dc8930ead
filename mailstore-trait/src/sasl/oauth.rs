//! OAUTHBEARER (RFC 7628) and XOAUTH2: the client's message and the error a server answers it with.

use std::fmt::Write as _;

use bytes::Bytes;

use super::context::OauthHints;
use super::scram::message;
use super::secret::Secret;

/// Stands between key-value pairs, and alone acknowledges an error (RFC 7628 §3.1).
pub(super) const KVSEP: &str = "\x01";

/// What a client said, unprepared.
#[derive(Debug)]
pub(super) struct Message {
    /// OAUTHBEARER's authorization identity, XOAUTH2's user.
    pub(super) user: Option<String>,
    /// The token; `None` where the client sent an empty `auth` to learn where it can get one.
    pub(super) token: Option<Secret>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
}

/// Reads OAUTHBEARER's message: a GS2 header, then pairs each ended by a separator, then a separator.
pub(super) fn parse_bearer(octets: &[u8]) -> Option<Message> {
    let text = std::str::from_utf8(octets).ok()?;
    let (header, pairs) = text.split_once(KVSEP)?;
    // RFC 7628 §3.1: the GS2 header of RFC 5801. No -PLUS form is registered, so `p=` cannot be honoured.
    let (gs2, rest) = message::Gs2::parse(header).ok()?;
    if !rest.is_empty() || matches!(gs2.flag, message::Flag::Used(_)) {
        return None;
    }
    let mut message = Message { user: gs2.authzid, token: None, host: None, port: None };
    let mut auth_seen = false;
    for pair in split_pairs(pairs)? {
        let (key, value) = pair?;
        // RFC 7628 §3.1: keys are letters and compared as they are; unknown ones are ignored.
        match key {
            "auth" if !auth_seen => {
                auth_seen = true;
                message.token = parse_auth(value)?;
            }
            "host" => message.host = Some(value.to_owned()),
            "port" => message.port = Some(value.parse().ok()?),
            "auth" => return None,
            _ => {}
        }
    }
    auth_seen.then_some(message)
}

/// Reads XOAUTH2's message: `user=` and `auth=` pairs, then a separator.
pub(super) fn parse_xoauth2(octets: &[u8]) -> Option<Message> {
    let text = std::str::from_utf8(octets).ok()?;
    let mut message = Message { user: None, token: None, host: None, port: None };
    let mut auth_seen = false;
    for pair in split_pairs(text)? {
        match pair? {
            ("user", user) if message.user.is_none() && !user.is_empty() => message.user = Some(user.to_owned()),
            ("auth", auth) if !auth_seen => {
                auth_seen = true;
                message.token = parse_auth(auth)?;
            }
            ("user" | "auth", _) => return None,
            _ => {}
        }
    }
    (auth_seen && message.user.is_some()).then_some(message)
}

type Pair<'a> = Option<(&'a str, &'a str)>;

/// `*(key "=" value kvsep) kvsep`, as an iterator that yields `None` for a pair that is none.
fn split_pairs(text: &str) -> Option<impl Iterator<Item = Pair<'_>>> {
    let pairs = text.strip_suffix(KVSEP)?;
    let pairs = if pairs.is_empty() { "" } else { pairs.strip_suffix(KVSEP)? };
    Some(pairs.split(KVSEP).filter(move |_| !pairs.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let is_key = !key.is_empty() && key.bytes().all(|octet| octet.is_ascii_alphabetic());
        // RFC 7628 §3.1: a value is visible ASCII, SP, HTAB, CR or LF. XOAUTH2 names may be UTF-8, so no control
        // character but those three is the rule here.
        let is_value = value.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\r' | '\n'));
        (is_key && is_value).then_some((key, value))
    }))
}

/// `Bearer SP b64token` (RFC 6750 §2.1); an empty value is no token, anything else is malformed.
fn parse_auth(value: &str) -> Option<Option<Secret>> {
    if value.is_empty() {
        return Some(None);
    }
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("Bearer") && is_token(token)).then(|| Some(Secret::from(token)))
}

fn is_token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty()
        && body
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
}

/// Writes OAUTHBEARER's message; `None` when the token or the host cannot be said.
pub(super) fn write_bearer(user: Option<&str>, token: &str, host: Option<&str>, port: Option<u16>) -> Option<Bytes> {
    let mut text = String::from("n,");
    if let Some(user) = user {
        text.push_str("a=");
        message::push_saslname(&mut text, user);
    }
    text.push(',');
    text.push_str(KVSEP);
    if let Some(host) = host {
        let _ = write!(text, "host={host}{KVSEP}");
    }
    if let Some(port) = port {
        let _ = write!(text, "port={port}{KVSEP}");
    }
    let _ = write!(text, "auth=Bearer {token}{KVSEP}{KVSEP}");
    let said = parse_bearer(text.as_bytes())?;
    (said.host.as_deref() == host && said.token? == Secret::from(token)).then(|| Bytes::from(text))
}

/// Writes XOAUTH2's message; `None` when the name or the token cannot be said.
pub(super) fn write_xoauth2(user: &str, token: &str) -> Option<Bytes> {
    let text = format!("user={user}{KVSEP}auth=Bearer {token}{KVSEP}{KVSEP}");
    let said = parse_xoauth2(text.as_bytes())?;
    (said.user.as_deref() == Some(user) && said.token? == Secret::from(token)).then(|| Bytes::from(text))
}

/// OAUTHBEARER's error (RFC 7628 §3.2.2).
pub(super) fn bearer_error(status: &str, hints: &OauthHints) -> Bytes {
    let mut json = String::from("{\"status\":");
    push_json(&mut json, status);
    for (key, value) in [("scope", &hints.scope), ("openid-configuration", &hints.openid_configuration)] {
        if let Some(value) = value {
            let _ = write!(json, ",\"{key}\":");
            push_json(&mut json, value);
        }
    }
    json.push('}');
    Bytes::from(json)
}

/// XOAUTH2's error: an HTTP status in place of the OAuth one.
pub(super) fn xoauth2_error(hints: &OauthHints) -> Bytes {
    let mut json = String::from("{\"status\":\"401\",\"schemes\":\"bearer\"");
    if let Some(scope) = &hints.scope {
        json.push_str(",\"scope\":");
        push_json(&mut json, scope);
    }
    json.push('}');
    Bytes::from(json)
}

/// A JSON string (RFC 8259 §7).
fn push_json(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            '\0'..='\x1f' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            _ => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oauthbearer_examples_of_the_rfc() {
        // RFC 7628 §4.1.
        let message = parse_bearer(
            b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01",
        )
        .unwrap();
        assert_eq!(message.user.as_deref(), Some("user@example.com"));
        assert_eq!(message.host.as_deref(), Some("server.example.com"));
        assert_eq!(message.port, Some(143));
        assert_eq!(message.token.unwrap().expose(), b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        // RFC 7628 §4.3: an empty token asks where to get one.
        let message = parse_bearer(b"n,,\x01host=server.example.com\x01port=143\x01auth=\x01\x01").unwrap();
        assert_eq!(message.token, None);
        assert_eq!(message.user, None);
    }

    #[test]
    fn oauth_messages_that_are_none() {
        for bad in [
            &b""[..],
            b"n,,",
            b"n,,\x01",
            b"n,,\x01\x01",
            b"n,,\x01auth=Bearer abc\x01",
            b"n,,\x01auth=Bearer abc",
            b"n,,x\x01auth=Bearer abc\x01\x01",
            b"p=tls-exporter,,\x01auth=Bearer abc\x01\x01",
            b"n,,\x01auth=Basic abc\x01\x01",
            b"n,,\x01auth=Bearer a b\x01\x01",
            b"n,,\x01auth=Bearer =\x01\x01",
            b"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
            b"n,,\x01port=70000\x01auth=Bearer a\x01\x01",
            b"n,,\x01k\xff=v\x01auth=Bearer a\x01\x01",
            b"n,,\x01=v\x01auth=Bearer a\x01\x01",
            b"n,,\x01\x01auth=Bearer a\x01\x01",
            b"n,,\x01k=\x00\x01auth=Bearer a\x01\x01",
        ] {
            assert!(parse_bearer(bad).is_none(), "{:?}", String::from_utf8_lossy(bad));
        }
        for bad in [
            &b""[..],
            b"\x01",
            b"\x01\x01",
            b"user=a\x01\x01",
            b"auth=Bearer a\x01\x01",
            b"user=\x01auth=Bearer a\x01\x01",
            b"user=a\x01user=b\x01auth=Bearer a\x01\x01",
            b"user=a\x01auth=Bearer a\x01",
        ] {
            assert!(parse_xoauth2(bad).is_none(), "{:?}", String::from_utf8_lossy(bad));
        }
        let message = parse_xoauth2(b"user=a@b\x01auth=bearer  a.b-c\x01\x01").unwrap();
        assert_eq!((message.user.as_deref(), message.token.unwrap().expose()), (Some("a@b"), &b"a.b-c"[..]));
    }

    #[test]
    fn oauth_messages_are_never_injected_into() {
        assert!(write_bearer(Some("a,b=c"), "tok", None, None).is_some());
        assert!(write_bearer(None, "tok\x01host=evil", None, None).is_none());
        assert!(write_bearer(None, "tok", Some("a\x01port=1"), None).is_none());
        assert!(write_xoauth2("a\x01auth=Bearer x", "tok").is_none());
        assert!(write_xoauth2("a", "").is_none());
    }

    #[test]
    fn oauth_errors_are_json() {
        let hints = OauthHints { scope: Some("a \"b\"\\\n".into()), openid_configuration: Some("https://x/".into()) };
        assert_eq!(
            bearer_error("invalid_token", &hints),
            &br#"{"status":"invalid_token","scope":"a \"b\"\\\u000a","openid-configuration":"https://x/"}"#[..]
        );
        assert_eq!(bearer_error("invalid_token", &OauthHints::default()), &br#"{"status":"invalid_token"}"#[..]);
        assert_eq!(xoauth2_error(&OauthHints::default()), &br#"{"status":"401","schemes":"bearer"}"#[..]);
    }
}
