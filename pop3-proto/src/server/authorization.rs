//! The AUTHORIZATION state: who is there, over which connection, in which language.
//!
//! RFC 1939 §4 and §7 (USER, PASS, APOP), RFC 2449 §5, RFC 2595 §4 (STLS), RFC 3206 §4 and §5, RFC 5034 §4 (AUTH),
//! RFC 6856 §2 and §3 (UTF8, LANG).

use std::borrow::Cow;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BufMut;
use mailstore_trait::sasl::{Context, Mechanism, Secret, saslprep};
use mailstore_trait::session::{CloseReason, Line};

use super::update::Farewell;
use super::{Account, Phase, Server, Step, Tarpit, copy_line};
use crate::capability::{Capabilities, Capability};
use crate::command::{Auth, Command, CommandErrorKind};
use crate::event::{Event, Violation};
use crate::maildrop::Maildrop;
use crate::reply::ResponseCode;
use crate::request::{Apop, LoggedIn, Login, LoginRefusal, MaildropOpened, PageRead, SaslStep, SaslStepped};
use crate::text::{self, ENGLISH, Text};

impl Server {
    /// A command of the AUTHORIZATION state.
    pub(super) fn authorization(&mut self, command: Command<'_>, now: Instant) -> Step {
        match command {
            Command::User(name) => self.user(name),
            Command::Pass(password) => return self.pass(password, now),
            Command::Apop { name, digest } => return self.apop(name, digest, now),
            Command::Auth(None) => self.list_mechanisms(),
            Command::Auth(Some(auth)) => return self.auth(auth, now),
            Command::Stls => self.stls(),
            Command::Utf8 => self.utf8(),
            _ => self.bad(Violation::State, Text::NotNow),
        }
        Step::Again
    }

    /// Whether a password may cross this connection.
    fn permits_passwords(&self) -> bool {
        self.tls.is_some() || self.config.allow_cleartext
    }

    fn user(&mut self, name: &[u8]) {
        if !self.config.user_pass {
            return self.bad(Violation::Command(CommandErrorKind::Unknown), Text::UnknownCommand);
        }
        // RFC 5034 §4, RFC 8314 §4.1: no password without TLS, and so no name to go with one.
        if !self.permits_passwords() {
            return self.err(None, Text::NeedTls);
        }
        match self.prepare(name) {
            // Whether there is such a user is never told (RFC 1939 §7 permits it, RFC 1939 §13 warns).
            Some(user) => {
                self.user = Some(user);
                self.ok(Text::SendPassword, [0, 0]);
            }
            None => self.err(None, Text::NotUtf8),
        }
    }

    /// RFC 6856 §2.2: names and passwords are valid UTF-8 and prepared by SASLprep; without UTF8 they are ASCII.
    fn prepare(&self, octets: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(octets).ok()?;
        if !self.config.utf8 && !text.is_ascii() {
            return None;
        }
        saslprep(text).ok().map(Cow::into_owned)
    }

    fn pass(&mut self, password: &[u8], now: Instant) -> Step {
        // RFC 1939 §7: PASS follows a successful USER, and each needs its own.
        let Some(user) = self.user.take() else {
            self.bad(Violation::State, Text::UserFirst);
            return Step::Again;
        };
        match self.prepare(password) {
            Some(password) => {
                self.phase = Phase::Await;
                self.ask(now, Login { user, password: Secret::from(password), tls: self.tls.clone() })
            }
            None => {
                self.login_failed(ResponseCode::Auth, Text::LoginFailed, LoginRefusal::Credentials);
                Step::Again
            }
        }
    }

    fn apop(&mut self, name: &[u8], digest: [u8; 16], now: Instant) -> Step {
        let Some(timestamp) = self.timestamp.clone() else {
            self.bad(Violation::Command(CommandErrorKind::Unknown), Text::UnknownCommand);
            return Step::Again;
        };
        match self.prepare(name) {
            Some(user) => {
                self.phase = Phase::Await;
                self.ask(now, Apop { user, timestamp, digest, tls: self.tls.clone() })
            }
            None => {
                self.login_failed(ResponseCode::Auth, Text::LoginFailed, LoginRefusal::Credentials);
                Step::Again
            }
        }
    }

