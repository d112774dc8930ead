//! The AUTH exchange: framed here, decided elsewhere.
//!
//! RFC 4954 §4 to §6. The session knows which mechanisms are offered, decodes and encodes base64 and counts failures;
//! what the octets mean is for whoever answers [`SaslStep`].

use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes};
use mailstore_trait::session::CloseReason;

use super::state::{Exchange, Mail, State};
use super::{Server, Step};
use crate::event::{Event, Violation};
use crate::reply::{self, Reply};
use crate::request::{SaslStep, Stepped};

impl Server {
    pub(super) fn auth(&mut self, now: Instant, mechanism: String, initial: Option<&str>) -> Step {
        if let Some(refusal) = self.auth_refusal(&mechanism) {
            self.refuse(refusal);
            return Step::Again;
        }
        let octets = match initial {
            None => None,
            // RFC 4954 §4: "=" is an initial response that is there and empty.
            Some("=") => Some(Bytes::new()),
            Some(text) => match STANDARD.decode(text) {
                Ok(octets) => Some(Bytes::from(octets)),
                Err(_) => {
                    self.refuse(reply::BAD_BASE64);
                    return Step::Again;
                }
            },
        };
        let exchange = Exchange { mechanism: mechanism.into(), done: None };
        self.ask_sasl(now, exchange, true, octets)
    }

    fn auth_refusal(&self, mechanism: &str) -> Option<Reply> {
        if self.config.mechanisms.is_empty() {
            return Some(reply::NOT_IMPLEMENTED);
        }
        // RFC 4954 §4: EHLO first, once per session, not inside a transaction.
        if !self.origin.extended {
            return Some(reply::HELLO_FIRST);
        }
        if self.origin.identity.is_some() {
            return Some(reply::AUTH_AGAIN);
        }
        if !matches!(self.mail, Mail::None) {
            return Some(reply::AUTH_IN_MAIL);
        }
        if !self.may_authenticate() {
            return Some(reply::AUTH_NEEDS_TLS);
        }
        let offered = super::mechanisms(&self.config, &self.origin).any(|name| name.eq_ignore_ascii_case(mechanism));
        (!offered).then_some(reply::UNKNOWN_MECHANISM)
    }

    fn ask_sasl(&mut self, now: Instant, exchange: Exchange, first: bool, octets: Option<Bytes>) -> Step {
        let step = SaslStep { origin: self.origin.clone(), mechanism: exchange.mechanism.clone(), first, octets };
        self.ask(now, step, State::AwaitSasl(exchange))
    }

    /// The client's answer to a challenge.
    pub(super) fn sasl_line(&mut self, now: Instant) -> Step {
        let len = match self.line(now, self.config.limits.auth_line, reply::AUTH_LINE_TOO_LONG) {
            Ok(len) => len,
            Err(none) => return none.into(),
        };
        let octets = match self.without_line_end(len) {
            None => Err(reply::BARE_LINE_END),
            // RFC 4954 §4: "*" cancels.
            Some(b"*") => Err(reply::AUTH_CANCELLED),
            Some(line) => STANDARD.decode(line).map_err(|_| reply::BAD_BASE64),
        };
        self.inbox.consume(len);
        let State::Sasl(exchange) = std::mem::replace(&mut self.state, State::Moved) else { return Step::Again };
        match (octets, exchange.done) {
            (Err(refusal), _) => {
                self.enter(now, State::Command);
                self.refuse(refusal);
                Step::Again
            }
            (Ok(octets), None) => {
                let exchange = Exchange { mechanism: exchange.mechanism, done: None };
                self.ask_sasl(now, exchange, false, Some(octets.into()))
            }
            // Only an empty answer to the mechanism's last octets is a success.
            (Ok(octets), Some(identity)) if octets.is_empty() => {
                self.authenticated(now, &exchange.mechanism, identity);
                Step::Again
            }
            (Ok(_), Some(_)) => {
                self.login_failed(now, &exchange.mechanism, reply::AUTH_FAILED);
                Step::Again
            }
        }
    }

    pub(super) fn sasl_stepped(&mut self, now: Instant, exchange: Exchange, stepped: Stepped) {
        match stepped {
            Stepped::Challenge(octets) => self.challenge(now, exchange, &octets),
            // RFC 4954 §4: 235 holds no data; the last octets are one more challenge, answered by an empty line.
            Stepped::Done { identity, last: Some(octets) } => {
                self.challenge(now, Exchange { done: Some(identity), ..exchange }, &octets);
            }
            Stepped::Done { identity, last: None } => self.authenticated(now, &exchange.mechanism, identity),
            Stepped::Refused(reply) => self.login_failed(now, &exchange.mechanism, reply.refusing()),
        }
    }

    fn challenge(&mut self, now: Instant, exchange: Exchange, octets: &[u8]) {
        let text = self.outbox.text();
        text.put_slice(b"334 ");
        text.put_slice(STANDARD.encode(octets).as_bytes());
        text.put_slice(b"\r\n");
        self.enter(now, State::Sasl(exchange));
    }

    fn authenticated(&mut self, now: Instant, mechanism: &Arc<str>, identity: String) {
        self.events.push_back(Event::Authenticated { mechanism: mechanism.to_string(), identity: identity.clone() });
        Arc::make_mut(&mut self.origin).identity = Some(identity);
        self.say(&reply::AUTHENTICATED);
        self.enter(now, State::Command);
    }

    fn login_failed(&mut self, now: Instant, mechanism: &Arc<str>, refusal: Reply) {
        self.events.push_back(Event::LoginFailed { mechanism: mechanism.to_string() });
        self.failed_logins += 1;
        self.enter(now, State::Command);
        self.refuse(refusal);
        if self.failed_logins >= self.config.limits.failed_logins && !matches!(self.state, State::Closed(_)) {
            self.violated(Violation::TooManyLogins);
            self.say(&reply::TOO_MANY_LOGINS);
            self.close(CloseReason::Limit);
        }
    }
}
