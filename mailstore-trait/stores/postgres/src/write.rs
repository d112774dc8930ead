//! Batches: worked out under the account's lock, written in one flight with the commit.
//!
//! ```text
//!   BEGIN · locks · record of the batch · rows ──▶ worked out in memory ──▶ rows · record · COMMIT
//! ```
//!
//! Numbers (changes, UIDs, items) come from the account's row while it is locked, so whoever sees one sees all before
//! it. A COMMIT whose answer is lost is resolved: the next attempt waits for the lock the lost transaction held, and
//! then finds the record of the batch or knows that there will never be one.
//!
//! | module | what it does |
//! |---|---|
//! | [`gather`] | what a batch needs to know |
//! | [`account`] | the account while the batch changes it |
//! | [`items`], [`folders`], [`content`], [`queue`] | the operations |
//! | [`flush`] | what was done as statements |
//! | [`abilities`] | limits, lists of rights, annotations |
//! | [`upkeep`] | making accounts; what is no longer needed |

pub(crate) mod abilities;
pub(crate) mod account;
pub(crate) mod content;
pub(crate) mod flush;
pub(crate) mod folders;
pub(crate) mod gather;
pub(crate) mod items;
pub(crate) mod queue;
pub(crate) mod upkeep;

use std::collections::BTreeMap;

use mailstore_trait::batch::{AccountCommitted, AccountOps, Batch, Committed, Mode, Op, OpOutcome};
use mailstore_trait::error::OpError;
use mailstore_trait::id::AccountId;
use mailstore_trait::uid_set::UidSet;

use account::{Account, Moment};
use gather::Gathered;
use items::Transfer;

use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::link::{NotLanded, Tx};
use crate::record;

/// Commits a batch, or finds out that it was committed.
pub(crate) async fn commit(env: &Env, batch: &Batch) -> Result<Committed> {
    let ops: usize = batch.accounts.iter().map(|account| account.ops.len()).sum();
    if batch.accounts.len() > env.config.max_accounts || ops.saturating_add(batch.queue.len()) > env.config.max_ops {
        return Err(Fault::TooLarge);
    }
    let mut attempt = 0;
    let mut perhaps = false;
    loop {
        let not = match Box::pin(once(env, batch)).await {
            Ok(committed) => {
                committed.accounts.iter().for_each(|account| env.hints.committed(account.account, account.upto));
                return Ok(committed);
            }
            Err(not) => not,
        };
        perhaps |= not.perhaps;
        if not.fault.is_passing() && attempt < env.link.retries() {
            env.link.pause(&mut attempt).await;
            continue;
        }
        return Err(match not.fault {
            fault if perhaps && !fault.is_verdict() => Fault::Unknown(fault.source()),
            fault => fault,
        });
    }
}

impl From<Fault> for NotLanded {
    fn from(fault: Fault) -> NotLanded {
        NotLanded { fault, perhaps: false }
    }
}

async fn once(env: &Env, batch: &Batch) -> Result<Committed, NotLanded> {
    let mut tx = env.link.write().await?;
    let mut gathered = gather::gather(env, &mut tx, batch).await?;
    // Before the fence: a batch that was done stays done, whoever holds the lease now.
    if let Some(recorded) = &gathered.replay {
        // It was done, and only what came of it can't be told.
        let what = format!("result of batch {}", batch.id);
        return record::decode(recorded, &what).map_err(|fault| Fault::Unknown(fault.source()).into());
    }
    if let (Some(fence), Some(highest)) = (&batch.fence, gathered.token)
        && fence.token < highest
    {
        return Err(Fault::Fenced.into());
    }
    let committed = work(env, &mut tx, batch, &mut gathered).await?;
    let result = record::encode(&committed)?;
    let Gathered { now, accounts, queue, claimed, .. } = &gathered;
    tx.land(flush::calls(batch, *now, accounts, queue, *claimed, result)).await?;
    Ok(committed)
}

async fn work(env: &Env, tx: &mut Tx<'_>, batch: &Batch, gathered: &mut Gathered) -> Result<Committed> {
    let moment = Moment { now: gathered.now, config: &env.config };
    let mut accounts = Vec::with_capacity(batch.accounts.len());
    for (at, ops) in batch.accounts.iter().enumerate() {
        accounts.push(account(tx, moment, &mut gathered.accounts, (at, ops), batch.mode).await?);
    }
    let mut queued = Vec::new();
    for op in &batch.queue {
        queued.extend(gathered.queue.apply(op)?);
    }
    Ok(Committed { accounts, queued })
}

async fn account(
    tx: &mut Tx<'_>,
    moment: Moment<'_>,
    accounts: &mut BTreeMap<AccountId, Account>,
    (at, ops): (usize, &AccountOps),
    mode: Mode,
) -> Result<AccountCommitted> {
    let refused = |op, error| Fault::Refused { account: at, at: op, error };
    let state = accounts.get_mut(&ops.account).ok_or_else(|| refused(0, OpError::NotFound))?;
    let mut outcomes = Vec::with_capacity(ops.ops.len());
    for (op_at, op) in ops.ops.iter().enumerate() {
        outcomes.push(match (one(tx, moment, state, op).await, mode) {
            (Ok(outcome), _) => outcome,
            (Err(Fault::Op(error)), Mode::PerOperation) => OpOutcome::Failed(error),
            (Err(Fault::Op(error)), Mode::AllOrNothing) => return Err(refused(op_at, error)),
            (Err(other), _) => return Err(other),
        });
    }
    Ok(AccountCommitted { account: ops.account, upto: state.row.at()?, outcomes })
}

async fn one(tx: &mut Tx<'_>, moment: Moment<'_>, account: &mut Account, op: &Op) -> Result<OpOutcome> {
    let config = moment.config;
    match op {
        Op::Add(add) => items::add(account, moment, add),
        Op::Copy { from, uids, to } => items::transfer(account, tx, moment, (*from, uids, *to), Transfer::Copy).await,
        Op::Move { from, uids, to } => items::transfer(account, tx, moment, (*from, uids, *to), Transfer::Move).await,
        Op::MoveAll { from, to } => {
            items::transfer(account, tx, moment, (*from, &UidSet::all(), *to), Transfer::Move).await
        }
        Op::Remove { folder, uids, only_deleted } => {
            items::remove(account, tx, moment, (*folder, uids), *only_deleted).await
        }
        Op::SetFlags { folder, uids, change, unchanged_since } => {
            items::set_flags(account, tx, moment, (*folder, uids), change, *unchanged_since).await
        }
        Op::CreateFolder { parent, name, role } => folders::create(account, config, *parent, name, *role),
        Op::RenameFolder { folder, parent, name } => folders::rename(account, config, *folder, *parent, name),
        Op::DeleteFolder { folder } => folders::delete(account, *folder),
        Op::SetRole { folder, role } => folders::set_role(account, *folder, *role),
        Op::Subscribe { path, subscribed } => folders::subscribe(account, config, path, *subscribed),
        Op::AssertFolder { folder, uid_validity } => folders::assert(account, *folder, *uid_validity),
        _ => Err(Fault::unavailable("an operation this store does not know")),
    }
}
