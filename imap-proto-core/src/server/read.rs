//! Between commands: finding the next one, letting its literals in, and starting its flow.

use mailstore_trait::session::CloseReason;

use super::ability::Ability;
use super::append::Append;
use super::condstore;
use super::discard::Discard;
use super::enable;
use super::expunge::Expunge;
use super::fetch::Fetch;
use super::idle::Idle;
use super::layer;
use super::list::{Form, List};
use super::locate::{self, Locate};
use super::login;
use super::mailbox::Mailbox;
use super::search::{self, Search, Wish};
use super::select::Select;
use super::state::{Core, Flow, Patience, Step, finish};
use super::status::Status;
use super::store::{self, Store};
use super::sync::Finish;
use super::transfer::Transfer;
use super::uid_batches::uid_batches;
use crate::command::{self, Command, Name, ParseError, Tagged};
use crate::event::Event;
use crate::frame::{Announced, Frame, Framer};
use crate::response::Reply;
use crate::server::list;

pub(super) fn poll(core: &mut Core) -> Step {
    if core.shutting_down {
        core.bye("The server is shutting down", CloseReason::Shutdown);
        return Step::Flush;
    }
    skip_empty_lines(core);
    match core.framer.look(core.inbox.as_slice(), core.max_line()) {
        Frame::Partial if core.inbox.is_closed() => {
            core.close(CloseReason::Eof);
            Step::Flush
        }
        Frame::Partial if core.inbox.is_empty() => Step::Input(Patience::Command),
        Frame::Partial if core.framer.is_at_start() => Step::Input(Patience::Line),
        Frame::Partial => Step::Input(Patience::Data),
        Frame::TooLong => {
            core.bye("The command is too long", CloseReason::Limit);
            Step::Flush
        }
        Frame::Literal(announced) => literal(core, announced),
        Frame::Complete(len) => complete(core, len),
    }
}

/// Some clients send an empty line before a tag; nothing in the grammar begins with one, so it is no command.
fn skip_empty_lines(core: &mut Core) {
    while core.framer.is_at_start() {
        let empty = match core.inbox.as_slice() {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            _ => return,
        };
        core.inbox.consume(empty);
        core.framer = Framer::new();
    }
}

/// Keeps the tag for the answer.
fn note_tag(core: &mut Core, frame: &[u8]) {
    core.tag.clear();
    match command::tag(frame) {
        Some(tag) => core.tag.extend_from_slice(tag),
        // RFC 9051 §7.1.3: an error without a tag to put it to is untagged.
        None => core.tag.push(b'*'),
    }
}

/// What an announced literal is.
enum Announces {
    /// A part of its command.
    Part,
    /// An APPEND's message.
    Message(Name, Box<Append>),
    /// Nothing that can be taken.
    Refused(Reply),
}

/// A literal is announced: part of the command, a message, or refused.
fn literal(core: &mut Core, announced: Announced) -> Step {
    match announces(core, announced) {
        Announces::Refused(reply) => refuse(core, announced, reply),
        Announces::Message(name, append) => {
            note_tag_of(core, announced.end);
            core.name = name;
            core.inbox.consume(announced.end);
            core.framer = Framer::new();
            Locate::or_append(core, append)
        }
        Announces::Part => match take_part(core, announced) {
            Ok(()) => Step::Flush,
            Err(reply) => refuse(core, announced, reply),
        },
    }
}

/// Makes an announced literal part of the frame.
///
/// # Errors
/// The answer to one that is too large, or one too many.
pub(super) fn take_part(core: &mut Core, announced: Announced) -> Result<(), Reply> {
    let room = core.max_literals().saturating_sub(core.framer.literal_octets());
    let octets = announced.octets.and_then(|octets| usize::try_from(octets).ok()).unwrap_or(usize::MAX);
    if octets > room || core.framer.literals() >= core.config.limits.literal_count {
        return Err(too_big());
    }
    core.framer.accept(announced);
    core.set_window(announced.end + octets);
    if announced.waits {
        core.go_ahead(b"Ready for the literal");
    }
    Ok(())
}

fn announces(core: &Core, announced: Announced) -> Announces {
    if let Err(reply) = core.permits_literal(&announced) {
        return Announces::Refused(reply);
    }
    let named = command::head(core.inbox.peek(announced.end)).and_then(|head| Ok((head, head.name?)));
    let (head, name) = match named {
        Ok(named) => named,
        Err(error) => return Announces::Refused(bad(error)),
    };
    if let Err(reply) = core.permits(name) {
        return Announces::Refused(reply);
    }
    if !name.appends() {
        return Announces::Part;
    }
    match head.append(&core.config.limits.bounds) {
        Ok(Some(head)) => match Append::new(core, name, &head, Some(announced)) {
            Ok(append) => Announces::Message(name, Box::new(append)),
            Err(reply) => Announces::Refused(reply),
        },
        Ok(None) => Announces::Part,
        Err(error) => Announces::Refused(bad(error)),
    }
}

