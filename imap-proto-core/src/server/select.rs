//! SELECT and EXAMINE (RFC 9051 §6.3.2, §6.3.3; RFC 3501 §6.3.1, RFC 3501 §6.3.2; RFC 7162 §3.1.2, §3.2.5).

use std::sync::Arc;

use bytes::BufMut;
use mailstore_trait::acl::{Rights, settable};
use mailstore_trait::flags::SystemFlags;
use mailstore_trait::folder::{FolderList, FolderView};
use mailstore_trait::id::Uid;
use mailstore_trait::session::CloseReason;
use mailstore_trait::uid_set::UidSet;

use super::condstore::modseq;
use super::fetch::Fetch;
use super::since::Since;
use super::state::{Core, Flow, Step, finish};
use super::{list, names};
use crate::command::{Name, QResync, SelectParameters};
use crate::event::Event;
use crate::request::{self, Answer, Folders, Refusal};
use crate::response::{self, Reply};
use crate::view::View;

/// A mailbox that is being opened.
#[derive(Debug)]
pub(super) struct Select {
    /// As the client wrote it.
    name: Vec<u8>,
    path: Vec<String>,
    folders: Arc<FolderList>,
    read_only: bool,
    qresync: Option<QResync>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Start,
    Answered(Answer),
    Await,
}

