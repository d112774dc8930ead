//! From the greeting to a login.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BufMut;
use mailstore_trait::sasl::{self, Context, Credentials, client};
use mailstore_trait::session::CloseReason;

use super::{Client, Event, Exchange, LoginFailure, Phase, Step, Stls, lossy};
use crate::apop;
use crate::capability::{Capabilities, Capability};
use crate::reply::Status;

/// Octets of an AUTH command with its initial response, CRLF included (RFC 5034 §4, RFC 2449 §4).
const AUTH_LINE: usize = 255;

impl Client {
    pub(super) fn ask_capabilities(&mut self) {
        self.outbox.text().put_slice(b"CAPA\r\n");
        self.phase = Phase::Capa;
    }

    /// A status line before the login.
    pub(super) fn login_status(&mut self, status: Status<'_>) -> Step {
        if let (Phase::Auth(_), Status::Continue(challenge)) = (&self.phase, status) {
            return self.challenge(challenge);
        }
        if let (Phase::Greeting, true, Status::Ok(text)) = (&self.phase, self.config.apop, status) {
            self.timestamp = apop::timestamp(text).map(str::to_owned);
        }
        let accepted = match status {
            Status::Ok(_) => true,
            Status::Err { .. } => false,
            Status::Continue(_) => return self.end(CloseReason::Protocol),
        };
        match std::mem::replace(&mut self.phase, Phase::Goodbye) {
            Phase::Greeting if accepted => self.ask_capabilities(),
            Phase::Capa if accepted => self.expect_capabilities(true),
            // RFC 2449 §5: a server of RFC 1939 alone knows no CAPA. It has USER, and nothing else is sure; RFC 2449 §7: no
            // extension is needed to collect mail.
            Phase::Capa => {
                self.capabilities = Capabilities { flags: Capability::USER, ..Capabilities::default() };
                self.secure();
            }
            Phase::Stls if accepted => {
                // RFC 2595 §4: what lies behind the reply was sent in clear, by whoever sits in between.
                if !self.inbox.is_empty() {
                    return self.end(CloseReason::Protocol);
                }
                self.phase = Phase::Layer;
            }
            Phase::Stls if self.config.stls == Stls::Opportunistic => self.log_in(),
            Phase::Stls => self.give_up(LoginFailure::NoTls),
            // RFC 6856 §2.1: a server may refuse; messages in UTF-8 are then not to be had.
            Phase::Utf8 => self.authenticate(),
            // Success for a message that was never sent is none.
            Phase::Auth(exchange) if accepted && exchange.withheld.is_some() => {
                self.events.push_back(Event::LoginFailed(LoginFailure::Exchange));
                return self.end(CloseReason::Protocol);
            }
            Phase::Auth(mut exchange) if accepted => match exchange.machine.success(None) {
                Ok(()) => self.ready(),
                // A server that could not prove itself, or claims success too early.
                Err(_) => {
                    self.events.push_back(Event::LoginFailed(LoginFailure::Exchange));
                    return self.end(CloseReason::Protocol);
                }
            },
            Phase::User if accepted => self.send_password(),
            Phase::Pass | Phase::Apop if accepted => self.ready(),
            Phase::Goodbye => return self.end(CloseReason::Quit),
            Phase::Auth(_) | Phase::Apop | Phase::User | Phase::Pass => {
                let Status::Err { code, text } = status else { return Step::Again };
                self.give_up(LoginFailure::Refused { code, text: lossy(text) });
            }
            // A greeting that is an error: the server will not serve.
            _ => {
                if let Status::Err { code, text } = status {
                    let failure = LoginFailure::Refused { code, text: lossy(text) };
                    self.events.push_back(Event::LoginFailed(failure));
                }
                return self.end(CloseReason::Protocol);
            }
        }
        Step::Again
    }

    /// The capabilities are known: TLS comes first.
    pub(super) fn secure(&mut self) {
        if self.tls.is_some() || self.config.stls == Stls::Never {
            return self.log_in();
        }
        if self.capabilities.flags.contains(Capability::STLS) {
            self.outbox.text().put_slice(b"STLS\r\n");
            self.phase = Phase::Stls;
        } else if self.config.stls == Stls::Required {
            self.give_up(LoginFailure::NoTls);
        } else {
            self.log_in();
        }
    }

    fn log_in(&mut self) {
        if self.config.utf8 && self.capabilities.flags.contains(Capability::UTF8) {
            self.outbox.text().put_slice(b"UTF8\r\n");
            self.phase = Phase::Utf8;
        } else {
            self.authenticate();
        }
    }

    fn context(&self) -> Context {
        let mut context = self.tls.as_ref().map_or_else(Context::cleartext, Context::over_tls);
        context.allow_cleartext = self.config.allow_cleartext;
        // RFC 5802 §6: the flag y tells a server which did offer -PLUS that somebody took it away.
        context.plus_offered = self.capabilities.mechanisms.iter().any(|mechanism| mechanism.needs_channel_binding());
        context
    }