    /// The mechanisms this connection permits.
    fn mechanisms(&self) -> Vec<Mechanism> {
        let mut context = self.tls.as_deref().map_or_else(Context::cleartext, Context::over_tls);
        context.allow_cleartext = self.config.allow_cleartext;
        let offered = self.config.mechanisms.iter().copied();
        offered.filter(|mechanism| context.permits(*mechanism).is_ok()).collect()
    }

    /// AUTH without arguments: not of RFC 5034, but old clients ask so, and RFC 1734 servers answered.
    fn list_mechanisms(&mut self) {
        let mechanisms = self.mechanisms();
        self.ok(Text::MechanismsFollow, [0, 0]);
        let out = self.outbox.text();
        for mechanism in mechanisms {
            out.put_slice(mechanism.name().as_bytes());
            out.put_slice(b"\r\n");
        }
        out.put_slice(b".\r\n");
    }

    fn auth(&mut self, auth: Auth<'_>, now: Instant) -> Step {
        let known = Mechanism::parse(auth.mechanism).filter(|mechanism| self.config.mechanisms.contains(mechanism));
        let Some(mechanism) = known else {
            self.err(None, Text::NoMechanism);
            return Step::Again;
        };
        if !self.mechanisms().contains(&mechanism) {
            let cleartext = mechanism.is_plaintext() && self.tls.is_none();
            self.err(None, if cleartext { Text::NeedTls } else { Text::NoMechanism });
            return Step::Again;
        }
        let octets = match auth.initial {
            None => None,
            // RFC 5034 §4: a mechanism in which the server speaks first takes no initial response.
            Some(_) if !mechanism.is_client_first() => {
                self.login_failed(ResponseCode::Auth, Text::AuthMalformed, LoginRefusal::Malformed);
                return Step::Again;
            }
            // RFC 5034 §4: a single equals sign is an initial response without octets.
            Some(b"=") => Some(Secret::new(Vec::new())),
            Some(initial) => match STANDARD.decode(initial) {
                Ok(octets) => Some(Secret::new(octets)),
                Err(_) => {
                    self.login_failed(ResponseCode::Auth, Text::AuthMalformed, LoginRefusal::Malformed);
                    return Step::Again;
                }
            },
        };
        self.phase = Phase::SaslResponse(mechanism);
        self.ask(now, SaslStep { mechanism, first: true, octets, tls: self.tls.clone() })
    }

    /// The response to a challenge.
    pub(super) fn next_response(&mut self, mechanism: Mechanism, now: Instant) -> Step {
        if self.stopping {
            self.finish(Farewell::err(ResponseCode::SysTemp, Text::ShuttingDown, CloseReason::Shutdown));
            return Step::Again;
        }
        let line = match self.inbox.line(self.config.limits.sasl_line.max(255)) {
            Line::Complete(len) => copy_line(&mut self.inbox, len),
            Line::Partial if self.inbox.is_closed() => {
                self.finish(Farewell::silent(CloseReason::Eof));
                return Step::Again;
            }
            Line::Partial => return Step::Blocked,
            Line::TooLong => {
                self.phase = Phase::Skip(0);
                return Step::Again;
            }
        };
        self.timers.command(now);
        // RFC 5034 §4: a line of one `*` cancels the exchange.
        if line.as_slice() == b"*" {
            self.login_failed(ResponseCode::Auth, Text::AuthCancelled, LoginRefusal::Malformed);
            return Step::Again;
        }
        // RFC 5034 §4: octets outside the alphabet and padding in the middle are refused, not ignored.
        match STANDARD.decode(&line) {
            Ok(octets) => self.ask(
                now,
                SaslStep { mechanism, first: false, octets: Some(Secret::new(octets)), tls: self.tls.clone() },
            ),
            Err(_) => {
                self.login_failed(ResponseCode::Auth, Text::AuthMalformed, LoginRefusal::Malformed);
                Step::Again
            }
        }
    }

    pub(super) fn sasl_stepped(&mut self, stepped: SaslStepped) {
        match stepped {
            SaslStepped::Challenge(octets) => {
                // RFC 5034 §4: `+`, a space, and the challenge in base64, even when that is empty.
                let out = self.outbox.text();
                out.put_slice(b"+ ");
                out.put_slice(STANDARD.encode(octets).as_bytes());
                out.put_slice(b"\r\n");
            }
            SaslStepped::Over(outcome) => self.login_concluded(outcome),
        }
    }

