//! A server under a virtual clock: scripts go in, replies and questions come out as text.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::result_large_err
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailstore_trait::session::{CloseReason, Layer, LayerInfo, Output, Peer, Session, Wait};
use smtp_proto::config::Config;
use smtp_proto::reply::{self, EnhancedCode, Reply};
use smtp_proto::request::{Committed, Decision, Looked, Stepped};
use smtp_proto::{Answered, Event, Request, Server};

#[allow(clippy::disallowed_methods, reason = "tests need one origin for their virtual clock")]
pub fn epoch() -> Instant {
    Instant::now()
}

pub fn peer() -> Peer {
    Peer::new("192.0.2.1:12345".parse().unwrap())
}

/// Answers a question, leaves it unanswered (`None`), or gives it back for the usual answer.
pub type Answering = dyn FnMut(&mut Vec<String>, Request) -> Result<Option<Answered>, Request>;

pub struct Rig {
    pub server: Server,
    pub now: Instant,
    pub said: String,
    pub sends: usize,
    /// Questions as text, bodies joined.
    pub asked: Vec<String>,
    pub events: Vec<Event>,
    pub message: Vec<u8>,
    pub committed: Vec<Vec<u8>>,
    pub closed: Option<CloseReason>,
    pub wait: Option<Wait>,
    pub layers: usize,
    /// Answers instead of the usual ones; `None` leaves the question unanswered.
    pub answer: Box<Answering>,
    pub unsent: usize,
    pub drain: bool,
}

impl Rig {
    pub fn new(config: Config) -> Rig {
        Rig::with_peer(config, peer())
    }

    pub fn with_peer(config: Config, peer: Peer) -> Rig {
        let mut rig = Rig::unpolled_with(config, peer);
        rig.run();
        rig
    }

    /// Not run yet: its first question can be answered otherwise.
    pub fn unpolled(config: Config) -> Rig {
        Rig::unpolled_with(config, peer())
    }

    fn unpolled_with(config: Config, peer: Peer) -> Rig {
        Rig {
            server: Server::new(Arc::new(config), peer),
            now: epoch(),
            said: String::new(),
            sends: 0,
            asked: Vec::new(),
            events: Vec::new(),
            message: Vec::new(),
            committed: Vec::new(),
            closed: None,
            wait: None,
            layers: 0,
            answer: Box::new(|_, request| Err(request)),
            unsent: 0,
            drain: true,
        }
    }

    pub fn answering(
        mut self,
        answer: impl FnMut(&mut Vec<String>, Request) -> Result<Option<Answered>, Request> + 'static,
    ) -> Rig {
        self.answer = Box::new(answer);
        self
    }

    /// Polls until there is nothing to do.
    pub fn run(&mut self) {
        for _ in 0..1_000_000 {
            match self.server.poll_output(self.now, self.unsent) {
                Output::Send(octets) => {
                    self.sends += 1;
                    if !self.drain {
                        self.unsent += octets.len();
                    }
                    self.said.push_str(std::str::from_utf8(&octets).unwrap());
                }
                Output::Request(request) => match (self.answer)(&mut self.asked, request) {
                    Ok(Some(answered)) => self.server.resume(answered),
                    Ok(None) => {}
                    Err(request) => {
                        let answered = self.usual(request);
                        self.server.resume(answered);
                    }
                },
                Output::Layer(layer) => {
                    assert_eq!(layer, Layer::Tls);
                    self.layers += 1;
                    self.server.layered(Ok(LayerInfo::new()));
                }
                Output::Event(event) => self.events.push(event),
                Output::Wait(wait) => {
                    self.wait = Some(wait);
                    return;
                }
                Output::Close(reason) => {
                    self.closed = Some(reason);
                    return;
                }
            }
        }
        panic!("the session never waits");
    }

