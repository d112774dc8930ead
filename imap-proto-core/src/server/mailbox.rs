//! CREATE, DELETE, RENAME, SUBSCRIBE and UNSUBSCRIBE (RFC 9051 §6.3.4 to §6.3.8, RFC 6154 §3).

use mailstore_trait::folder::{Folder, FolderList, Role};
use mailstore_trait::session::CloseReason;

use super::state::{Core, Flow, Step, finish};
use super::{list, names};
use crate::request::{Answer, CreateFolder, DeleteFolder, Folders, Refusal, RenameFolder, RenameInbox, Subscribe};
use crate::response::{self, Reply};

/// A change of the folder tree.
#[derive(Debug)]
pub(super) struct Mailbox {
    action: Action,
    /// The name as the client wrote it, where the mailbox's is another.
    old_name: Option<String>,
    /// Whether the selected mailbox is being deleted.
    leaves: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Action {
    Create { path: Vec<String>, role: Option<Role> },
    Delete { path: Vec<String> },
    Rename { from: Vec<String>, to: Vec<String> },
    Subscribe { path: Vec<String>, subscribed: bool },
}

#[derive(Debug)]
enum Stage {
    Start,
    Answered(Answer),
    Await,
}

impl Mailbox {
    pub(super) fn create(core: &mut Core, name: &[u8], uses: &[&[u8]]) -> Step {
        let role = match uses {
            [] => None,
            // RFC 6154 §3: a use that can't be given fails the whole CREATE.
            [one] => match std::str::from_utf8(one).ok().and_then(Role::by_attribute) {
                Some(role) => Some(role),
                None => return finish(Reply::no("USEATTR", "Unknown special use")),
            },
            _ => return finish(Reply::no("USEATTR", "Only one special use")),
        };
        // RFC 9051 §6.3.4: a delimiter at the end says that names will be made below; here any mailbox can have those.
        let name = name.strip_suffix(b"/").unwrap_or(name);
        match names::path(core, name) {
            Some(path) if names::may_be_made(core, name, &path) => {
                let old_name = names::other_name(core, name, &path);
                Mailbox::flow(Action::Create { path, role }, old_name)
            }
            _ => finish(Reply::from(Refusal::IllegalName)),
        }
    }

    pub(super) fn delete(core: &mut Core, name: &[u8]) -> Step {
        match names::path(core, name) {
            Some(path) => {
                let old_name = names::other_name(core, name, &path);
                Mailbox::flow(Action::Delete { path }, old_name)
            }
            None => finish(Reply::from(Refusal::NotFound)),
        }
    }

    pub(super) fn rename(core: &mut Core, old: &[u8], to: &[u8]) -> Step {
        let to = to.strip_suffix(b"/").unwrap_or(to);
        match (names::path(core, old), names::path(core, to)) {
            (Some(from), Some(path)) if names::may_be_made(core, to, &path) => {
                // RFC 9051 §6.3.6: either name may have been written differently; the old one is told.
                let differs = names::other_name(core, old, &from).or_else(|| names::other_name(core, to, &path));
                let old_name = differs.and_then(|_| names::decode(core, old).map(std::borrow::Cow::into_owned));
                Mailbox::flow(Action::Rename { from, to: path }, old_name)
            }
            (None, _) => finish(Reply::from(Refusal::NotFound)),
            _ => finish(Reply::from(Refusal::IllegalName)),
        }
    }

    pub(super) fn subscribe(core: &mut Core, name: &[u8], subscribed: bool) -> Step {
        match names::path(core, name) {
            Some(path) => Mailbox::flow(Action::Subscribe { path, subscribed }, None),
            None => finish(Reply::from(Refusal::IllegalName)),
        }
    }

