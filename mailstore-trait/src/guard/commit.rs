//! Batches: each operation on somebody else's account is checked, and cut to what its rights allow.

use std::collections::VecDeque;
use std::ops::Deref;

use super::{Guard, Needs, masked};
use crate::acl::{Allowed, Rights, settable};
use crate::batch::{AccountOps, AddItem, Batch, Committed, Content, Mode, Op, OpOutcome};
use crate::error::{CommitError, OpError, ReadError};
use crate::flags::{FlagChange, FlagSet};
use crate::id::{AccountId, FolderId, Uid};
use crate::item::ItemsOptions;
use crate::store::{MailStore, ViewOptions};
use crate::uid_set::UidSet;

/// What became of one operation of the caller's batch.
enum Cut {
    /// It stays as it is.
    Same,
    /// It is not done.
    Refused(OpError),
    /// Its flags were set by one operation and cleared by the next.
    Flags,
    /// Its messages, of these UIDs, were added one by one; removed too when it was a move.
    Placed { from: Vec<Uid>, moves: bool },
}

impl<S> Guard<S>
where
    S: Deref + Send + Sync,
    S::Target: MailStore,
{
    pub(super) async fn commit_guarded(&self, batch: Batch) -> Result<Committed, CommitError> {
        if batch.accounts.iter().all(|ops| ops.account == self.viewer) {
            return self.store.commit(batch).await;
        }
        let mode = batch.mode;
        let mut cuts = Vec::new();
        let mut accounts = Vec::new();
        for (position, AccountOps { account, ops }) in batch.accounts.into_iter().enumerate() {
            if account == self.viewer {
                cuts.push(None);
                accounts.push(AccountOps { account, ops });
                continue;
            }
            let refused = |at, error| CommitError::Operation { account: position, at, error };
            let allowed = match self.readable(account).await {
                Ok(allowed) => allowed,
                Err(error) => return Err(not_read(error, |error| refused(0, error))),
            };
            let (mut left, mut cut) = (Vec::new(), Vec::new());
            for (at, op) in ops.into_iter().enumerate() {
                let how = match self.cut(account, &allowed, op, &mut left).await {
                    Ok(how) => how,
                    Err(error) => return Err(not_read(error, |error| refused(at, error))),
                };
                match (how, mode) {
                    (Cut::Refused(error), Mode::AllOrNothing) => return Err(refused(at, error)),
                    // Adding one by one could fail in the middle, and half a copy is none.
                    (Cut::Placed { from, moves }, Mode::PerOperation) => {
                        left.truncate(left.len() - from.len() - usize::from(moves));
                        cut.push(Cut::Refused(OpError::Denied));
                    }
                    (how, _) => cut.push(how),
                }
            }
            cuts.push(Some(cut));
            accounts.push(AccountOps { account, ops: left });
        }
        let mut committed =
            self.store.commit(Batch { accounts, ..batch }).await.map_err(|error| at_its_place(error, &cuts))?;
        for (account, cut) in committed.accounts.iter_mut().zip(cuts) {
            if let Some(cut) = cut {
                account.outcomes = joined(std::mem::take(&mut account.outcomes).into(), cut);
            }
        }
        Ok(committed)
    }

    /// Checks one operation and puts what is left of it behind the others.
    async fn cut(&self, account: AccountId, allowed: &Allowed, op: Op, left: &mut Vec<Op>) -> Result<Cut, ReadError> {
        let checked = match &op {
            Op::Add(add) => allowed.needs(add.folder, Rights::INSERT),
            Op::Copy { from, to, .. } => {
                allowed.needs(*from, Rights::READ).and_then(|_| allowed.needs(*to, Rights::INSERT))
            }
            Op::Move { from, to, .. } => {
                // RFC 6851 §3.1: what COPY, STORE and EXPUNGE would need.
                let source = Rights::READ | Rights::DELETE_MESSAGES | Rights::EXPUNGE;
                allowed.needs(*from, source).and_then(|_| allowed.needs(*to, Rights::INSERT))
            }
            Op::MoveAll { from, to } => {
                let source = Rights::READ | Rights::DELETE_MESSAGES | Rights::EXPUNGE;
                let target = Rights::INSERT | Rights::SEEN | Rights::WRITE | Rights::DELETE_MESSAGES;
                allowed.needs(*from, source).and_then(|_| allowed.needs(*to, target))
            }
            Op::Remove { folder, only_deleted: true, .. } => allowed.needs(*folder, Rights::EXPUNGE),
            Op::Remove { folder, .. } => allowed.needs(*folder, Rights::EXPUNGE | Rights::DELETE_MESSAGES),
            Op::SetFlags { folder, .. } => allowed.needs(*folder, Rights::READ),
            Op::CreateFolder { parent: Some(parent), role: None, .. } => allowed.needs(*parent, Rights::CREATE),
            Op::RenameFolder { folder, parent: Some(parent), .. } => {
                allowed.needs(*folder, Rights::DELETE).and_then(|_| allowed.needs(*parent, Rights::CREATE))
            }
            Op::RenameFolder { folder, parent: None, .. } | Op::SetRole { folder, .. } => {
                allowed.needs(*folder, Rights::LOOKUP).and(Err(OpError::Denied))
            }
            Op::DeleteFolder { folder } => allowed.needs(*folder, Rights::DELETE),
            Op::AssertFolder { folder, .. } => allowed.needs(*folder, Rights::LOOKUP),
            // At the top, with a role, and subscriptions: the owner's business.
            Op::CreateFolder { parent, .. } => parent
                .map_or(Ok(Rights::empty()), |parent| allowed.needs(parent, Rights::LOOKUP))
                .and(Err(OpError::Denied)),
            Op::Subscribe { .. } => Err(OpError::Denied),
        };
        let error = match checked {
            Ok(_) => return self.reduce(account, allowed, op, left).await,
            // An assertion about what may not be looked up fails as one about what is not there.
            Err(OpError::NotFound) if matches!(op, Op::AssertFolder { .. }) => OpError::Conflict,
            Err(error) => error,
        };
        Ok(Cut::Refused(error))
    }

    /// RFC 4314 §4: flags without their right are left out.
    async fn reduce(
        &self,
        account: AccountId,
        allowed: &Allowed,
        op: Op,
        left: &mut Vec<Op>,
    ) -> Result<Cut, ReadError> {
        let flags = Rights::SEEN | Rights::WRITE | Rights::DELETE_MESSAGES;
        match op {
            Op::Add(mut add) => {
                if let Content::Email(email) = &add.content {
                    let seen = self.may_read(account, *email).await;
                    if let Err(error) = seen {
                        return match error {
                            ReadError::NotFound | ReadError::Denied => Ok(Cut::Refused(OpError::NotFound)),
                            error => Err(error),
                        };
                    }
                }
                add.flags = masked(&add.flags, allowed.rights(add.folder));
                left.push(Op::Add(add));
                Ok(Cut::Same)
            }
            Op::SetFlags { folder, uids, change, unchanged_since } => {
                let rights = allowed.rights(folder);
                let change = match change {
                    change if rights.contains(flags) => change,
                    FlagChange::Add(flags) => match masked(&flags, rights) {
                        left if left.is_empty() && !flags.is_empty() => return Ok(Cut::Refused(OpError::Denied)),
                        left => FlagChange::Add(left),
                    },
                    FlagChange::Remove(flags) => match masked(&flags, rights) {
                        left if left.is_empty() && !flags.is_empty() => return Ok(Cut::Refused(OpError::Denied)),
                        left => FlagChange::Remove(left),
                    },
                    // Two operations can't be one condition: the second would find what the first changed.
                    FlagChange::Replace(_) if !rights.intersects(flags) || unchanged_since.is_some() => {
                        return Ok(Cut::Refused(OpError::Denied));
                    }
                    FlagChange::Replace(new) => {
                        let mut cleared = FlagSet::new();
                        if rights.contains(Rights::WRITE) {
                            let view = self.store.view(account, folder, ViewOptions::default()).await?;
                            let others = view.keywords.iter().filter(|word| !new.keywords().contains(word));
                            others.for_each(|word| cleared.insert(word.clone()));
                        }
                        cleared.system = settable(rights) - new.system;
                        let set = FlagChange::Add(masked(&new, rights));
                        left.push(Op::SetFlags { folder, uids: uids.clone(), change: set, unchanged_since: None });
                        let change = FlagChange::Remove(cleared);
                        left.push(Op::SetFlags { folder, uids, change, unchanged_since: None });
                        return Ok(Cut::Flags);
                    }
                };
                left.push(Op::SetFlags { folder, uids, change, unchanged_since });
                Ok(Cut::Same)
            }
            Op::Copy { from, uids, to } if !allowed.rights(to).contains(flags) => {
                self.place(account, allowed, (from, uids, to), false, left).await
            }
            Op::Move { from, uids, to } if !allowed.rights(to).contains(flags) => {
                self.place(account, allowed, (from, uids, to), true, left).await
            }
            op => {
                left.push(op);
                Ok(Cut::Same)
            }
        }
    }

    /// Adds the messages one by one, each with the flags it may have there.
    async fn place(
        &self,
        account: AccountId,
        allowed: &Allowed,
        (from, uids, to): (FolderId, UidSet, FolderId),
        moves: bool,
        left: &mut Vec<Op>,
    ) -> Result<Cut, ReadError> {
        let rights = allowed.rights(to);
        let mut rest = uids;
        let mut placed = Vec::new();
        loop {
            let page = self.store.items(account, from, &rest, ItemsOptions::default()).await?;
            for row in page.rows() {
                placed.push(row.uid);
                left.push(Op::Add(AddItem {
                    folder: to,
                    content: Content::Email(row.email),
                    flags: masked(&page.flag_set(row), rights),
                    internal_date: row.internal_date,
                }));
            }
            if placed.len() > self.store.caps().max_ops {
                return Ok(Cut::Refused(OpError::Limit));
            }
            match page.next {
                Some(next) => {
                    let mut behind = UidSet::new();
                    behind.insert_range(next..=Uid::MAX);
                    rest = rest.intersection(&behind);
                }
                None => break,
            }
        }
        if placed.is_empty() {
            left.push(Op::Copy { from, uids: UidSet::new(), to });
            return Ok(Cut::Same);
        }
        if moves {
            let uids = placed.iter().copied().collect();
            left.push(Op::Remove { folder: from, uids, only_deleted: false });
        }
        Ok(Cut::Placed { from: placed, moves })
    }
}