    /// Recipients at `gone` do not exist, `later` is busy; PLAIN knows one password.
    fn usual(&mut self, request: Request) -> Answered {
        match request {
            Request::Connect(pending) => {
                self.asked.push("Connect".into());
                pending.answer(Decision::Accepted)
            }
            Request::Hello(pending) => {
                self.asked.push(format!("Hello {}", pending.query.origin.hello));
                pending.answer(Decision::Accepted)
            }
            Request::MailFrom(pending) => {
                let sender = &pending.query.sender.address;
                self.asked.push(format!("MailFrom {}", sender.as_ref().map_or("<>", |it| it.as_str())));
                pending.answer(Decision::Accepted)
            }
            Request::RcptTo(pending) => {
                let mut decisions = Vec::new();
                for recipient in &pending.query.recipients {
                    self.asked.push(format!("RcptTo {}", recipient.address));
                    decisions.push(match recipient.address.local_part() {
                        "gone" => Decision::Refused(reply::UNKNOWN_RECIPIENT),
                        "later" => Decision::Refused(reply::BUSY),
                        _ => Decision::Accepted,
                    });
                }
                pending.answer(decisions)
            }
            Request::BodyOpen(pending) => {
                self.asked.push("BodyOpen".into());
                self.message.clear();
                pending.answer(Decision::Accepted)
            }
            Request::BodyChunk(pending) => {
                assert!(!pending.query.is_empty());
                for piece in &pending.query.pieces {
                    self.message.extend_from_slice(piece);
                }
                pending.answer(Decision::Accepted)
            }
            Request::Commit(pending) => {
                assert_eq!(pending.query.size, self.message.len() as u64);
                self.asked.push(format!("Commit {:?}", String::from_utf8_lossy(&self.message)));
                self.committed.push(std::mem::take(&mut self.message));
                let each = pending.query.envelope.recipients.iter().map(|recipient| {
                    if recipient.address.local_part() == "full" {
                        Err(reply::MAILBOX_FULL)
                    } else {
                        Ok("taken".to_owned())
                    }
                });
                let each: Vec<_> = each.collect();
                pending.answer(Committed::Each(each))
            }
            Request::Abandon(pending) => {
                self.asked.push("Abandon".into());
                self.message.clear();
                pending.answer(())
            }
            Request::SaslStep(pending) => {
                let octets = pending.query.octets.clone();
                let stepped = match (&*pending.query.mechanism, octets.as_deref()) {
                    ("PLAIN", None) => Stepped::Challenge("".into()),
                    ("PLAIN", Some(b"\0user\0secret")) => Stepped::Done { identity: "user".into(), last: None },
                    ("SCRAM-SHA-256", Some(b"first")) => Stepped::Challenge("nonce".into()),
                    ("SCRAM-SHA-256", Some(b"proof")) => {
                        Stepped::Done { identity: "user".into(), last: Some("v=signature".into()) }
                    }
                    _ => Stepped::Refused(reply::AUTH_FAILED),
                };
                pending.answer(stepped)
            }
            Request::Verify(pending) => {
                let found = Looked::Found(vec![format!("A User <{}@example.org>", pending.query.text)]);
                pending.answer(found)
            }
            Request::Expand(pending) => {
                pending.answer(Looked::Reply(Reply::new(550, EnhancedCode::new(5, 1, 1), "no such list")))
            }
            other => other.decline(),
        }
    }

    /// Feeds octets, as much as fits at a time; gives what was said.
    pub fn feed(&mut self, octets: &[u8]) -> String {
        self.said.clear();
        let mut left = octets;
        while !left.is_empty() && self.closed.is_none() {
            let taken = self.server.handle_input(left);
            left = &left[taken..];
            self.run();
            if taken == 0 && !self.wait.is_some_and(|wait| wait.input) {
                break;
            }
        }
        std::mem::take(&mut self.said)
    }

    /// Feeds lines, `\n` standing for CRLF.
    pub fn say(&mut self, lines: &str) -> String {
        self.feed(lines.replace('\n', "\r\n").as_bytes())
    }

    /// Codes of the replies to these lines, continued lines once.
    pub fn codes(&mut self, lines: &str) -> Vec<u16> {
        codes(&self.say(lines))
    }

    pub fn eof(&mut self) {
        self.server.handle_eof();
        self.run();
    }

    pub fn pass(&mut self, time: Duration) -> String {
        self.said.clear();
        self.now += time;
        self.run();
        std::mem::take(&mut self.said)
    }
}

pub fn codes(said: &str) -> Vec<u16> {
    said.lines().filter(|line| line.as_bytes().get(3) != Some(&b'-')).map(|line| line[..3].parse().unwrap()).collect()
}

pub fn relay() -> Config {
    Config::new("mx.example.org")
}