impl Select {
    pub(super) fn start(core: &mut Core, name: &[u8], read_only: bool, parameters: SelectParameters) -> Step {
        // RFC 9051 §6.3.2: the old mailbox is left even when the new one can't be opened.
        if core.view.take().is_some() {
            // RFC 7162 §3.2.11: what was told before this was about the old mailbox.
            core.untagged("OK [CLOSED] Another mailbox is selected");
        }
        let qresync = parameters.qresync;
        match names::path(core, name) {
            Some(path) => {
                let (name, folders, stage) = (name.to_vec(), Arc::default(), Stage::Start);
                Step::Go(Flow::Select(Box::new(Select { name, path, folders, read_only, qresync, stage })))
            }
            None => finish(Reply::from(Refusal::NotFound)),
        }
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        let Some(account) = core.account() else { return finish(Reply::bad("Log in first")) };
        match std::mem::replace(&mut self.stage, Stage::Await) {
            Stage::Start => core.ask(Folders { account }),
            Stage::Answered(Answer::Folders(Ok(list))) => match names::selectable(&list, &self.path) {
                Some(folder) => {
                    let claim_recent = !self.read_only && !core.is_rev2();
                    let folder = folder.id;
                    self.folders = list;
                    core.ask(request::View { account, folder, claim_recent })
                }
                None => finish(Reply::from(Refusal::NotFound)),
            },
            Stage::Answered(Answer::View(Ok(view))) => self.opened(core, &view),
            Stage::Answered(Answer::Folders(Err(refusal)) | Answer::View(Err(refusal))) => finish(refusal.into()),
            Stage::Answered(_) | Stage::Await => {
                core.close(CloseReason::Unanswered);
                Step::Flush
            }
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        self.stage = Stage::Answered(answer);
    }

    fn opened(&mut self, core: &mut Core, opened: &FolderView) -> Step {
        core.selected = core.placed.as_ref().map(|placed| placed.located.clone());
        let rights = core.rights(opened.folder.id);
        // RFC 4314 §5.2: who may change nothing that others see has it read-only.
        let changes = Rights::INSERT | Rights::EXPUNGE | Rights::SEEN | Rights::WRITE | Rights::DELETE_MESSAGES;
        self.read_only |= !rights.intersects(changes);
        if let Some(account) = core.view_account() {
            core.watch(account);
        }
        let mut view = View::new(opened, self.read_only);
        let rev2 = core.is_rev2();
        if rev2 {
            view.forget_recent();
        }
        let exists = view.uids().len();
        let out = core.outbox.text();
        let flags = |out: &mut bytes::BytesMut| {
            let keywords = opened.keywords.iter();
            response::flags(SystemFlags::all(), keywords, false, out);
        };
        out.put_slice(b"* FLAGS ");
        flags(out);
        out.put_slice(b"\r\n* OK [PERMANENTFLAGS ");
        if self.read_only {
            out.put_slice(b"()");
        } else {
            // RFC 4314 §5.1.1: those the client has a right to.
            let keywords = opened.keywords.iter().filter(|_| rights.contains(Rights::WRITE));
            response::flags(settable(rights), keywords, false, out);
            // RFC 9051 §7.1: `\*` says that new keywords can be made.
            if rights.contains(Rights::WRITE) {
                out.truncate(out.len() - 1);
                out.put_slice(b" \\*)");
            }
        }
        out.put_slice(b"] Flags that stay\r\n");
        response::count(u64::from(exists), "EXISTS", out);
        if !rev2 {
            response::count(view.recent().len(), "RECENT", out);
        }
        // RFC 3501 §7.1: the number of the first message without \Seen. RFC 9051 appendix E has done without, and RFC 9586
        // §3 tells no numbers.
        let told = !rev2 && !core.is_uid_only();
        let out = core.outbox.text();
        if let Some(seq) = opened.first_unseen.filter(|_| told).and_then(|uid| view.seq(uid)) {
            out.put_slice(b"* OK [UNSEEN ");
            response::number(u64::from(seq.value()), out);
            out.put_slice(b"] First unseen\r\n");
        }
        out.put_slice(b"* OK [UIDVALIDITY ");
        response::number(u64::from(opened.folder.uid_validity.value()), out);
        out.put_slice(b"] UIDs valid\r\n* OK [UIDNEXT ");
        response::number(u64::from(opened.folder.uid_next.value()), out);
        out.put_slice(b"] Next UID\r\n");
        if core.config.offers(&["OBJECTID"]) {
            // RFC 8474 §4.2.
            out.put_slice(b"* OK [");
            response::mailbox_id(opened.folder.id, opened.folder.uid_validity, out);
            out.put_slice(b"] Mailbox\r\n");
        }
        if core.config.offers(&["CONDSTORE"]) {
            out.put_slice(b"* OK [");
            response::highest_modseq(view.highest(), out);
            out.put_slice(b"] Highest\r\n");
        }
        if rev2 {
            // RFC 9051 §6.3.2: the mailbox by its name here.
            list::write_opened(core, &self.folders, &opened.folder, &self.path, &self.name);
        }
        core.view = Some(view);
        let mailbox = names::full(core, &self.path);
        core.event(Event::Selected { mailbox, exists });
        let done = Reply::ok(if core.name == Name::Examine { "EXAMINE completed" } else { "SELECT completed" });
        let code: &[u8] = if self.read_only { b"READ-ONLY" } else { b"READ-WRITE" };
        let done = done.with_code(|out| out.put_slice(code));
        match self.qresync.take() {
            Some(qresync) => resynchronize(core, qresync, done),
            None => finish(done),
        }
    }
}

/// RFC 7162 §3.2.5.1: what changed of what the client knows, behind what SELECT always tells.
fn resynchronize(core: &mut Core, qresync: QResync, done: Reply) -> Step {
    let Some(view) = &core.view else { return finish(done) };
    // RFC 7162 §3.2.5: what is known of another generation of UIDs means nothing.
    if view.uid_validity().value() != qresync.uid_validity {
        return finish(done);
    }
    let Some(last) = Uid::new(view.uid_next().value() - 1) else { return finish(done) };
    let mut ever = UidSet::new();
    ever.insert_range(Uid::MIN..=last);
    let scope = qresync.known.map_or_else(|| ever.clone(), |known| known.all_uids(last).intersection(&ever));
    let known = view.uids().intersection(&scope);
    let since = Since::new(modseq(qresync.since), known.clone(), scope, qresync.matches);
    Fetch::resynchronize(core, since, known, done)
}
