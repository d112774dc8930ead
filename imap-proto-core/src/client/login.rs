//! From the greeting to the first command (RFC 9051 §3, §6.1, §6.2, §7.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes};
use mailstore_trait::sasl::{self, Context, Credentials, client};
use mailstore_trait::session::CloseReason;

use super::command::write_id;
use super::response::{Condition, Response, ResponseText};
use super::{Client, Event, Exchange, LoginFailure, Phase, StartTls, Step, Turn};

/// Octets of an AUTHENTICATE command with its initial response: RFC 2683 §3.2.1.5 has servers take 8,000.
const COMMAND_LINE: usize = 8000;

impl Client {
    /// The greeting.
    pub(super) fn greeted(&mut self, response: Response) -> Turn {
        let Response::Told { condition, text } = response else { return self.end(CloseReason::Protocol) };
        match condition {
            Condition::Ok => {}
            // RFC 9051 §7.1.4: whoever sits in between could say so to keep TLS from being asked for.
            Condition::Preauth if self.tls.is_none() && self.config.starttls == StartTls::Required => {
                self.events.push_back(Event::LoginFailed(LoginFailure::NoTls));
                return self.end(CloseReason::Protocol);
            }
            Condition::Preauth => self.progress.authenticated = true,
            _ => {
                self.events.push_back(Event::LoginFailed(LoginFailure::Refused(text)));
                return self.end(CloseReason::Eof);
            }
        }
        self.note(&text);
        self.phase = Phase::Login;
        self.proceed();
        Turn::Again
    }

    /// The next step of the login.
    pub(super) fn proceed(&mut self) {
        self.phase = Phase::Login;
        if !self.progress.capabilities {
            return self.send_step(Step::Capability, |wire| wire.word("CAPABILITY"));
        }
        if !self.progress.authenticated {
            let wants = self.tls.is_none() && self.config.starttls != StartTls::Never && !self.progress.secured;
            if wants && self.capabilities.has("STARTTLS") {
                return self.send_step(Step::StartTls, |wire| wire.word("STARTTLS"));
            }
            if wants && self.config.starttls == StartTls::Required {
                return self.give_up(LoginFailure::NoTls);
            }
            return self.authenticate();
        }
        let config = self.config.clone();
        if !self.progress.identified && !config.id.is_empty() && self.capabilities.has("ID") {
            return self.send_step(Step::Id, |wire| write_id(&config.id, wire));
        }
        let offered = |name: &str| self.capabilities.has(name);
        let wanted = [
            (config.qresync && offered("CONDSTORE"), "CONDSTORE"),
            (config.qresync && offered("QRESYNC"), "QRESYNC"),
            (config.utf8 && (offered("UTF8=ACCEPT") || offered("UTF8=ONLY")), "UTF8=ACCEPT"),
            (config.rev2 && offered("IMAP4rev2"), "IMAP4rev2"),
        ];
        let can_enable = self.capabilities.has_folded("ENABLE") && !self.progress.enabled;
        if can_enable && wanted.iter().any(|(wanted, _)| *wanted) {
            return self.send_step(Step::Enable, |wire| {
                wire.word("ENABLE");
                for (_, name) in wanted.iter().filter(|(wanted, _)| *wanted) {
                    wire.word(" ");
                    wire.word(name);
                }
            });
        }
        self.events.push_back(Event::Ready);
        self.phase = Phase::Ready;
    }

    /// A step of the login ended.
    pub(super) fn step_ended(&mut self, step: Step, condition: Condition, text: ResponseText) -> Turn {
        let done = condition == Condition::Ok;
        match step {
            // A server that can't say what it can do can do what RFC 3501 demands.
            Step::Capability => self.progress.capabilities = true,
            Step::StartTls if done => {
                // RFC 9051 §6.2.1, §11.1: what lies behind the answer was sent in clear, by whoever sits in between.
                if !self.inbox.is_empty() {
                    return self.end(CloseReason::Protocol);
                }
                self.phase = Phase::Layer;
                return Turn::Again;
            }
            Step::StartTls if self.config.starttls == StartTls::Opportunistic => self.progress.secured = true,
            Step::StartTls => {
                self.give_up(LoginFailure::NoTls);
                return Turn::Again;
            }
            Step::Authenticate => {
                let Phase::Auth(mut exchange) = std::mem::replace(&mut self.phase, Phase::Login) else {
                    return self.end(CloseReason::Protocol);
                };
                if !done {
                    self.give_up(LoginFailure::Refused(text));
                    return Turn::Again;
                }
                // Success for a message that was never sent is none; nor is that of a server that did not prove itself.
                if exchange.withheld.is_some() || exchange.machine.success(None).is_err() {
                    self.events.push_back(Event::LoginFailed(LoginFailure::Exchange));
                    return self.end(CloseReason::Protocol);
                }
                self.logged_in(&text);
            }
            Step::Login if done => self.logged_in(&text),
            Step::Login => {
                // RFC 9051 §6.2.3: the password may wait for a literal that will not be asked for any more.
                self.sending = None;
                self.give_up(LoginFailure::Refused(text));
                return Turn::Again;
            }
            Step::Id => self.progress.identified = true,
            Step::Enable => self.progress.enabled = true,
            Step::Logout => return self.end(CloseReason::Quit),
        }
        self.proceed();
        Turn::Again
    }