    pub(super) fn login_concluded(&mut self, outcome: LoggedIn) {
        match outcome {
            LoggedIn::Accepted { user } => self.phase = Phase::Open(user),
            LoggedIn::Refused(refusal) => {
                // RFC 3206 §5: [AUTH] is about the credentials; §4: [SYS/TEMP] is not.
                let (code, text) = match refusal {
                    LoginRefusal::Credentials => (ResponseCode::Auth, Text::LoginFailed),
                    LoginRefusal::Disabled => (ResponseCode::Auth, Text::LoginDisabled),
                    LoginRefusal::Malformed => (ResponseCode::Auth, Text::AuthMalformed),
                    LoginRefusal::Unavailable => (ResponseCode::SysTemp, Text::LoginUnavailable),
                };
                self.login_failed(code, text, refusal);
            }
        }
    }

    /// Refuses a login after a delay that grows.
    fn login_failed(&mut self, code: ResponseCode, text: Text, refusal: LoginRefusal) {
        self.events.push_back(Event::LoginFailed(refusal));
        if refusal == LoginRefusal::Unavailable {
            self.err(Some(code), text);
            self.phase = Phase::Command;
            return;
        }
        self.failed_logins = self.failed_logins.saturating_add(1);
        let wait = self.config.limits.failed_login_delay.saturating_mul(self.failed_logins);
        self.phase = Phase::Tarpit(Tarpit { wait, until: None, code, text });
    }

    /// The delay of a failed login is over.
    pub(super) fn tarpit_over(&mut self, code: ResponseCode, text: Text) {
        if self.failed_logins >= self.config.limits.failed_logins.max(1) {
            self.finish(Farewell::err(code, Text::TooManyFailures, CloseReason::Limit));
        } else {
            self.err(Some(code), text);
            self.phase = Phase::Command;
        }
    }

    fn stls(&mut self) {
        if self.tls.is_some() {
            return self.bad(Violation::State, Text::TlsActive);
        }
        if !self.config.tls {
            return self.err(None, Text::NoTls);
        }
        // RFC 6856 §2.1: STLS must not follow UTF8, and a server may say so.
        if self.utf8 {
            return self.bad(Violation::State, Text::NotNow);
        }
        // RFC 2595 §4: the handshake begins right behind the reply. What lies behind the command already was written by
        // somebody who did not wait for it, and would be taken for the client's once TLS is up.
        if !self.inbox.is_empty() {
            self.events.push_back(Event::Violation(Violation::OctetsBehindStls));
            return self.finish(Farewell::plain_err(Text::OctetsBehindStls, CloseReason::Protocol));
        }
        self.ok(Text::BeginTls, [0, 0]);
        self.phase = Phase::Layer;
    }

    /// RFC 2595 §4: once TLS is up, what was learnt of the client before is forgotten.
    pub(super) fn forget(&mut self) {
        self.user = None;
        self.utf8 = false;
        self.language = &ENGLISH;
        self.inbox.clear();
    }

    fn utf8(&mut self) {
        if !self.config.utf8 {
            return self.bad(Violation::Command(CommandErrorKind::Unknown), Text::UnknownCommand);
        }
        self.utf8 = true;
        self.ok(Text::Utf8Enabled, [0, 0]);
    }

    /// LANG, in both states.
    pub(super) fn lang(&mut self, range: Option<&[u8]>) {
        if self.config.languages.len() < 2 {
            return self.bad(Violation::Command(CommandErrorKind::Unknown), Text::UnknownCommand);
        }
        let Some(range) = range else {
            self.ok(Text::LanguagesFollow, [0, 0]);
            let out = self.outbox.text();
            // RFC 6856 §3.2: a language's tag, a space, and its name in the language itself.
            for catalog in &self.config.languages {
                text::write_clean(catalog.tag(), out);
                out.put_slice(b" ");
                text::write_clean(catalog.name(), out);
                out.put_slice(b"\r\n");
            }
            return out.put_slice(b".\r\n");
        };
        match text::matching(&self.config.languages, range) {
            Some(catalog) => {
                self.language = catalog;
                // RFC 6856 §3.2: +OK, the exact tag, and text in the new language.
                let out = self.outbox.text();
                out.put_slice(b"+OK ");
                text::write_clean(catalog.tag(), out);
                out.put_slice(b" ");
                self.sentence(Text::LanguageChanged, [0, 0]);
            }
            None => self.err(None, Text::NoSuchLanguage),
        }
    }

