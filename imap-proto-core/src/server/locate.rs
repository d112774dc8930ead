//! Whose mailbox a command names (RFC 2342 §5), found out before the command runs.
//!
//! A name below the other users' or the shared namespace is another account's. The command waits until the account and the
//! client's rights to it are known; from then on [`Core::account`] is that account, [`names::path`] the path inside it, and
//! the flows need not know the difference. Rights are asked for each command anew.

use bytes::Bytes;
use mailstore_trait::session::CloseReason;

use super::append::{Append, try_create};
use super::names;
use super::state::{Core, Flow, Step, finish};
use crate::command::{AclCommand, Command, MetadataCommand, Name, QuotaCommand};
use crate::request::{self, Answer, Located, Owner, Refusal};
use crate::response::Reply;

/// Whose mailbox the running command names.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// The levels of the name that say so.
    pub(super) prefix: Vec<String>,
    pub(super) located: Located,
}

/// A command that waits to know whose mailbox it names.
#[derive(Debug)]
pub(super) struct Locate {
    owner: Owner,
    prefix: Vec<String>,
    waiting: Waiting,
    answer: Option<Answer>,
}

#[derive(Debug)]
enum Waiting {
    Command(Bytes),
    Append(Box<Append>),
    /// Its command went on.
    Nothing,
}

type Wanted = (Owner, Vec<String>);

/// What has to be found out before this command can run.
///
/// # Errors
/// The answer to one that names mailboxes of two accounts where that can't be.
pub(super) fn needed(core: &Core, command: &Command<'_>) -> Result<Option<Wanted>, Reply> {
    let name = match command {
        Command::Rename { from, to } => {
            let (from, to) = (names::owner(core, from), names::owner(core, to));
            // RFC 9051 §6.3.6: what one account has can't become another's by a new name.
            return if from == to { Ok(from) } else { Err(Reply::no("CANNOT", "Not into another namespace")) };
        }
        Command::Select { mailbox, .. }
        | Command::Create { mailbox, .. }
        | Command::Status { mailbox, .. }
        | Command::Copy { mailbox, .. }
        | Command::Move { mailbox, .. }
        | Command::Quota(QuotaCommand::Of(mailbox) | QuotaCommand::RootOf(mailbox))
        | Command::Quota(QuotaCommand::Set { root: mailbox, .. })
        | Command::Acl(AclCommand::Of(mailbox) | AclCommand::Mine(mailbox))
        | Command::Acl(AclCommand::Set { mailbox, .. } | AclCommand::List { mailbox, .. })
        | Command::Metadata(MetadataCommand::Get { mailbox, .. } | MetadataCommand::Set { mailbox, .. })
        | Command::Delete(mailbox) => mailbox,
        _ => return Ok(None),
    };
    Ok(names::owner(core, name))
}

impl Locate {
    pub(super) fn command((owner, prefix): Wanted, frame: Bytes) -> Flow {
        Flow::Locate(Box::new(Locate { owner, prefix, waiting: Waiting::Command(frame), answer: None }))
    }

    /// The flow of an APPEND, behind this one when it goes to another namespace.
    pub(super) fn or_append(core: &mut Core, append: Box<Append>) -> Step {
        core.placed = None;
        Step::Go(match names::owner(core, append.mailbox()) {
            Some((owner, prefix)) => {
                Flow::Locate(Box::new(Locate { owner, prefix, waiting: Waiting::Append(append), answer: None }))
            }
            None => Flow::Append(append),
        })
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        let Some(account) = core.own_account() else { return finish(Reply::bad("Log in first")) };
        match (self.answer.take(), std::mem::replace(&mut self.waiting, Waiting::Nothing)) {
            (None, waiting) => {
                self.waiting = waiting;
                core.ask(request::Locate { account, owner: self.owner.clone() })
            }
            (Some(Answer::Locate(Ok(located))), waiting) => {
                core.placed = Some(Placed { prefix: std::mem::take(&mut self.prefix), located });
                match waiting {
                    Waiting::Command(frame) => super::read::start_located(core, &frame),
                    Waiting::Append(append) => Step::Go(Flow::Append(append)),
                    Waiting::Nothing => finish(Reply::from(Refusal::Unavailable)),
                }
            }
            (Some(Answer::Locate(Err(refusal))), Waiting::Append(append)) => {
                let reply = if refusal == Refusal::NotFound { try_create() } else { refusal.into() };
                append.nowhere(core, reply)
            }
            (Some(Answer::Locate(Err(refusal))), _) => finish(nobody(core.name, refusal)),
            (Some(_), _) => {
                core.close(CloseReason::Unanswered);
                Step::Flush
            }
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        self.answer = Some(answer);
    }
}

/// The answer where there is nobody of this name, or nothing to be seen of them: the one that a mailbox that is not there
/// gets.
fn nobody(name: Name, refusal: Refusal) -> Reply {
    match (name, refusal) {
        (Name::Copy | Name::Move | Name::UidCopy | Name::UidMove, Refusal::NotFound) => try_create(),
        (Name::Create, Refusal::NotFound) => Reply::from(Refusal::Denied),
        (_, refusal) => refusal.into(),
    }
}
