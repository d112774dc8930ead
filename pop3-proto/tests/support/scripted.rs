//! A server whose questions are answered by what a test says, over maildrops that are always the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic here is a failing test")]

use std::sync::Arc;

use bytes::Bytes;
use mailstore_trait::id::{ItemId, Uid};
use mailstore_trait::sasl::Mechanism;
use mailstore_trait::session::{LayerInfo, Peer};
use mailstore_trait::testkit::driven::Asked;
use mailstore_trait::testkit::transcript::escape;
use mailstore_trait::testkit::transcript::{Adapter, Header};
use pop3_proto::capability::{Expire, LoginDelay};
use pop3_proto::config::Utf8Header;
use pop3_proto::maildrop::Message;
use pop3_proto::request::{
    Committed, LeaseRenewed, LoggedIn, LoginRefusal, MaildropOpened, MessageRead, Opened, PageRead, Released,
    SaslStepped,
};
use pop3_proto::server::Server;
use pop3_proto::{Answered, Config, Event, Request};

/// Maildrops by name: messages as they are stored.
pub(crate) fn maildrop(name: &str) -> Vec<Bytes> {
    let messages: &[&'static [u8]] = match name {
        "three" => &[
            b"Subject: one\r\n\r\nfirst\r\nsecond\r\n",
            b"Subject: two\r\nX: y\r\n\r\na\r\n\r\nb\r\n",
            b"Subject: three\r\n\r\nend\r\n",
        ],
        // A dot as the very first octet, dots at line ends and beginnings, a lone dot, a bare LF, a bare CR, no line end.
        "dots" => &[
            b".first: x\r\n\r\n.\r\n..\r\n...three\r\nmiddle.\r\n.\r\n",
            b"A: b\r\n\r\nbare\n.\nlf\r\ncr\r.\r\n",
            b"A: b\r\n\r\nno line end",
            b".",
        ],
        "odd" => &[b"", b"Only: header\r\n", b"Only: header", b"\r\nonly a body\r\n", b"A: b\n\nunix\nlines\n"],
        "utf8" => &[
            "Subject: Grüße\r\n\r\nbody\r\n".as_bytes(),
            "Subject: plain\r\n\r\nGrüße\r\n".as_bytes(),
            b"Subject: \xe4 is Latin-1\r\n\r\nbody\r\n",
        ],
        "big" => {
            let mut big = b"Subject: big\r\n\r\n".to_vec();
            while big.len() < 200_000 {
                big.extend_from_slice(b".a line that begins with a dot and is as long as lines are in mail\r\n");
            }
            return vec![Bytes::from(big), Bytes::from_static(b"Subject: small\r\n\r\n")];
        }
        "empty" => &[],
        other => panic!("no maildrop {other}"),
    };
    messages.iter().map(|message| Bytes::from_static(message)).collect()
}

/// The adapter of transcripts.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) messages: Vec<Bytes>,
}

impl Scripted {
    pub(crate) fn over(maildrop_name: &str) -> Scripted {
        Scripted { messages: maildrop(maildrop_name) }
    }

    fn page(&self) -> PageRead {
        let message = |(at, octets): (usize, &Bytes)| {
            let number = u32::try_from(at).unwrap() + 1;
            let item = ItemId::new(0x1000 + u64::from(number)).unwrap();
            Message::new(item, 0, Uid::new(number * 10).unwrap(), octets.len() as u64)
        };
        PageRead::Page { messages: self.messages.iter().enumerate().map(message).collect(), more: false }
    }
}

pub(crate) fn config() -> Config {
    let mut config = Config::new("pop.example.org");
    config.allow_cleartext = true;
    config.tls = true;
    config.mechanisms = vec![Mechanism::parse(b"SCRAM-SHA-256").unwrap(), Mechanism::Plain, Mechanism::Login];
    config.implementation = Some("transcript".into());
    config
}

pub(crate) fn peer(tls: bool) -> Peer {
    let address = "192.0.2.1:4711".parse().unwrap();
    if tls { Peer::with_tls(address, LayerInfo::new()) } else { Peer::new(address) }
}

impl Adapter for Scripted {
    type Session = Server;