    /// CAPA, in both states.
    pub(super) fn capa(&mut self) {
        let capabilities = self.capabilities();
        self.ok(Text::CapabilitiesFollow, [0, 0]);
        let out = self.outbox.text();
        capabilities.write(out);
        out.put_slice(b".\r\n");
    }

    /// What this session can do now.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let config = &self.config;
        let always = [
            Capability::TOP,
            Capability::UIDL,
            Capability::RESP_CODES,
            Capability::AUTH_RESP_CODE,
            Capability::PIPELINING,
        ];
        let mut capabilities = Capabilities { flags: always.into_iter().collect(), ..Capabilities::default() };
        // RFC 2449 §5: what is available before login is announced after it too.
        capabilities.flags.set(Capability::USER, config.user_pass && self.permits_passwords());
        // RFC 2595 §4: STLS is announced where it may be given now.
        let stls = config.tls && self.tls.is_none() && self.account.is_none() && !self.utf8;
        capabilities.flags.set(Capability::STLS, stls);
        // RFC 6856 §2.2: USER says that names and passwords may be UTF-8.
        capabilities.flags.set(Capability::UTF8, config.utf8);
        capabilities.flags.set(Capability::UTF8_USER, config.utf8 && config.user_pass);
        capabilities.flags.set(Capability::LANG, config.languages.len() > 1);
        capabilities.mechanisms = self.mechanisms();
        capabilities.implementation = config.implementation.clone();
        capabilities.login_delay = config.login_delay;
        capabilities.expire = config.expire;
        if let Some(account) = &self.account {
            // RFC 2449 §6.5 and §6.7: after login the user's own value, without USER.
            capabilities.login_delay = account.login_delay.or(config.login_delay);
            capabilities.expire = account.expire.or(config.expire);
            capabilities.login_delay.iter_mut().for_each(|delay| delay.per_user = false);
            capabilities.expire.iter_mut().for_each(|expire| expire.per_user = false);
        }
        capabilities
    }

    pub(super) fn maildrop_opened(&mut self, outcome: MaildropOpened) {
        let Phase::Open(user) = std::mem::replace(&mut self.phase, Phase::Command) else { return };
        let opened = match outcome {
            MaildropOpened::Opened(opened) => opened,
            // RFC 2449 §8.1.2: the user is right; only the maildrop is busy.
            MaildropOpened::InUse => {
                self.events.push_back(Event::InUse { user });
                return self.err(Some(ResponseCode::InUse), Text::InUse);
            }
            MaildropOpened::TooSoon => return self.err(Some(ResponseCode::LoginDelay), Text::TooSoon),
            MaildropOpened::Unavailable => return self.err(Some(ResponseCode::SysTemp), Text::StoreUnavailable),
        };
        let limits = &self.config.limits;
        self.timers.held(limits.lease);
        self.timers.renew_in(limits.renew);
        self.account = Some(Box::new(Account {
            user,
            maildrop: Maildrop::with_capacity(opened.messages.min(limits.messages)),
            login_delay: opened.login_delay,
            expire: opened.expire,
            lease_lost: false,
            gone: 0,
        }));
        self.phase = Phase::Page;
    }

    pub(super) fn page_read(&mut self, page: PageRead) {
        let Some(account) = &mut self.account else { return };
        let PageRead::Page { messages, more } = page else {
            let reason = CloseReason::Unanswered;
            return self.finish(Farewell::err(ResponseCode::SysTemp, Text::StoreUnavailable, reason));
        };
        let room = self.config.limits.messages.saturating_sub(account.maildrop.len());
        let known = account.maildrop.len();
        account.maildrop.extend(messages.get(..room).unwrap_or(&messages));
        // A page that brings nothing new is the last, whatever it says: the session must not ask for ever.
        if more && room > messages.len() && account.maildrop.len() > known {
            return;
        }
        let (messages, octets) = account.maildrop.stat();
        self.events.push_back(Event::LoggedIn { user: account.user.clone(), messages, octets });
        self.ok(Text::MaildropReady, [u64::from(messages), octets]);
        self.phase = Phase::Command;
    }
}
