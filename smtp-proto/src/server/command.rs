//! Commands outside a mail transaction's own: hello, STARTTLS, look-ups, and the choice of what runs.
//!
//! RFC 5321 §4.1.1 and §4.1.4, RFC 3207 §4.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use mailstore_trait::session::{CloseReason, LayerError, LayerInfo};

use super::state::{Dropped, Mail, State};
use super::{Server, Step};
use crate::command::params::Others;
use crate::command::{Command, CommandError};
use crate::config::{Ask, Extensions, Role};
use crate::event::{Event, Violation};
use crate::extension::{CommandLine, Course, Extension, OURS, Offer, Parameter};
use crate::reply::{self, EnhancedCode, Reply};
use crate::request::{Abandon, Decision, Expand, ExtensionCommand, Hello, Looked, Origin, Verify};

impl Server {
    /// Runs the command at the front, if it is whole.
    pub(super) fn command(&mut self, now: Instant) -> Step {
        let limits = self.config.limits;
        // RFC 4954 §4: the line of AUTH may hold an initial response, and so be longer than others.
        let is_auth = self.inbox.peek(5).eq_ignore_ascii_case(b"AUTH ");
        let (max, too_long) = match is_auth {
            true => (limits.auth_line.max(limits.line), reply::AUTH_LINE_TOO_LONG),
            false => (limits.line, reply::LINE_TOO_LONG),
        };
        let len = match self.line(now, max, too_long) {
            Ok(len) => len,
            Err(none) => return none.into(),
        };
        let extensions = self.extensions;
        let grammar = limits.grammar.with_utf8(extensions.contains(Extensions::SMTPUTF8));
        let Some(line) = self.without_line_end(len) else {
            self.inbox.consume(len);
            self.enter(now, State::Command);
            self.refuse(reply::BARE_LINE_END);
            return Step::Again;
        };
        let step = match Command::parse(line, extensions, grammar) {
            // These look at the line again, or at the lines behind it.
            Ok(Command::Rcpt(..)) if matches!(self.mail, Mail::Envelope(..)) => return self.rcpt(now, len),
            Ok(Command::Quit) => Run::Quit,
            _ if self.turned_away => Run::Refuse(reply::TURNED_AWAY),
            Ok(Command::Ehlo(name)) => Run::Hello(Verb::Ehlo, name.to_owned()),
            Ok(Command::Helo(name)) => Run::Hello(Verb::Helo, name.to_owned()),
            Ok(Command::Lhlo(name)) => Run::Hello(Verb::Lhlo, name.to_owned()),
            Ok(Command::Mail(path, parameters)) => match self.mail_from(now, path, parameters) {
                Ok(sender) => Run::Mail(sender),
                Err(refusal) => Run::Refuse(refusal),
            },
            Ok(Command::Rcpt(..)) => Run::Refuse(self.no_envelope()),
            Ok(Command::Data) => Run::Data,
            Ok(Command::Bdat { size, last }) if extensions.contains(Extensions::CHUNKING) => Run::Bdat(size, last),
            Ok(Command::Bdat { .. }) => Run::Refuse(reply::NOT_IMPLEMENTED),
            Ok(Command::Rset) => Run::Reset,
            Ok(Command::Noop) => Run::Say(reply::OK),
            Ok(Command::Vrfy(text)) => match looked_up(text, extensions) {
                Some((text, smtputf8)) => Run::Verify(text, smtputf8),
                None => Run::Refuse(reply::BAD_ARGUMENTS),
            },
            Ok(Command::Expn(text)) => match looked_up(text, extensions) {
                Some((text, smtputf8)) => Run::Expand(text, smtputf8),
                None => Run::Refuse(reply::BAD_ARGUMENTS),
            },
            Ok(Command::Help) => Run::Say(self.help(now)),
            Ok(Command::StartTls) => Run::StartTls,
            Ok(Command::Auth { mechanism, initial }) => {
                Run::Auth(mechanism.to_ascii_uppercase(), initial.map(str::to_owned))
            }
            Ok(Command::XClient(attributes)) => Run::XClient(attributes.to_owned()),
            Ok(Command::XForward(attributes)) => Run::XForward(attributes.to_owned()),
            Err(error @ (CommandError::Unknown | CommandError::NotImplemented)) => {
                self.extended(now, line).unwrap_or_else(|| Run::Refuse(reply::command_error(error)))
            }
            // RFC 3030 §2: octets follow whatever the reply is. How many is not known, and as commands they must not run.
            Err(CommandError::Arguments(_)) if is_bdat(line) => Run::Unframed,
            Err(error) => Run::Refuse(reply::command_error(error)),
        };
        self.inbox.consume(len);
        self.run(now, step)
    }