fn note_tag_of(core: &mut Core, len: usize) {
    let mut tag = std::mem::take(&mut core.tag);
    tag.clear();
    tag.extend_from_slice(command::tag(core.inbox.peek(len)).unwrap_or(b"*"));
    core.tag = tag;
}

/// RFC 9051 §7.1, TOOBIG.
fn too_big() -> Reply {
    Reply::bad("Too many or too large literals").with_code(|code| code.extend_from_slice(b"TOOBIG"))
}

/// Answers without taking the literal. One that is not waited for comes all the same and is dropped.
fn refuse(core: &mut Core, announced: Announced, reply: Reply) -> Step {
    note_tag_of(core, announced.end);
    core.inbox.consume(announced.end);
    core.framer = Framer::new();
    core.set_window(0);
    if reply.status == crate::response::Status::Bad && count_bad(core) {
        return Step::Flush;
    }
    Step::Go(Discard::flow(announced, reply, core.config.limits.discard))
}

pub(super) fn bad(error: ParseError) -> Reply {
    Reply::bad(match error.expected {
        command::Expected::Command => "Unknown command",
        command::Expected::Tag => "A tag is missing",
        command::Expected::SequenceSet => "Illegal sequence set",
        command::Expected::FetchItem | command::Expected::Section => "Unknown fetch item",
        command::Expected::SearchKey => "Unknown search key",
        command::Expected::SortKey => "Unknown sort criterion",
        command::Expected::Flag => "Unknown flag",
        command::Expected::Date => "Illegal date",
        command::Expected::LessDepth => "Nested too deep",
        command::Expected::Fewer => "Too many parts in one command",
        command::Expected::Text => "Text is not in the charset",
        command::Expected::Option | command::Expected::StatusItem => "Unknown option",
        _ => "Syntax error",
    })
}

/// Counts a command that could not be read; true when that ends the session.
fn count_bad(core: &mut Core) -> bool {
    core.bad += 1;
    let limits = &core.config.limits;
    let limit = if core.login.is_some() { limits.bad } else { limits.bad_before_login };
    if core.bad < limit {
        return false;
    }
    core.event(Event::Fault { what: "too many bad commands" });
    core.tagged(&Reply::bad("Too many bad commands"));
    core.bye("Too many bad commands", CloseReason::Limit);
    true
}

/// A command is there whole.
fn complete(core: &mut Core, len: usize) -> Step {
    // The frame leaves the input without being copied; the flow keeps of it what it needs.
    let frame = core.inbox.take(len);
    core.framer = Framer::new();
    core.set_window(0);
    note_tag(core, &frame);
    let parsed = command::head(&frame).and_then(|head| Ok((head, head.name?)));
    let (head, name) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return answer_bad(core, bad(error)),
    };
    if let Err(reply) = core.permits(name) {
        return answer_bad(core, reply);
    }
    if name.appends() {
        // Without a literal: all parts are copies (RFC 4469), or the message is missing.
        let append = match head.append(&core.config.limits.bounds) {
            Ok(Some(head)) => Append::new(core, name, &head, None),
            Ok(None) => Err(Reply::bad("A message is missing")),
            Err(error) => Err(bad(error)),
        };
        return match append {
            Ok(append) => {
                core.bad = 0;
                core.name = name;
                Locate::or_append(core, Box::new(append))
            }
            Err(reply) => answer_bad(core, reply),
        };
    }
    match head.command(name, &core.config.limits.bounds) {
        Ok(Tagged { command, .. }) => {
            if let Err(reply) = enable::permits(core, &command).and_then(|()| condstore::note(core, &command)) {
                return answer_bad(core, reply);
            }
            core.bad = 0;
            core.name = name;
            core.limited_to = None;
            match locate::needed(core, &command) {
                Ok(None) => {
                    core.placed = None;
                    start(core, command)
                }
                Ok(Some(wanted)) => Step::Go(Locate::command(wanted, frame.clone())),
                Err(reply) => finish(reply),
            }
        }
        Err(error) => answer_bad(core, bad(error)),
    }
}

