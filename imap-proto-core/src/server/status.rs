//! STATUS (RFC 9051 §6.3.11, RFC 3501 §6.3.10, RFC 8438), from counters that the store keeps with every commit.

use bytes::{BufMut, BytesMut};
use mailstore_trait::acl::Rights;
use mailstore_trait::folder::{Folder, FolderView};
use mailstore_trait::id::AccountId;
use mailstore_trait::session::CloseReason;

use super::names;
use super::state::{Core, Flow, Step, finish};
use crate::command::{STATUS_NAMES, StatusItems};
use crate::request::{Answer, DeletedOctets, Folders, Refusal, View};
use crate::response::{self, Quoted, Reply};

/// A STATUS that is being answered.
#[derive(Debug)]
pub(super) struct Status {
    path: Vec<String>,
    items: StatusItems,
    folder: Option<Folder>,
    deleted: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Start,
    Answered(Answer),
    Await,
}

impl Status {
    pub(super) fn start(core: &mut Core, name: &[u8], items: StatusItems) -> Step {
        match names::path(core, name) {
            Some(path) => {
                Step::Go(Flow::Status(Box::new(Status { path, items, folder: None, deleted: 0, stage: Stage::Start })))
            }
            None => finish(Reply::from(Refusal::NotFound)),
        }
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        let Some(account) = core.account() else { return finish(Reply::bad("Log in first")) };
        match std::mem::replace(&mut self.stage, Stage::Await) {
            Stage::Start => core.ask(Folders { account }),
            Stage::Answered(Answer::Folders(Ok(list))) => {
                let Some(folder) = names::selectable(&list, &self.path) else {
                    return finish(Reply::from(Refusal::NotFound));
                };
                // RFC 4314 §4: STATUS needs `r`.
                if !core.rights(folder.id).contains(Rights::READ) {
                    return finish(Reply::from(Refusal::Denied));
                }
                if self.items.contains(StatusItems::DELETED_STORAGE) {
                    self.folder = Some(folder.clone());
                    return core.ask(DeletedOctets { account });
                }
                let folder = folder.clone();
                self.recent(core, account, folder)
            }
            Stage::Answered(Answer::DeletedOctets(Ok(octets))) => {
                let Some(folder) = self.folder.take() else { return finish(Reply::from(Refusal::Unavailable)) };
                self.deleted = octets.iter().find(|(id, _)| *id == folder.id).map_or(0, |(_, octets)| *octets);
                self.recent(core, account, folder)
            }
            Stage::Answered(Answer::View(Ok(view))) => match self.folder.take() {
                Some(folder) => self.told(core, &folder, recent(&view)),
                None => finish(Reply::from(Refusal::Unavailable)),
            },
            Stage::Answered(
                Answer::Folders(Err(refusal)) | Answer::View(Err(refusal)) | Answer::DeletedOctets(Err(refusal)),
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

    fn recent(&mut self, core: &mut Core, account: AccountId, folder: Folder) -> Step {
        if !self.items.contains(StatusItems::RECENT) {
            return self.told(core, &folder, 0);
        }
        let id = folder.id;
        self.folder = Some(folder);
        core.ask(View { account, folder: id, claim_recent: false })
    }

    fn told(&self, core: &mut Core, folder: &Folder, recent: u64) -> Step {
        let (append_limit, quoted) = (core.max_message(), core.quoted);
        let recent = match core.view.as_ref().filter(|_| core.views(folder.id)) {
            // Of the selected mailbox, what this session claimed.
            Some(view) => view.recent().len(),
            None => recent,
        };
        write(
            &names::full(core, &self.path),
            folder,
            self.items,
            Told { recent, append_limit, deleted_octets: self.deleted, quoted },
            core.out(),
        );
        finish(Reply::ok("STATUS completed"))
    }
}

/// How many messages of a folder are recent to whoever opens it next (RFC 3501 §6.3.10).
pub(super) fn recent(view: &FolderView) -> u64 {
    view.recent_from.map_or(0, |from| u64::from(view.uids.len() - view.uids.before(from)))
}

/// What STATUS tells that the folder does not know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) recent: u64,
    /// RFC 7889: the same for every mailbox.
    pub(super) append_limit: u64,
    /// RFC 9208 §4.1.4.
    pub(super) deleted_octets: u64,
    /// What may stand inside quotes.
    pub(super) quoted: Quoted,
}

/// One STATUS response.
pub(super) fn write(name: &str, folder: &Folder, items: StatusItems, told: Told, out: &mut BytesMut) {
    let Told { recent, append_limit, deleted_octets, quoted } = told;
    out.put_slice(b"* STATUS ");
    response::mailbox(name, quoted, out);
    let mut separator: &[u8] = b" (";
    for (item, word) in STATUS_NAMES {
        if !items.contains(item) {
            continue;
        }
        if item == StatusItems::MAILBOXID {
            // RFC 8474 §4.3.
            out.put_slice(separator);
            separator = b" ";
            response::mailbox_id(folder.id, folder.uid_validity, out);
            continue;
        }
        let value = match item {
            StatusItems::MESSAGES => u64::from(folder.counts.exists),
            StatusItems::RECENT => recent,
            StatusItems::UIDNEXT => u64::from(folder.uid_next.value()),
            StatusItems::UIDVALIDITY => u64::from(folder.uid_validity.value()),
            StatusItems::UNSEEN => u64::from(folder.counts.unseen),
            StatusItems::DELETED => u64::from(folder.counts.deleted),
            StatusItems::SIZE => folder.counts.octets,
            StatusItems::DELETED_STORAGE => deleted_octets,
            StatusItems::HIGHESTMODSEQ => folder.highest_modseq.value(),
            _ => append_limit,
        };
        out.put_slice(separator);
        separator = b" ";
        out.put_slice(word.as_bytes());
        out.put_u8(b' ');
        response::number(value, out);
    }
    out.put_slice(b")\r\n");
}