    fn run(&mut self, now: Instant, run: Run) -> Step {
        // Progress: the next command has its whole time.
        self.enter(now, State::Command);
        match run {
            Run::Hello(verb, name) => return self.hello(now, verb, name),
            Run::Mail(sender) => return self.ask_mail(now, sender),
            Run::Data => return self.data(now),
            Run::Bdat(size, last) => return self.bdat(now, size, last),
            Run::Auth(mechanism, initial) => return self.auth(now, mechanism, initial.as_deref()),
            Run::StartTls => self.start_tls(now),
            Run::XClient(attributes) => return self.xclient(now, &attributes),
            Run::XForward(attributes) => self.xforward(&attributes),
            Run::Extension(verb, arguments) => {
                let question = ExtensionCommand { origin: self.origin.clone(), verb, arguments };
                return self.ask(now, question, State::AwaitExtension(verb));
            }
            Run::Verify(text, smtputf8) if self.config.ask.contains(Ask::VERIFY) => {
                let question = Verify { origin: self.origin.clone(), text };
                return self.ask(now, question, State::AwaitLookUp { smtputf8 });
            }
            // RFC 5321 §3.5.3: 252 neither confirms nor denies.
            Run::Verify(..) => self.say(&reply::CANNOT_VERIFY),
            Run::Expand(text, smtputf8) if self.config.ask.contains(Ask::EXPAND) => {
                let question = Expand { origin: self.origin.clone(), text };
                return self.ask(now, question, State::AwaitLookUp { smtputf8 });
            }
            Run::Expand(..) => self.refuse(reply::NOT_IMPLEMENTED),
            Run::Reset if self.is_uploading() => {
                return self.ask(now, Abandon, State::AwaitDrop(Dropped::Reset));
            }
            Run::Reset => {
                self.mail = Mail::None;
                self.forget_forwarded();
                self.say(&reply::OK);
            }
            Run::Quit => {
                self.say(&reply::BYE);
                self.close(CloseReason::Quit);
            }
            Run::Say(reply) => self.say(&reply),
            Run::Answer(verb, reply) => self.ran(now, verb, reply),
            Run::Refuse(reply) => self.refuse(reply),
            Run::Unframed => {
                self.violated(Violation::Unframed);
                self.say(&reply::UNKNOWN_CHUNK_SIZE);
                self.close(CloseReason::Protocol);
            }
        }
        Step::Again
    }

    // RFC 5321 §4.1.1.1 and §4.1.4: hello resets whatever transaction there was.
    // Deviation from RFC 5321 §4.1.1.1: any word is taken for a name; clients behind home routers rarely know theirs.
    fn hello(&mut self, now: Instant, verb: Verb, name: String) -> Step {
        // RFC 2033 §4.1: LHLO is LMTP's only hello, and no one else's.
        if (verb == Verb::Lhlo) != (self.config.role == Role::Lmtp) {
            self.refuse(reply::UNRECOGNIZED.without_code());
            return Step::Again;
        }
        if name.len() > self.config.limits.grammar.domain || name.contains([' ', '\t']) {
            self.refuse(reply::BAD_ARGUMENTS.without_code());
            return Step::Again;
        }
        self.events.push_back(Event::Hello { name: name.clone() });
        let mut origin = self.origin.clone();
        let client = Arc::make_mut(&mut origin);
        client.hello = name;
        client.extended = verb != Verb::Helo;
        if self.config.ask.contains(Ask::HELLO) {
            return self.ask(now, Hello { origin: origin.clone() }, State::AwaitHello(origin));
        }
        self.hello_decided(now, origin, Decision::Accepted)
    }

    // RFC 5321 §4.1.4: after a hello that is refused everything is as it was before.
    pub(super) fn hello_decided(&mut self, now: Instant, origin: Arc<Origin>, decision: Decision) -> Step {
        self.enter(now, State::Command);
        match decision {
            Decision::Accepted => {
                self.origin = origin;
                if self.is_uploading() {
                    return self.ask(now, Abandon, State::AwaitDrop(Dropped::Hello));
                }
                self.mail = Mail::None;
                self.greet(now);
            }
            Decision::Refused(reply) => self.refuse(reply.refusing().without_code()),
        }
        Step::Again
    }

