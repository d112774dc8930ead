//! What became of messages since a mod-sequence: FETCH (CHANGEDSINCE) and SELECT (QRESYNC) (RFC 7162 §3.1.4.1, §3.2.5,
//! §3.2.6).
//!
//! Usually the store's records say it, so that a client that was away pays for what changed and not for what is there.
//! Below the store's floor (`Gap`) not every removal is known: then every message is looked at, and whatever is not
//! there is told as removed. That may be too much (RFC 7162 §5.1) and is never too little.
//!
//! ```text
//!  Changes ─▶ … ─▶ done
//!     └─ Gap, folder made again ─▶ Search… ─▶ done
//! ```

use std::sync::Arc;

use mailstore_trait::change::{ChangeKind, ChangePage, ChangesOptions};
use mailstore_trait::id::{AccountId, FolderId, ModSeq, Uid};
use mailstore_trait::query::{Filter, Test};
use mailstore_trait::uid_set::UidSet;

use super::search::after;
use super::state::{Core, Step};
use crate::command::SequenceSet;
use crate::request::{Answer, Changes, Refusal, Search};
use crate::view::View;

/// Records asked for at once.
const PAGE: usize = 1000;

/// The question, and what is known of its answer.
#[derive(Debug)]
pub(super) struct Since {
    since: ModSeq,
    /// UIDs of which removals are to be told, were there such messages or not.
    scope: UidSet,
    /// Messages of which changes are to be told.
    messages: UidSet,
    /// Message numbers and UIDs that a client knows, for want of better knowledge.
    matches: Option<(SequenceSet, SequenceSet)>,
    changed: UidSet,
    removed: UidSet,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Ask for records after this.
    Changes(ModSeq),
    /// Look at these messages.
    Look(UidSet),
    AwaitChanges,
    AwaitLook(UidSet),
    Done,
    Failed(Refusal),
}

impl Since {
    /// What became since of `messages`, and of the UIDs of `scope` that are not there any more.
    pub(super) fn new(
        since: ModSeq,
        messages: UidSet,
        scope: UidSet,
        matches: Option<(SequenceSet, SequenceSet)>,
    ) -> Since {
        let (changed, removed) = (UidSet::new(), UidSet::new());
        Since { since, scope, messages, matches, changed, removed, stage: Stage::Changes(since) }
    }

    /// The next question; `None` when all is known.
    pub(super) fn poll(&mut self, core: &mut Core, account: AccountId, folder: FolderId) -> Option<Step> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Changes(since) => {
                self.stage = Stage::AwaitChanges;
                let options = ChangesOptions::since(since).in_folder(folder).at_most(PAGE);
                Some(core.ask(Changes { account, options }))
            }
            Stage::Look(left) if !left.is_empty() => {
                self.stage = Stage::AwaitLook(left.clone());
                // RFC 7162 §3.1.4.1: CHANGEDSINCE is above the number, where SEARCH MODSEQ is at it or above.
                let filter = Arc::new(Filter::from(Test::ModSeq(self.since.plus(1))));
                Some(core.ask(Search { account, folder, uids: left, filter }))
            }
            Stage::Failed(refusal) => {
                self.stage = Stage::Failed(refusal);
                None
            }
            _ => None,
        }
    }

    pub(super) fn answer(&mut self, core: &Core, answer: Answer) {
        let Some(view) = &core.view else { return };
        self.stage = match (std::mem::replace(&mut self.stage, Stage::Done), answer) {
            (Stage::AwaitChanges, Answer::Changes(Ok(page))) => self.gather(view, &page),
            (Stage::AwaitChanges, Answer::Changes(Err(Refusal::Gap))) => self.look(view),
            (Stage::AwaitLook(left), Answer::Search(Ok(found))) => {
                let matches = left.intersection(&found.uids);
                matches.ranges().for_each(|range| self.changed.insert_range(range));
                Stage::Look(after(&left, found.next))
            }
            (_, Answer::Changes(Err(refusal)) | Answer::Search(Err(refusal))) => Stage::Failed(refusal),
            _ => Stage::Failed(Refusal::Unavailable),
        };
    }

    /// The messages that changed, and the UIDs that are gone and that the client does not take for existing.
    ///
    /// # Errors
    /// When it could not be found out.
    pub(super) fn outcome(self, view: &View) -> Result<(UidSet, UidSet), Refusal> {
        if let Stage::Failed(refusal) = self.stage {
            return Err(refusal);
        }
        // RFC 7162 §3.2.10: what the client takes for existing is told without EARLIER, when that may be told.
        let removed = view.absent(&self.removed.intersection(&self.scope));
        Ok((self.changed.intersection(&self.messages), removed))
    }

    fn gather(&mut self, view: &View, page: &ChangePage) -> Stage {
        for record in page.records.iter().filter(|record| record.folder == view.folder()) {
            match record.item {
                // The folder was made again: removals inside it have no records of their own.
                None if record.kind.contains(ChangeKind::REMOVED) => return self.look(view),
                None => {}
                Some((_, uid)) if record.kind.contains(ChangeKind::REMOVED) => self.removed.insert(uid),
                Some((_, uid)) => self.changed.insert(uid),
            }
        }
        if page.more { Stage::Changes(page.upto) } else { Stage::Done }
    }

    /// Not every removal is known: everything that could have been there and is not counts as removed.
    fn look(&mut self, view: &View) -> Stage {
        let from = self.matches.as_ref().and_then(|matches| matched(view, matches)).map_or(Uid::MIN, |uid| uid.plus(1));
        self.removed = UidSet::new();
        self.changed = UidSet::new();
        if let Some(last) = Uid::new(view.uid_next().value() - 1) {
            self.removed.insert_range(from..=last);
        }
        Stage::Look(self.messages.clone())
    }
}

/// RFC 7162 §3.2.5.2: the last UID up to which the client knows of every removal, because it numbers its messages as they
/// are numbered here. Removals only make numbers smaller, so one pair that is right vouches for all below it.
fn matched(view: &View, (seqs, uids): &(SequenceSet, SequenceSet)) -> Option<Uid> {
    let pairs = seqs.numbers().zip(uids.numbers());
    let right = |(seq, uid): (u32, u32)| {
        let uid = Uid::new(uid)?;
        (view.seq(uid)?.value() == seq).then_some(uid)
    };
    pairs.map_while(right).last()
}
