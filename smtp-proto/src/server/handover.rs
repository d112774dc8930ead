//! XCLIENT and XFORWARD: a trusted host in front says who the client is, or where a message came from.
//!
//! Postfix's XCLIENT_README and XFORWARD_README. XCLIENT makes the session another client's: everything learned is
//! forgotten, and the session starts again at its greeting. XFORWARD only lays facts about the original client beside the
//! session's own, until the transaction ends. Neither is known unless the embedder trusts this peer
//! ([`Server::trust`](crate::Server::trust)).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::state::Mail;
use super::{Server, Step};
use crate::address::is_domain;
use crate::command::params::Xtext;
use crate::event::Event;
use crate::reply;
use crate::request::{Forwarded, Origin};

/// An attribute that is not `NAME=value`, not known, or whose value is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

impl Server {
    pub(super) fn xclient(&mut self, now: Instant, attributes: &str) -> Step {
        if !matches!(self.mail, Mail::None) {
            self.refuse(reply::IN_MAIL);
            return Step::Again;
        }
        let mut origin = Origin { hello: String::new(), extended: false, identity: None, ..(*self.origin).clone() };
        origin.forwarded = None;
        let applied = each(attributes, |name, value| client(&mut origin, name, value));
        if applied.is_err() {
            self.refuse(reply::BAD_ATTRIBUTES);
            return Step::Again;
        }
        self.origin = Arc::new(origin);
        self.events.push_back(Event::HandedOver { client: self.origin.peer });
        self.refresh();
        self.start(now)
    }

    pub(super) fn xforward(&mut self, attributes: &str) {
        if !matches!(self.mail, Mail::None) {
            return self.refuse(reply::IN_MAIL);
        }
        let mut forwarded = self.origin.forwarded.as_deref().cloned().unwrap_or_default();
        if each(attributes, |name, value| forward(&mut forwarded, name, value)).is_err() {
            return self.refuse(reply::BAD_ATTRIBUTES);
        }
        Arc::make_mut(&mut self.origin).forwarded = Some(Arc::new(forwarded));
        self.say(&reply::OK);
    }

    /// The transaction that an XFORWARD was about is over.
    pub(super) fn forget_forwarded(&mut self) {
        if self.origin.forwarded.is_some() {
            Arc::make_mut(&mut self.origin).forwarded = None;
        }
    }
}

/// Applies `NAME=value` pairs, each name in any case and at most once; `None` stands for a value that is not to be had.
fn each(text: &str, mut apply: impl FnMut(&str, Option<&str>) -> Result<(), Malformed>) -> Result<(), Malformed> {
    let mut seen: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').ok_or(Malformed)?;
        let name = name.to_ascii_uppercase();
        // All values are xtext, and the brackets of the two that stand for none are not encoded.
        let value = Xtext::parse(value).map_err(|_| Malformed)?.decode();
        let value = String::from_utf8(value).map_err(|_| Malformed)?;
        let text = !value.is_empty() && value.len() <= 255 && !value.bytes().any(|octet| octet.is_ascii_control());
        if !text || seen.contains(&name) {
            return Err(Malformed);
        }
        let is_none = value.eq_ignore_ascii_case("[UNAVAILABLE]") || value.eq_ignore_ascii_case("[TEMPUNAVAIL]");
        apply(&name, (!is_none).then_some(value.as_str()))?;
        seen.push(name);
    }
    if seen.is_empty() { Err(Malformed) } else { Ok(()) }
}

