//! LOGIN and AUTHENTICATE (RFC 9051 §6.2.2, §6.2.3; RFC 4959), and ID.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes};
use mailstore_trait::sasl::{Mechanism, Secret};
use mailstore_trait::session::{CloseReason, Line};

use super::discard::wait;
use super::enable::{self, Enabled};
use super::state::{Core, Flow, Patience, Step, finish};
use crate::event::Event;
use crate::request;
use crate::request::{Answer, Authenticated, LoginFailure, SaslStart, SaslStep};
use crate::response::{self, Quoted, Reply, Status};

/// A LOGIN that is being checked.
#[derive(Debug)]
pub(super) struct Login {
    ask: Option<request::Login>,
    user: String,
    answer: Option<Result<Authenticated, LoginFailure>>,
}

pub(super) fn login(core: &mut Core, user: &[u8], password: &[u8]) -> Step {
    // RFC 9051 §6.2.3: LOGINDISABLED. The password has crossed the wire already; it is not looked at.
    if !core.connection.tls && !core.config.allow_cleartext {
        return finish(Reply::no("PRIVACYREQUIRED", "Start TLS first"));
    }
    let Ok(user) = std::str::from_utf8(user) else {
        return failed(core, None, LoginFailure::Credentials);
    };
    let ask = Some(request::Login { user: user.to_owned(), password: Secret::new(password) });
    Step::Go(Flow::Login(Login { ask, user: user.to_owned(), answer: None }))
}

impl Login {
    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        if let Some(ask) = self.ask.take() {
            return core.ask(ask);
        }
        match self.answer.take() {
            Some(Ok(authenticated)) => logged_in(core, authenticated),
            Some(Err(failure)) => failed(core, Some(std::mem::take(&mut self.user)), failure),
            None => Step::Drain,
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        if let Answer::Login(answer) = answer {
            self.answer = Some(answer);
        }
    }
}

/// A SASL exchange.
#[derive(Debug)]
pub(super) struct Sasl {
    ask: Option<request::Sasl>,
    answer: Option<SaslStep>,
}

pub(super) fn authenticate(core: &mut Core, name: &[u8], initial: Option<&[u8]>) -> Step {
    let offered = Mechanism::parse(name).filter(|mechanism| core.config.mechanisms.contains(mechanism));
    let Some(mechanism) = offered.filter(|_| !core.config.disabled.contains("AUTH")) else {
        return finish(Reply::no("CANNOT", "Unknown mechanism"));
    };
    if mechanism.is_plaintext() && !core.connection.tls && !core.config.allow_cleartext {
        return finish(Reply::no("PRIVACYREQUIRED", "Start TLS first"));
    }
    if core.connection.permits(mechanism).is_err() {
        return finish(Reply::from(&LoginFailure::Mechanism));
    }
    let octets = match initial {
        // RFC 4959 §3: `=` is an initial response without octets.
        Some(b"=") => Some(Secret::new(Vec::new())),
        Some(response) => match STANDARD.decode(response) {
            Ok(octets) => Some(Secret::new(octets)),
            Err(_) => return finish(Reply::bad("Illegal base64")),
        },
        None => None,
    };
    let start = Some(SaslStart { mechanism: mechanism.name().to_owned(), tls: core.tls.clone() });
    Step::Go(Flow::Sasl(Sasl { ask: Some(request::Sasl { start, octets }), answer: None }))
}

impl Sasl {
    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        if let Some(ask) = self.ask.take() {
            return core.ask(ask);
        }
        match self.answer.take() {
            Some(SaslStep::Challenge(octets)) => challenge(core, &octets),
            Some(SaslStep::Authenticated(authenticated)) => return logged_in(core, authenticated),
            Some(SaslStep::Failed(failure)) => return failed(core, None, failure),
            None => {}
        }
        self.read(core)
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        if let Answer::Sasl(answer) = answer {
            self.answer = Some(answer);
        }
    }

    /// RFC 9051 §6.2.2: a line of base64, or `*` to cancel.
    fn read(&mut self, core: &mut Core) -> Step {
        if core.shutting_down {
            core.bye("The server is shutting down", CloseReason::Shutdown);
            return Step::Flush;
        }
        let len = match core.inbox.line(core.config.limits.sasl_line) {
            Line::Complete(len) => len,
            Line::Partial => return wait(core, Patience::Command),
            Line::TooLong => {
                core.bye("The response is too long", CloseReason::Limit);
                return Step::Flush;
            }
        };
        let line = core.inbox.peek(len);
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let response = if line == b"*" { None } else { Some(STANDARD.decode(line).map(Secret::new)) };
        core.inbox.consume(len);
        match response {
            None => finish(Reply::bad("AUTHENTICATE cancelled")),
            Some(Err(_)) => finish(Reply::bad("Illegal base64")),
            Some(Ok(octets)) => core.ask(request::Sasl { start: None, octets: Some(octets) }),
        }
    }
}