    fn flow(action: Action, old_name: Option<String>) -> Step {
        Step::Go(Flow::Mailbox(Box::new(Mailbox { action, old_name, leaves: false, stage: Stage::Start })))
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        let Some(account) = core.account() else { return finish(Reply::bad("Log in first")) };
        match std::mem::replace(&mut self.stage, Stage::Await) {
            Stage::Start => match &mut self.action {
                // RFC 9051 §6.3.7: a name may be subscribed to whether it exists or not.
                Action::Subscribe { path, subscribed } => {
                    let (path, subscribed) = (std::mem::take(path), *subscribed);
                    core.ask(Subscribe { account, path, subscribed })
                }
                _ => core.ask(Folders { account }),
            },
            Stage::Answered(Answer::Folders(Ok(list))) => self.change(core, &list),
            Stage::Answered(Answer::CreateFolder(Ok(folder))) => {
                self.tell(core, Some(&folder));
                let done = Reply::ok("CREATE completed");
                if !core.config.offers(&["OBJECTID"]) {
                    return finish(done);
                }
                // RFC 8474 §4.1.
                finish(done.with_code(|code| response::mailbox_id(folder.id, folder.uid_validity, code)))
            }
            Stage::Answered(Answer::RenameFolder(Ok(folder)) | Answer::RenameInbox(Ok(folder))) => {
                self.tell(core, Some(&folder));
                finish(Reply::ok("RENAME completed"))
            }
            Stage::Answered(Answer::DeleteFolder(Ok(()))) => {
                // RFC 2180 §3.1: who deletes the mailbox that is selected has none selected afterwards.
                if self.leaves {
                    core.view = None;
                }
                self.tell(core, None);
                finish(Reply::ok("DELETE completed"))
            }
            Stage::Answered(Answer::Subscribe(Ok(()))) => finish(Reply::ok(match self.action {
                Action::Subscribe { subscribed: false, .. } => "UNSUBSCRIBE completed",
                _ => "SUBSCRIBE completed",
            })),
            Stage::Answered(
                Answer::Folders(Err(refusal))
                | Answer::CreateFolder(Err(refusal))
                | Answer::RenameFolder(Err(refusal))
                | Answer::RenameInbox(Err(refusal))
                | Answer::DeleteFolder(Err(refusal))
                | Answer::Subscribe(Err(refusal)),
            ) => finish(refusal.into()),
            Stage::Answered(_) | Stage::Await => {
                core.close(CloseReason::Unanswered);
                Step::Flush
            }
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        self.stage = Stage::Answered(answer);
    }

    /// Tells the name that came of what the client wrote.
    fn tell(&self, core: &mut Core, folder: Option<&Folder>) {
        let (Action::Create { path, .. } | Action::Delete { path } | Action::Rename { to: path, .. }) = &self.action
        else {
            return;
        };
        list::write_renamed(core, folder, path, self.old_name.as_deref());
    }

    fn change(&mut self, core: &mut Core, list: &FolderList) -> Step {
        let Some(account) = core.account() else { return finish(Reply::bad("Log in first")) };
        match &self.action {
            Action::Create { path, role } => {
                if list.by_path(path).is_some_and(|folder| folder.selectable) {
                    return finish(Reply::from(Refusal::Exists));
                }
                let (parent, path) = names::missing(list, path);
                core.ask(CreateFolder { account, parent, path, role: *role })
            }
            Action::Delete { path } => match list.by_path(path) {
                None => finish(Reply::from(Refusal::NotFound)),
                Some(folder) if folder.role == Some(Role::Inbox) => finish(Reply::from(Refusal::Inbox)),
                Some(folder) if !folder.selectable && list.has_children(folder.id) => {
                    finish(Reply::from(Refusal::HasChildren))
                }
                Some(folder) => {
                    let folder = folder.id;
                    self.leaves = core.views(folder);
                    core.ask(DeleteFolder { account, folder })
                }
            },
            Action::Rename { from, to } => {
                let Some(folder) = list.by_path(from) else { return finish(Reply::from(Refusal::NotFound)) };
                if list.by_path(to).is_some() {
                    return finish(Reply::from(Refusal::Exists));
                }
                let (parent, path) = names::missing(list, to);
                if folder.role == Some(Role::Inbox) {
                    // RFC 9051 §6.3.6: the inbox's messages move; it and what lies below it stay.
                    return core.ask(RenameInbox { account, inbox: folder.id, parent, path });
                }
                // A mailbox can't go below itself.
                if to.len() > from.len() && to.starts_with(from) {
                    return finish(Reply::from(Refusal::Cycle));
                }
                core.ask(RenameFolder { account, folder: folder.id, parent, path })
            }
            Action::Subscribe { .. } => finish(Reply::from(Refusal::Unavailable)),
        }
    }
}