    fn session(&mut self, header: &Header) -> Server {
        assert_eq!(header.value("session"), Some("pop3-server"));
        let mut config = config();
        let is_on = |key: &str| {
            header.value(key).map(|value| match value {
                "on" => true,
                "off" => false,
                other => panic!("{key}: {other} is neither on nor off"),
            })
        };
        config.allow_cleartext = is_on("cleartext").unwrap_or(true);
        config.tls = is_on("stls").unwrap_or(true);
        config.utf8 = is_on("utf8").unwrap_or(true);
        config.user_pass = is_on("user").unwrap_or(true);
        config.mark_seen = is_on("seen").unwrap_or(true);
        if header.value("utf8-header") == Some("send") {
            config.utf8_header = Utf8Header::Send;
        }
        if let Some(seconds) = header.number("login-delay") {
            let minimum = std::time::Duration::from_secs(seconds);
            config.login_delay = Some(LoginDelay { minimum, per_user: true });
        }
        if let Some(days) = header.value("expire") {
            config.expire = Some(Expire { days: days.parse().ok(), per_user: true });
        }
        let limits = &mut config.limits;
        if let Some(octets) = header.number("chunk") {
            limits.chunk = usize::try_from(octets).unwrap();
        }
        if let Some(octets) = header.number("low-water") {
            limits.low_water = usize::try_from(octets).unwrap();
        }
        if let Some(messages) = header.number("page") {
            limits.page = usize::try_from(messages).unwrap();
        }
        if let Some(count) = header.number("bad-commands") {
            limits.bad_commands = u32::try_from(count).unwrap();
        }
        if let Some(languages) = header.number("languages") {
            config.languages.truncate(usize::try_from(languages).unwrap());
        }
        self.messages = maildrop(header.value("maildrop").unwrap_or("three"));
        let server = Server::new(Arc::new(config), &peer(is_on("tls").unwrap_or(false)));
        match header.value("apop") {
            Some(timestamp) => server.with_apop(timestamp.to_owned()),
            None => server,
        }
    }

    fn asked(&mut self, request: &Request) -> Asked {
        let quoted = |octets: &[u8]| format!("\"{}\"", escape::render(octets));
        let tls = |tls: bool| if tls { " tls" } else { "" };
        Asked::Whole(match request {
            Request::Login(login) => {
                let query = &login.query;
                format!("Login {} {}{}", query.user, quoted(query.password.expose()), tls(query.tls.is_some()))
            }
            Request::Apop(apop) => {
                let digest: String = apop.query.digest.iter().map(|octet| format!("{octet:02x}")).collect();
                format!("Apop {} {} {digest}", apop.query.user, apop.query.timestamp)
            }
            Request::SaslStep(step) => {
                let query = &step.query;
                let octets = query.octets.as_ref().map(|octets| format!(" {}", quoted(octets.expose())));
                let first = if query.first { " first" } else { "" };
                format!("SaslStep {}{first}{}{}", query.mechanism, octets.unwrap_or_default(), tls(query.tls.is_some()))
            }
            Request::OpenMaildrop(open) => format!("OpenMaildrop lease={:?}", open.query.lease),
            Request::MaildropPage(page) => match page.query.after {
                Some(uid) => format!("MaildropPage after={uid} max={}", page.query.max),
                None => format!("MaildropPage max={}", page.query.max),
            },
            Request::RenewLease(renew) => format!("RenewLease lease={:?}", renew.query.lease),
            Request::ReadMessage(read) => format!("ReadMessage uid={} offset={}", read.query.uid, read.query.offset),
            Request::Commit(commit) => {
                let uids = |set: &mailstore_trait::uid_set::UidSet| {
                    set.iter().map(|uid| uid.to_string()).collect::<Vec<_>>().join(",")
                };
                format!("Commit deleted={} seen={}", uids(&commit.query.deleted), uids(&commit.query.seen))
            }
            Request::Release(_) => "Release".into(),
            other => panic!("unknown question {}", other.name()),
        })
    }