fn challenge(core: &mut Core, octets: &Bytes) {
    let line = STANDARD.encode(octets);
    core.go_ahead(line.as_bytes());
}

/// UNAUTHENTICATE (RFC 8437 §3, RFC 8437 §4.1): as if nobody had logged in on this connection, which keeps its TLS.
pub(super) fn unauthenticate(core: &mut Core) -> Step {
    core.login = None;
    core.view = None;
    (core.selected, core.placed, core.watched) = (None, None, None);
    core.hint = None;
    core.config = std::sync::Arc::clone(&core.listener);
    (core.condstore, core.qresync) = (false, false);
    (core.enabled, core.quoted) = (Enabled::empty(), Quoted::Ascii);
    enable::begin(core);
    core.logged_out = core.now;
    core.set_window(0);
    core.event(Event::LoggedOut);
    core.tagged(&Reply::ok("UNAUTHENTICATE completed"));
    Step::Go(Flow::Ready)
}

fn logged_in(core: &mut Core, authenticated: Authenticated) -> Step {
    if !authenticated.disabled.is_empty() {
        let mut config = (*core.config).clone();
        config.disabled.extend(authenticated.disabled.iter().cloned());
        core.config = std::sync::Arc::new(config);
    }
    core.event(Event::LoggedIn { account: authenticated.account, user: authenticated.user.clone() });
    core.login = Some(authenticated);
    core.set_window(0);
    let mut code = bytes::BytesMut::new();
    core.write_capabilities(&mut code);
    let referral = core.login.as_mut().and_then(|login| login.referral.take());
    let Some(referral) = referral else { return finish(Reply { code, ..Reply::ok("Logged in") }) };
    // RFC 2221 §4.1: there is room for one code.
    let out = core.out();
    out.put_slice(b"* ");
    out.put_slice(&code);
    out.put_slice(b"\r\n");
    finish(Reply::ok("Logged in; the mailboxes are elsewhere").with_code(|code| write_referral(&referral, code)))
}

fn failed(core: &mut Core, user: Option<String>, failure: LoginFailure) -> Step {
    let reply = match &failure {
        LoginFailure::Elsewhere(url) => {
            Reply::new(Status::No, "Log in elsewhere").with_code(|code| write_referral(url, code))
        }
        failure => Reply::from(failure),
    };
    if matches!(failure, LoginFailure::Credentials | LoginFailure::Authorization) {
        core.event(Event::LoginFailed { user });
        core.failed_logins += 1;
        if core.failed_logins >= core.config.limits.failed_logins {
            core.tagged(&reply);
            core.bye("Too many failed logins", CloseReason::Limit);
            return Step::Flush;
        }
    }
    finish(reply)
}

/// RFC 2221 §5: a URL, without anything that would end the code.
fn write_referral(url: &str, code: &mut bytes::BytesMut) {
    code.put_slice(b"REFERRAL ");
    code.extend(url.bytes().filter(|octet| octet.is_ascii_graphic() && *octet != b']'));
}

/// RFC 2971 §3.1: the ID response.
pub(super) fn write_id(core: &mut Core) {
    let (config, quoted) = (std::sync::Arc::clone(&core.config), core.quoted);
    let out = core.out();
    out.put_slice(b"* ID ");
    if config.id.is_empty() {
        out.put_slice(b"NIL\r\n");
        return;
    }
    let mut separator = b'(';
    for (name, value) in &config.id {
        out.put_u8(separator);
        separator = b' ';
        response::string(name.as_bytes(), quoted, out);
        out.put_u8(b' ');
        response::string(value.as_bytes(), quoted, out);
    }
    out.put_slice(b")\r\n");
}

/// The greeting (RFC 9051 §7.1.1), capabilities included, because some clients never ask.
pub(super) fn write_greeting(core: &mut Core) {
    let mut line = bytes::BytesMut::from(&b"* OK ["[..]);
    core.write_capabilities(&mut line);
    line.put_slice(b"] ");
    line.put_slice(core.config.greeting.as_bytes());
    line.put_slice(b"\r\n");
    core.out().put_slice(&line);
}