    /// RFC 9051 §6.2.2: what the server can do may differ from here on; some say so with their answer.
    fn logged_in(&mut self, text: &ResponseText) {
        self.progress.authenticated = true;
        self.progress.capabilities = matches!(text.code, Some(super::Code::Capability(_)));
    }

    fn context(&self) -> Context {
        let mut context = self.tls.as_ref().map_or_else(Context::cleartext, Context::over_tls);
        context.allow_cleartext = self.config.allow_cleartext;
        // RFC 5802 §6: the flag y tells a server which did offer -PLUS that somebody took it away.
        context.plus_offered = self.capabilities.mechanisms().any(|mechanism| mechanism.needs_channel_binding());
        context
    }

    fn authenticate(&mut self) {
        let (config, context) = (self.config.clone(), self.context());
        let Some(mechanism) = client::choose(self.capabilities.mechanisms(), &config.credentials, &context) else {
            return self.log_in();
        };
        let started = sasl::Client::start(mechanism, &config.credentials, &context, config.nonce.clone());
        let Ok(mut machine) = started else { return self.give_up(LoginFailure::NoMechanism) };
        let mut withheld = machine.initial();
        // RFC 4959 §3: an initial response goes with the command where the server takes it there.
        let room = if self.capabilities.has_folded("SASL-IR") { COMMAND_LINE } else { 0 };
        let fits = |initial: &mut Bytes| initial.len().div_ceil(3).saturating_mul(4) < room;
        let initial = withheld.take_if(fits);
        self.send_step(Step::Authenticate, |wire| {
            wire.word("AUTHENTICATE ");
            wire.word(mechanism.name());
            if let Some(initial) = initial {
                wire.word(" ");
                // RFC 4959 §3: no octets are told by an equals sign.
                wire.word(&if initial.is_empty() { "=".to_owned() } else { STANDARD.encode(initial) });
            }
        });
        self.phase = Phase::Auth(Box::new(Exchange { machine, withheld }));
    }

    /// A challenge of the mechanism.
    pub(super) fn challenge(&mut self, challenge: &[u8]) -> Turn {
        let Phase::Auth(exchange) = &mut self.phase else { return Turn::Again };
        let octets = STANDARD.decode(challenge.trim_ascii()).ok();
        let response = match exchange.withheld.take() {
            // The first `+` only says go on; some servers have a word for people there.
            Some(initial) => Some(initial),
            None => octets.and_then(|octets| exchange.machine.challenge(&octets).ok()),
        };
        let out = self.outbox.text();
        match response {
            Some(response) => out.put_slice(STANDARD.encode(response).as_bytes()),
            // RFC 9051 §6.2.2: a challenge that is not base64, or not of the mechanism, is answered by cancelling.
            None => out.put_slice(b"*"),
        }
        out.put_slice(b"\r\n");
        Turn::Again
    }

    /// LOGIN, where no mechanism fits (RFC 9051 §6.2.3).
    fn log_in(&mut self) {
        let config = self.config.clone();
        let protected = self.tls.is_some() || config.allow_cleartext;
        let permitted = config.login && protected && !self.capabilities.has("LOGINDISABLED");
        match &config.credentials {
            Credentials::Password { user, password, authzid: None }
                if permitted && !user.contains('\0') && !password.expose().contains(&0) =>
            {
                self.send_step(Step::Login, |wire| {
                    wire.word("LOGIN ");
                    wire.string(user.as_bytes());
                    wire.word(" ");
                    wire.string(password.expose());
                });
            }
            _ => self.give_up(LoginFailure::NoMechanism),
        }
    }

    fn give_up(&mut self, failure: LoginFailure) {
        self.events.push_back(Event::LoginFailed(failure));
        self.send_step(Step::Logout, |wire| wire.word("LOGOUT"));
        self.phase = Phase::Goodbye;
    }
}