    fn authenticate(&mut self) {
        let (config, context) = (self.config.clone(), self.context());
        let offered = self.capabilities.mechanisms.iter().copied();
        let Some(mechanism) = client::choose(offered, &config.credentials, &context) else {
            return self.send_apop();
        };
        let mut exchange = match sasl::Client::start(mechanism, &config.credentials, &context, config.nonce.clone()) {
            Ok(exchange) => exchange,
            Err(_) => return self.give_up(LoginFailure::NoMechanism),
        };
        let name = mechanism.name();
        let room = AUTH_LINE.saturating_sub("AUTH ".len() + name.len() + " ".len() + "\r\n".len());
        let out = self.outbox.text();
        out.put_slice(b"AUTH ");
        out.put_slice(name.as_bytes());
        // RFC 5034 §4: an initial response that makes the line longer than 255 octets waits for an empty challenge.
        let mut withheld = exchange.initial();
        if let Some(initial) = withheld.take_if(|initial| initial.len().div_ceil(3).saturating_mul(4) <= room) {
            out.put_slice(b" ");
            // RFC 5034 §4: no octets are told by an equals sign.
            let text = if initial.is_empty() { "=".to_owned() } else { STANDARD.encode(initial) };
            out.put_slice(text.as_bytes());
        }
        out.put_slice(b"\r\n");
        self.phase = Phase::Auth(Box::new(Exchange { machine: exchange, withheld }));
    }

    fn challenge(&mut self, challenge: &[u8]) -> Step {
        let Phase::Auth(exchange) = &mut self.phase else { return Step::Again };
        let octets = STANDARD.decode(challenge).ok();
        let response = match exchange.withheld.take() {
            Some(initial) => octets.filter(Vec::is_empty).map(|_| initial),
            None => octets.and_then(|octets| exchange.machine.challenge(&octets).ok()),
        };
        let out = self.outbox.text();
        match response {
            Some(response) => out.put_slice(STANDARD.encode(response).as_bytes()),
            // RFC 5034 §4: a challenge that is not base64, or not of the mechanism, is answered by cancelling.
            None => out.put_slice(b"*"),
        }
        out.put_slice(b"\r\n");
        Step::Again
    }

    /// APOP, where it is on and the server gave a timestamp; or else USER and PASS.
    fn send_apop(&mut self) {
        let config = self.config.clone();
        match (&self.timestamp, &config.credentials) {
            (Some(timestamp), Credentials::Password { user, password, authzid: None })
                if self.can_say(user.as_bytes()) && !user.contains(' ') =>
            {
                let digest = apop::digest(timestamp, password.expose());
                let out = self.outbox.text();
                out.put_slice(b"APOP ");
                out.put_slice(user.as_bytes());
                out.put_slice(b" ");
                apop::write(&digest, out);
                out.put_slice(b"\r\n");
                self.phase = Phase::Apop;
            }
            _ => self.send_user(),
        }
    }

    /// USER and PASS, where no mechanism fits.
    fn send_user(&mut self) {
        let offered = self.config.user_pass && self.capabilities.flags.contains(Capability::USER);
        let protected = self.tls.is_some() || self.config.allow_cleartext;
        let config = self.config.clone();
        match &config.credentials {
            Credentials::Password { user, password, authzid: None }
                if offered && protected && self.can_say(user.as_bytes()) && self.can_say(password.expose()) =>
            {
                let out = self.outbox.text();
                out.put_slice(b"USER ");
                out.put_slice(user.as_bytes());
                out.put_slice(b"\r\n");
                self.phase = Phase::User;
            }
            _ => self.give_up(LoginFailure::NoMechanism),
        }
    }

    /// RFC 6856 §2.2: UTF-8 only where the server says so; and no octet that ends a line.
    fn can_say(&self, octets: &[u8]) -> bool {
        let ascii = octets.is_ascii() || self.capabilities.flags.contains(Capability::UTF8_USER);
        ascii && !octets.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0))
    }

    fn send_password(&mut self) {
        let config = self.config.clone();
        let Credentials::Password { password, .. } = &config.credentials else { return };
        let out = self.outbox.text();
        out.put_slice(b"PASS ");
        out.put_slice(password.expose());
        out.put_slice(b"\r\n");
        self.phase = Phase::Pass;
    }

    fn ready(&mut self) {
        self.events.push_back(Event::Ready);
        self.phase = Phase::Ready;
    }

    fn give_up(&mut self, failure: LoginFailure) {
        self.events.push_back(Event::LoginFailed(failure));
        self.outbox.text().put_slice(b"QUIT\r\n");
        self.phase = Phase::Goodbye;
    }
}
