//! QUIT, as batches.
//!
//! RFC 1939 §6: what is marked is removed, or the reply says otherwise. One batch is atomic; a maildrop with more
//! deletions than a batch should hold takes several, and the client is told when only some of them went through.

use mailstore_trait::batch::{Batch, Op};
use mailstore_trait::error::CommitError;
use mailstore_trait::flags::{FlagChange, FlagSet, SystemFlags};
use mailstore_trait::id::BatchId;
use mailstore_trait::uid_set::UidSet;

use super::{Fulfiller, Maildrop, World};
use crate::request::{Commit, Committed};

/// Messages that one batch touches.
const BATCH: u64 = 1_000;
/// How often a batch whose outcome is not known is repeated.
const REPEATS: u32 = 5;

impl Fulfiller {
    pub(super) async fn commit(&mut self, commit: Commit) -> Committed {
        let Some(maildrop) = &self.maildrop else { return Committed::LeaseLost };
        let most = u64::try_from(self.world.store.caps().max_ops).unwrap_or(BATCH).clamp(1, BATCH);
        let mut done = false;
        for uids in pieces(commit.deleted, most) {
            let remove = Op::Remove { folder: maildrop.inbox, uids, only_deleted: false };
            match maildrop.run(&self.world, remove).await {
                Ok(()) => done = true,
                Err(_) if done => return Committed::Partly,
                Err(CommitError::Fenced) => return Committed::LeaseLost,
                // It may be done or not.
                Err(CommitError::Unknown(_)) => return Committed::Partly,
                Err(_) => return Committed::Failed,
            }
        }
        // What was marked already when it was read needs no batch.
        for uids in pieces(maildrop.reader.unseen(&commit.seen), most) {
            let change = FlagChange::Add(FlagSet::from(SystemFlags::SEEN));
            let mark = Op::SetFlags { folder: maildrop.inbox, uids, change, unchanged_since: None };
            // A mark that can't be set fails nothing: no promise of POP3 hangs on it.
            if maildrop.run(&self.world, mark).await.is_err() {
                break;
            }
        }
        Committed::Done
    }
}

impl Maildrop {
    async fn run(&self, world: &World, op: Op) -> Result<(), CommitError> {
        let mut batch = Batch::new(BatchId(world.environment.id()), self.account, vec![op]);
        batch.fence = Some(self.lease.fence());
        let mut unknown = None;
        for _ in 0..=REPEATS {
            // The same id: what was done is not done again.
            match (world.store.commit(batch.clone()).await, &unknown) {
                (Err(CommitError::Unknown(source)), _) => unknown = Some(source),
                (Err(error), Some(_)) if !is_verdict(&error) => {}
                (outcome, _) => return outcome.map(|_| ()),
            }
        }
        Err(unknown.map_or_else(|| CommitError::Unavailable("no attempt".into()), CommitError::Unknown))
    }
}

/// Whether an error of a repeated batch tells that the first attempt did nothing: a store that looks at the batch finds
/// its results before anything else. One that is busy, full or away has not looked.
fn is_verdict(error: &CommitError) -> bool {
    matches!(
        error,
        CommitError::Fenced | CommitError::Operation { .. } | CommitError::TooLarge | CommitError::BlobGone(_)
    )
}

/// The set in pieces of at most `most`.
fn pieces(mut uids: UidSet, most: u64) -> impl Iterator<Item = UidSet> {
    std::iter::from_fn(move || {
        let rest = uids.split_off(most);
        let piece = std::mem::replace(&mut uids, rest);
        (!piece.is_empty()).then_some(piece)
    })
}