fn answer_bad(core: &mut Core, reply: Reply) -> Step {
    if count_bad(core) {
        return Step::Flush;
    }
    core.tagged(&reply);
    Step::Go(Flow::Ready)
}

/// Starts the command in a frame that was read before, once it is known whose mailbox it names.
pub(super) fn start_located(core: &mut Core, frame: &[u8]) -> Step {
    let parsed = command::head(frame).and_then(|head| head.command(head.name?, &core.config.limits.bounds));
    match parsed {
        Ok(Tagged { command, .. }) => start(core, command),
        Err(error) => answer_bad(core, bad(error)),
    }
}

/// Starts a command's flow.
fn start(core: &mut Core, command: Command<'_>) -> Step {
    match command {
        Command::Capability => {
            let mut line = bytes::BytesMut::from(&b"* "[..]);
            core.write_capabilities(&mut line);
            line.extend_from_slice(b"\r\n");
            core.out().extend_from_slice(&line);
            finish(Reply::ok("CAPABILITY completed"))
        }
        Command::Noop => Step::Go(Flow::Finish(Box::new(Finish::looking(Reply::ok("NOOP completed"))))),
        Command::Check => Step::Go(Flow::Finish(Box::new(Finish::looking(Reply::ok("CHECK completed"))))),
        Command::Logout => {
            core.untagged("BYE Logging out");
            core.tagged(&Reply::ok("LOGOUT completed"));
            core.close(CloseReason::Quit);
            Step::Flush
        }
        Command::Id(fields) => {
            let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
            let fields = fields.iter().map(|(name, value)| (text(name), value.as_deref().map(text))).collect();
            core.event(Event::ClientId { fields });
            login::write_id(core);
            finish(Reply::ok("ID completed"))
        }
        Command::StartTls => layer::start_tls(core),
        Command::Compress(algorithm) => layer::compress(core, algorithm),
        Command::Unauthenticate => login::unauthenticate(core),
        Command::UidBatches { size, range } => uid_batches(core, size, range),
        Command::Authenticate { mechanism, initial } => login::authenticate(core, mechanism, initial),
        Command::Login { user, password } => login::login(core, &user, &password),
        Command::Enable(words) => enable::enable(core, &words),
        Command::Select { mailbox, read_only, parameters } => Select::start(core, &mailbox, read_only, parameters),
        Command::Create { mailbox, uses } => Mailbox::create(core, &mailbox, &uses),
        Command::Delete(name) => Mailbox::delete(core, &name),
        Command::Rename { from, to } => Mailbox::rename(core, &from, &to),
        Command::Subscribe(name) => Mailbox::subscribe(core, &name, true),
        Command::Unsubscribe(name) => Mailbox::subscribe(core, &name, false),
        Command::List(arguments) => List::start(core, &arguments),
        Command::Lsub { reference, pattern } => List::plain(core, Form::Lsub, &reference, &pattern),
        Command::Xlist { reference, pattern } => List::plain(core, Form::Xlist, &reference, &pattern),
        Command::Namespace => {
            list::write_namespace(core);
            finish(Reply::ok("NAMESPACE completed"))
        }
        Command::Quota(command) => Ability::quota(core, command),
        Command::Acl(command) => Ability::acl(core, command),
        Command::Metadata(command) => Ability::metadata(core, command),
        Command::Status { mailbox, items } => Status::start(core, &mailbox, items),
        Command::Idle => Idle::start(core),
        Command::Close => Expunge::close(core),
        Command::Unselect => {
            core.view = None;
            finish(Reply::ok("UNSELECT completed"))
        }
        Command::Expunge(set) => Expunge::start(core, set.as_ref()),
        Command::Search { uid, arguments } => Search::start(core, Wish::Search, uid, &arguments),
        Command::Sort { uid, criteria, arguments } => Search::start(core, Wish::Sort(criteria), uid, &arguments),
        Command::Thread { uid, algorithm, arguments } => Search::start(core, Wish::Thread(algorithm), uid, &arguments),
        Command::CancelUpdate(tags) => search::cancel_updates(core, tags.iter().map(AsRef::as_ref)),
        Command::Fetch { uid, set, items, modifiers } => Fetch::start(core, uid, &set, items, modifiers),
        Command::Store { uid, set, action, silent, flags, unchanged_since } => {
            let wish = store::Wish { action, silent, unchanged_since };
            Store::start(core, uid, &set, wish, flags.to_set())
        }
        Command::Copy { uid, set, mailbox } => Transfer::start(core, uid, &set, &mailbox, false),
        Command::Move { uid, set, mailbox } => Transfer::start(core, uid, &set, &mailbox, true),
    }
}