    fn answer(&mut self, request: Request, text: &str) -> Result<Answered, String> {
        let login = || {
            Ok(match text {
                "accepted" => LoggedIn::Accepted { user: "tim".into() },
                "credentials" => LoggedIn::Refused(LoginRefusal::Credentials),
                "disabled" => LoggedIn::Refused(LoginRefusal::Disabled),
                "malformed" => LoggedIn::Refused(LoginRefusal::Malformed),
                "unavailable" => LoggedIn::Refused(LoginRefusal::Unavailable),
                other => return Err(format!("{other} is no end of a login")),
            })
        };
        Ok(match request {
            request if text == "decline" => request.decline(),
            Request::Login(pending) => pending.answer(login()?),
            Request::Apop(pending) => pending.answer(login()?),
            Request::SaslStep(pending) => match text.strip_prefix("challenge") {
                Some(challenge) => {
                    let octets = Bytes::copy_from_slice(challenge.trim_start().as_bytes());
                    pending.answer(SaslStepped::Challenge(octets))
                }
                None => pending.answer(SaslStepped::Over(login()?)),
            },
            Request::OpenMaildrop(pending) => {
                let mut opened = Opened::new(self.messages.len());
                let mut words = text.split(' ');
                let outcome = match words.next() {
                    Some("opened") => {
                        for word in words {
                            match word.split_once('=') {
                                Some(("expire", days)) => {
                                    opened.expire = Some(Expire { days: days.parse().ok(), per_user: true });
                                }
                                Some(("delay", seconds)) => {
                                    let minimum = std::time::Duration::from_secs(seconds.parse().unwrap());
                                    opened.login_delay = Some(LoginDelay { minimum, per_user: true });
                                }
                                _ => return Err(format!("{word} is nothing of a maildrop")),
                            }
                        }
                        MaildropOpened::Opened(opened)
                    }
                    Some("in-use") => MaildropOpened::InUse,
                    Some("too-soon") => MaildropOpened::TooSoon,
                    Some("unavailable") => MaildropOpened::Unavailable,
                    _ => return Err(format!("{text} does not open a maildrop")),
                };
                pending.answer(outcome)
            }
            Request::MaildropPage(pending) => {
                let after = pending.query.after.map_or(0, Uid::value);
                let max = pending.query.max;
                let PageRead::Page { mut messages, .. } = self.page() else { return Err("no page".into()) };
                messages.retain(|message| message.uid().value() > after);
                let more = messages.len() > max;
                messages.truncate(max);
                match text {
                    "page" => pending.answer(PageRead::Page { messages, more }),
                    // A store that repeats itself for ever.
                    "again" => {
                        let PageRead::Page { messages, .. } = self.page() else { return Err("no page".into()) };
                        pending.answer(PageRead::Page { messages, more: true })
                    }
                    "unavailable" => pending.answer(PageRead::Unavailable),
                    other => return Err(format!("{other} is no page")),
                }
            }
            Request::RenewLease(pending) => pending.answer(match text {
                "renewed" => LeaseRenewed::Renewed,
                "lost" => LeaseRenewed::Lost,
                "unavailable" => LeaseRenewed::Unavailable,
                other => return Err(format!("{other} is no renewal")),
            }),
            Request::ReadMessage(pending) => {
                let query = pending.query;
                let octets = &self.messages[query.uid.value() as usize / 10 - 1];
                let from = usize::try_from(query.offset).unwrap().min(octets.len());
                let piece = octets.slice(from..octets.len().min(from + query.max));
                pending.answer(match text {
                    "octets" => MessageRead::Octets(piece),
                    "nothing" => MessageRead::Octets(Bytes::new()),
                    "gone" => MessageRead::Gone,
                    "unavailable" => MessageRead::Unavailable,
                    other => return Err(format!("{other} reads no message")),
                })
            }
            Request::Commit(pending) => pending.answer(match text {
                "done" => Committed::Done,
                "partly" => Committed::Partly,
                "failed" => Committed::Failed,
                "lost" => Committed::LeaseLost,
                other => return Err(format!("{other} is no commit")),
            }),
            Request::Release(pending) => pending.answer(Released),
            other => return Err(format!("unknown question {}", other.name())),
        })
    }

    fn usual(&mut self, request: &Request) -> Option<String> {
        let answer = match request {
            Request::Login(_) | Request::Apop(_) | Request::SaslStep(_) => "accepted",
            Request::OpenMaildrop(_) => "opened",
            Request::MaildropPage(_) => "page",
            Request::RenewLease(_) => "renewed",
            Request::ReadMessage(_) => "octets",
            Request::Commit(_) => "done",
            Request::Release(_) => "released",
            _ => return None,
        };
        Some(answer.to_owned())
    }

    fn event(&mut self, event: &Event) -> Option<String> {
        Some(format!("{event:?}"))
    }
}