    pub(super) fn greet(&mut self, now: Instant) {
        let config = self.config.clone();
        let first = format!("{} greets {}", config.hostname, self.origin.hello);
        let lines = std::iter::once(Cow::Owned(first));
        if self.origin.extended {
            let to = Offer { config: &config, origin: &self.origin, date: self.date(now) };
            let ours = OURS.iter().filter(|ours| self.extensions.contains(ours.of)).filter_map(|ours| ours.offer(&to));
            let registered = config.registered.iter().filter_map(|extension| extension.offer(&to));
            reply::write_lines(self.outbox.text(), 250, lines.chain(ours).chain(registered));
        } else {
            reply::write_lines(self.outbox.text(), 250, lines);
        }
    }

    /// The extensions in force that have verbs: ours, and the registered ones that are offered on this stream.
    fn in_force<'a>(&'a self, to: &'a Offer<'a>) -> impl Iterator<Item = &'a dyn Extension> {
        let ours = OURS.iter().filter(|ours| self.extensions.contains(ours.of)).map(|ours| ours as &dyn Extension);
        let registered = self.config.registered.iter().map(|it| &**it);
        ours.chain(registered.filter(|extension| extension.offer(to).is_some()))
    }

    /// The commands that run here and now.
    fn help(&self, now: Instant) -> Reply {
        let hello = if self.config.role == Role::Lmtp { "LHLO" } else { "EHLO HELO" };
        let mut text = format!("{hello} MAIL RCPT DATA RSET NOOP QUIT VRFY HELP");
        if self.config.ask.contains(Ask::EXPAND) {
            text.push_str(" EXPN");
        }
        let to = Offer { config: &self.config, origin: &self.origin, date: self.date(now) };
        for verb in self.in_force(&to).flat_map(Extension::verbs) {
            text.push(' ');
            text.push_str(verb);
        }
        Reply::new(214, EnhancedCode::new(2, 0, 0), text)
    }

    /// What a verb of an extension leads to; `None` where no extension in force has it.
    fn extended(&self, now: Instant, line: &[u8]) -> Option<Run> {
        let line = std::str::from_utf8(line).ok()?.trim_ascii_end();
        let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let to = Offer { config: &self.config, origin: &self.origin, date: self.date(now) };
        self.in_force(&to).find_map(|extension| {
            let verb = extension.verbs().iter().find(|verb| verb.eq_ignore_ascii_case(name))?;
            // RFC 5321 §4.1.4: only after EHLO is it known that there is an extension.
            if !self.origin.extended {
                return Some(Run::Refuse(reply::HELLO_FIRST));
            }
            // RFC 3030 §2: between chunks only BDAT and RSET.
            if self.is_uploading() {
                return Some(Run::Refuse(reply::CHUNKS_BEGUN));
            }
            let in_mail = !matches!(self.mail, Mail::None);
            let command = CommandLine { verb, arguments: arguments.trim_ascii(), origin: &self.origin, in_mail };
            Some(match extension.command(&command) {
                Course::Ask => Run::Extension(verb, command.arguments.to_owned()),
                Course::Say(reply) => Run::Answer(verb, reply),
            })
        })
    }

    pub(super) fn ran(&mut self, now: Instant, verb: &'static str, reply: Reply) {
        self.enter(now, State::Command);
        let reply = if matches!(reply.code, 200..=299 | 400..=599) { reply } else { reply::LOCAL_ERROR };
        if reply.is_positive() {
            self.say(&reply);
            self.events.push_back(Event::Ran { verb, reply });
        } else {
            self.refuse(reply);
        }
    }

    /// What the registered extensions in force say of parameters that are of no extension of this crate.
    // RFC 5321 §4.1.1.11: 555 for a parameter that nobody knows.
    pub(super) fn refused_parameter(&self, now: Instant, others: Others<'_>, rcpt: bool) -> Option<Reply> {
        if others.is_empty() {
            return None;
        }
        let to = Offer { config: &self.config, origin: &self.origin, date: self.date(now) };
        let registered: Vec<_> = self.config.registered.iter().filter(|it| it.offer(&to).is_some()).collect();
        others.iter().find_map(|(keyword, value)| {
            let says = registered.iter().map(|extension| match rcpt {
                false => extension.mail_parameter(keyword, value),
                true => extension.rcpt_parameter(keyword, value),
            });
            match says.into_iter().find(|said| *said != Parameter::Unknown) {
                Some(Parameter::Taken) => None,
                Some(Parameter::Malformed) => Some(reply::BAD_PARAMETER),
                _ => Some(reply::UNKNOWN_PARAMETER),
            }
        })
    }

    fn start_tls(&mut self, now: Instant) {
        if self.origin.tls.is_some() {
            return self.refuse(reply::TLS_ACTIVE);
        }
        if !self.config.starttls {
            return self.refuse(reply::NOT_IMPLEMENTED);
        }
        // RFC 3030 §2: between chunks only BDAT and RSET.
        if self.is_uploading() {
            return self.refuse(reply::CHUNKS_BEGUN);
        }
        // RFC 3207 §4.2: what a man in the middle put behind the command must not run under TLS.
        if !self.inbox.is_empty() {
            self.violated(Violation::BehindStartTls);
            self.say(&reply::AFTER_STARTTLS);
            return self.close(CloseReason::Protocol);
        }
        self.say(&reply::READY_FOR_TLS);
        self.enter(now, State::AwaitLayer { asked: false });
    }

    // RFC 3207 §4.2: after the handshake everything known from the client is forgotten, a login in clear too.
    pub(super) fn secured(&mut self, now: Instant, done: Result<LayerInfo, LayerError>) -> Step {
        match done {
            Ok(info) => {
                let origin = Arc::make_mut(&mut self.origin);
                origin.hello.clear();
                origin.extended = false;
                origin.identity = None;
                origin.tls = Some(info);
                self.mail = Mail::None;
                self.refresh();
                self.events.push_back(Event::Secured);
                self.enter(now, State::Command);
            }
            // The client already read 220: there is no way back to cleartext.
            Err(_) => self.close(CloseReason::Layer),
        }
        Step::Again
    }

    pub(super) fn looked_up(&mut self, now: Instant, looked: Looked, smtputf8: bool) {
        self.enter(now, State::Command);
        match looked {
            Looked::Found(names) if !smtputf8 && !names.iter().all(|name| name.is_ascii()) => {
                self.say(&reply::ANSWER_IS_UTF8);
            }
            Looked::Found(names) if !names.is_empty() => {
                let lines = names.into_iter().map(|name| Cow::Owned(format!("2.1.5 {name}")));
                reply::write_lines(self.outbox.text(), 250, lines);
            }
            Looked::Found(_) => self.refuse(reply::UNKNOWN_RECIPIENT),
            Looked::Reply(reply) if reply.code == 252 => self.say(&reply),
            Looked::Reply(reply) => self.refuse(reply.refusing()),
        }
    }

    pub(super) fn is_uploading(&self) -> bool {
        matches!(self.mail, Mail::Chunks(_))
    }
}