fn client(origin: &mut Origin, name: &str, value: Option<&str>) -> Result<(), Malformed> {
    match name {
        "NAME" => origin.name = host_name(value)?,
        "ADDR" => {
            if let Some(address) = address(value)? {
                origin.peer.set_ip(address);
            }
        }
        "PORT" => origin.peer.set_port(port(value)?.unwrap_or(0)),
        "PROTO" => origin.extended = protocol(value)?.is_some_and(|protocol| protocol == "ESMTP"),
        "HELO" => origin.hello = value.unwrap_or_default().to_owned(),
        "LOGIN" => origin.identity = value.map(str::to_owned),
        "DESTADDR" => {
            if let Some(address) = address(value)? {
                let port = origin.destination.map_or(0, |destination| destination.port());
                origin.destination = Some(SocketAddr::new(address, port));
            }
        }
        "DESTPORT" => {
            let port = port(value)?.unwrap_or(0);
            let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
            origin.destination.get_or_insert(unknown).set_port(port);
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

fn forward(forwarded: &mut Forwarded, name: &str, value: Option<&str>) -> Result<(), Malformed> {
    match name {
        "NAME" => forwarded.name = host_name(value)?,
        "ADDR" => forwarded.address = address(value)?,
        "PORT" => forwarded.port = port(value)?,
        "PROTO" => forwarded.protocol = value.map(str::to_owned),
        "HELO" => forwarded.hello = value.map(str::to_owned),
        "IDENT" => forwarded.ident = value.map(str::to_owned),
        "SOURCE" => {
            forwarded.local = match value {
                None => None,
                Some(source) if source.eq_ignore_ascii_case("LOCAL") => Some(true),
                Some(source) if source.eq_ignore_ascii_case("REMOTE") => Some(false),
                Some(_) => return Err(Malformed),
            }
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

fn host_name(value: Option<&str>) -> Result<Option<String>, Malformed> {
    match value {
        Some(name) if !is_domain(name) => Err(Malformed),
        name => Ok(name.map(str::to_owned)),
    }
}

/// `192.0.2.1` or `IPV6:2001:db8::1`.
fn address(value: Option<&str>) -> Result<Option<IpAddr>, Malformed> {
    let Some(text) = value else { return Ok(None) };
    let v6 = text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPV6:")).and_then(|_| text.get(5..));
    let address = match v6 {
        Some(text) => text.parse().map(IpAddr::V6),
        None => text.parse().map(IpAddr::V4),
    };
    address.map(Some).map_err(|_| Malformed)
}

fn port(value: Option<&str>) -> Result<Option<u16>, Malformed> {
    let Some(text) = value else { return Ok(None) };
    if !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Malformed);
    }
    text.parse().map(Some).map_err(|_| Malformed)
}

fn protocol(value: Option<&str>) -> Result<Option<&str>, Malformed> {
    match value {
        Some(protocol) if protocol.eq_ignore_ascii_case("SMTP") => Ok(Some("SMTP")),
        Some(protocol) if protocol.eq_ignore_ascii_case("ESMTP") => Ok(Some("ESMTP")),
        Some(_) => Err(Malformed),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(text: &str) -> Result<Origin, Malformed> {
        let mut origin = Origin::new("127.0.0.1:1".parse().unwrap(), None);
        each(text, |name, value| client(&mut origin, name, value)).map(|()| origin)
    }

    #[test]
    fn xclient_attributes() {
        let origin =
            handed("NAME=a.example ADDR=192.0.2.9 PORT=99 proto=esmtp HELO=c+2Bd LOGIN=u@example.org").unwrap();
        assert_eq!((origin.name.as_deref(), origin.peer), (Some("a.example"), "192.0.2.9:99".parse().unwrap()));
        assert_eq!((origin.hello.as_str(), origin.extended), ("c+d", true));
        assert_eq!(origin.identity.as_deref(), Some("u@example.org"));
        let origin = handed("NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 DESTADDR=192.0.2.1 DESTPORT=25").unwrap();
        assert_eq!((origin.name, origin.peer.ip()), (None, "2001:db8::1".parse::<IpAddr>().unwrap()));
        assert_eq!(origin.destination, Some("192.0.2.1:25".parse().unwrap()));
        for bad in [
            "",
            "NAME",
            "NAME=",
            "COLOR=red",
            "ADDR=2001:db8::1",
            "ADDR=IPV6:192.0.2.1",
            "PORT=+1",
            "PORT=65536",
            "PROTO=LMTP",
            "HELO=a+0Ab",
            "NAME=a NAME=b",
            "NAME=a+",
            "HELO=+FF",
        ] {
            assert_eq!(handed(bad).err(), Some(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn xforward_attributes() {
        let mut forwarded = Forwarded::default();
        let text = "NAME=[UNAVAILABLE] ADDR=192.0.2.9 PROTO=ESMTP HELO=x IDENT=4F2 SOURCE=remote";
        assert_eq!(each(text, |name, value| forward(&mut forwarded, name, value)), Ok(()));
        assert_eq!((forwarded.address, forwarded.local), (Some([192, 0, 2, 9].into()), Some(false)));
        assert_eq!((forwarded.name, forwarded.ident.as_deref()), (None, Some("4F2")));
        for bad in ["SOURCE=MOON", "LOGIN=x", "PORT=x"] {
            let mut forwarded = Forwarded::default();
            assert_eq!(each(bad, |name, value| forward(&mut forwarded, name, value)), Err(Malformed), "{bad:?}");
        }
    }
}
