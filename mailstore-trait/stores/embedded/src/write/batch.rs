//! A batch: whether it was done already, whether it still may be, its operations in order, its result.

use mailstore_trait::batch::{AccountCommitted, AccountOps, Batch, Committed, Mode, Op, OpOutcome};
use mailstore_trait::error::OpError;
use mailstore_trait::leases::Fence;
use mailstore_trait::uid_set::UidSet;
use rusqlite::{OptionalExtension, params};
use tokio::sync::oneshot;

use super::account::{AccountTx, unsigned};
use super::items::Transfer;
use super::{Tx, folders, items, queue, record};
use crate::committer::Work;
use crate::config::Config;
use crate::fault::{Fault, Result};
use crate::leases::scope_key;

/// A batch on its way through the committer.
pub(crate) struct CommitWork {
    batch: Batch,
    done: Option<Committed>,
    reply: oneshot::Sender<Result<Committed>>,
}

impl CommitWork {
    pub(crate) fn new(batch: Batch, reply: oneshot::Sender<Result<Committed>>) -> CommitWork {
        CommitWork { batch, done: None, reply }
    }
}

impl Work for CommitWork {
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        self.done = Some(apply(tx, &self.batch)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        let CommitWork { done, reply, .. } = *self;
        let missing = || Fault::unavailable("the batch was not run");
        let _ = reply.send(outcome.and_then(|()| done.ok_or_else(missing)));
    }
}

/// Whether the batch is not larger than the store takes.
pub(crate) fn fits(config: &Config, batch: &Batch) -> Result<()> {
    let ops: usize = batch.accounts.iter().map(|account| account.ops.len()).sum();
    if batch.accounts.len() > config.max_accounts || ops.saturating_add(batch.queue.len()) > config.max_ops {
        return Err(Fault::TooLarge);
    }
    Ok(())
}

fn apply(tx: &mut Tx<'_>, batch: &Batch) -> Result<Committed> {
    let recorded: Option<Vec<u8>> = tx
        .prepare("SELECT result FROM batch WHERE id = ?1")?
        .query_row([&batch.id.0[..]], |row| row.get(0))
        .optional()?;
    if let Some(recorded) = recorded {
        return record::decode(tx.env.ids, &recorded, &format!("result of batch {}", batch.id));
    }
    if let Some(fence) = &batch.fence {
        check_fence(tx, fence)?;
    }
    let mut accounts = Vec::with_capacity(batch.accounts.len());
    for (at, ops) in batch.accounts.iter().enumerate() {
        accounts.push(account(tx, at, ops, batch.mode)?);
    }
    let mut queued = Vec::new();
    for op in &batch.queue {
        queued.extend(queue::apply(tx, op)?);
    }
    let committed = Committed { accounts, queued };
    let result = record::encode(tx.env.ids, &committed)?;
    tx.prepare("INSERT INTO batch (id, at, result) VALUES (?1, ?2, ?3)")?.execute(params![
        &batch.id.0[..],
        tx.now.0,
        result
    ])?;
    Ok(committed)
}

/// A token below the highest that was given is refused.
fn check_fence(tx: &Tx<'_>, fence: &Fence) -> Result<()> {
    let highest: Option<i64> = tx
        .prepare("SELECT token FROM lease WHERE scope = ?1")?
        .query_row([scope_key(&fence.scope)], |row| row.get(0))
        .optional()?;
    if highest.is_some_and(|highest| fence.token < unsigned(highest)) { Err(Fault::Fenced) } else { Ok(()) }
}

fn account(tx: &mut Tx<'_>, at: usize, ops: &AccountOps, mode: Mode) -> Result<AccountCommitted> {
    let refused = |op, error| Fault::Refused { account: at, at: op, error };
    let mut account = AccountTx::load(tx, ops.account)?.ok_or_else(|| refused(0, OpError::NotFound))?;
    let mut outcomes = Vec::with_capacity(ops.ops.len());
    for (op_at, op) in ops.ops.iter().enumerate() {
        let outcome = match mode {
            Mode::AllOrNothing => one(tx, &mut account, op).map_err(|fault| match fault {
                Fault::Op(error) => refused(op_at, error),
                other => other,
            })?,
            Mode::PerOperation => alone(tx, &mut account, op)?,
        };
        outcomes.push(outcome);
    }
    account.flush(tx)?;
    Ok(AccountCommitted { account: ops.account, upto: account.at()?, outcomes })
}

/// One operation whose failure is its own.
fn alone(tx: &mut Tx<'_>, account: &mut AccountTx, op: &Op) -> Result<OpOutcome> {
    let mut trial = account.clone();
    match tx.isolated(|tx| one(tx, &mut trial, op)) {
        Ok(outcome) => {
            *account = trial;
            Ok(outcome)
        }
        Err(Fault::Op(error)) => Ok(OpOutcome::Failed(error)),
        Err(other) => Err(other),
    }
}

fn one(tx: &mut Tx<'_>, account: &mut AccountTx, op: &Op) -> Result<OpOutcome> {
    match op {
        Op::Add(add) => items::add(tx, account, add),
        Op::Copy { from, uids, to } => items::transfer(tx, account, *from, uids, *to, Transfer::Copy),
        Op::Move { from, uids, to } => items::transfer(tx, account, *from, uids, *to, Transfer::Move),
        Op::MoveAll { from, to } => items::transfer(tx, account, *from, &UidSet::all(), *to, Transfer::Move),
        Op::Remove { folder, uids, only_deleted } => items::remove(tx, account, *folder, uids, *only_deleted),
        Op::SetFlags { folder, uids, change, unchanged_since } => {
            items::set_flags(tx, account, *folder, uids, change, *unchanged_since)
        }
        Op::CreateFolder { parent, name, role } => folders::create(tx, account, *parent, name, *role),
        Op::RenameFolder { folder, parent, name } => folders::rename(tx, account, *folder, *parent, name),
        Op::DeleteFolder { folder } => folders::delete(tx, account, *folder),
        Op::SetRole { folder, role } => folders::set_role(tx, account, *folder, *role),
        Op::Subscribe { path, subscribed } => folders::subscribe(tx, account, path, *subscribed),
        Op::AssertFolder { folder, uid_validity } => folders::assert(tx, account, *folder, *uid_validity),
        _ => Err(Fault::unavailable("an operation this store does not know")),
    }
}