/// What VRFY or EXPN asks about, and whether SMTPUTF8 is behind it; `None` where it had to be.
// RFC 6531 §3.7.4.2: SMTPUTF8 says that the argument may be UTF-8, and the reply too.
fn looked_up(text: &str, extensions: Extensions) -> Option<(String, bool)> {
    let split = text.rsplit_once(' ').filter(|(_, word)| word.eq_ignore_ascii_case("SMTPUTF8"));
    match split.filter(|_| extensions.contains(Extensions::SMTPUTF8)) {
        Some((text, _)) => Some((text.trim_end().to_owned(), true)),
        None => text.is_ascii().then(|| (text.to_owned(), false)),
    }
}

/// Which hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Ehlo,
    Helo,
    Lhlo,
}

/// A command that no longer borrows its line.
enum Run {
    Hello(Verb, String),
    Mail(crate::request::Sender),
    Data,
    Bdat(u64, bool),
    Auth(String, Option<String>),
    StartTls,
    /// With whether the answer may be UTF-8.
    Verify(String, bool),
    Expand(String, bool),
    XClient(String),
    XForward(String),
    /// A verb of an extension, to be asked, and its arguments.
    Extension(&'static str, String),
    /// A verb of an extension that needs no question.
    Answer(&'static str, Reply),
    Reset,
    Quit,
    Say(Reply),
    Refuse(Reply),
    /// Octets follow, nobody knows how many.
    Unframed,
}

fn is_bdat(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"))
}