fn not_read(error: ReadError, at: impl Fn(OpError) -> CommitError) -> CommitError {
    match error {
        ReadError::NotFound => at(OpError::NotFound),
        ReadError::Denied => at(OpError::Denied),
        ReadError::Busy { retry_after } => CommitError::Busy { retry_after },
        error => CommitError::Unavailable(Box::new(error)),
    }
}

/// How many operations an operation became.
fn width(cut: &Cut) -> usize {
    match cut {
        Cut::Same => 1,
        Cut::Refused(_) => 0,
        Cut::Flags => 2,
        Cut::Placed { from, moves, .. } => from.len() + usize::from(*moves),
    }
}

/// The error of an operation, at the place it had in the caller's batch.
fn at_its_place(error: CommitError, cuts: &[Option<Vec<Cut>>]) -> CommitError {
    let CommitError::Operation { account, at, error } = error else { return error };
    let mut place = at;
    if let Some(Some(cut)) = cuts.get(account) {
        let mut behind = 0;
        place = cut
            .iter()
            .position(|one| {
                behind += width(one);
                at < behind
            })
            .unwrap_or(at);
    }
    CommitError::Operation { account, at: place, error }
}

/// One outcome for each operation of the caller's batch.
fn joined(mut outcomes: VecDeque<OpOutcome>, cuts: Vec<Cut>) -> Vec<OpOutcome> {
    let mut next = || outcomes.pop_front().unwrap_or(OpOutcome::Failed(OpError::Limit));
    let join = |cut| match cut {
        Cut::Same => next(),
        Cut::Refused(error) => OpOutcome::Failed(error),
        Cut::Flags => {
            next();
            next()
        }
        Cut::Placed { from, moves } => {
            let mut failed = None;
            let (mut old, mut new, mut validity) = (UidSet::new(), UidSet::new(), None);
            for uid in from {
                match next() {
                    OpOutcome::Added { uid: to, uid_validity, .. } => {
                        old.insert(uid);
                        new.insert(to);
                        validity = Some(uid_validity);
                    }
                    OpOutcome::Failed(error) => failed = Some(error),
                    _ => failed = Some(OpError::Limit),
                }
            }
            if moves {
                next();
            }
            match (validity, failed) {
                (_, Some(error)) => OpOutcome::Failed(error),
                (Some(uid_validity), None) => OpOutcome::Transferred { uid_validity, from: old, to: new },
                (None, None) => OpOutcome::Failed(OpError::Limit),
            }
        }
    };
    cuts.into_iter().map(join).collect()
}
