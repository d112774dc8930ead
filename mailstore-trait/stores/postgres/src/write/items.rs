//! Add, Copy, Move, Remove, SetFlags: what a batch does to messages in folders.

use mailstore_trait::batch::{AddItem, OpOutcome};
use mailstore_trait::error::OpError;
use mailstore_trait::flags::{FlagChange, Keyword};
use mailstore_trait::id::{FolderId, ModSeq, UidValidity};
use mailstore_trait::item::{ItemPageBuilder, RowParts};
use mailstore_trait::uid_set::UidSet;

use super::account::{Account, Moment, NewHead};
use super::content;
use crate::fault::{Fault, Result};
use crate::link::Tx;
use crate::rows::ItemRow;

/// Puts a message into a folder.
pub(crate) fn add(account: &mut Account, moment: Moment<'_>, add: &AddItem) -> Result<OpOutcome> {
    account.numbers_for(1)?;
    account.uids_for(add.folder, 1)?;
    let size = content::size(account, &add.content)?;
    if size > moment.config.max_message {
        return Err(Fault::TooLarge);
    }
    account.quota_for(1, size)?;
    account.words_for(add.flags.keywords(), moment.config.max_keywords)?;
    let (email, thread) = content::email(account, &add.content)?;
    account.learn_words(add.flags.keywords());
    let head = NewHead { email, thread, internal_date: add.internal_date, save_date: moment.now, size };
    let head = account.place(add.folder, head, add.flags.clone())?;
    let uid_validity = account.folder(add.folder)?.uid_validity;
    Ok(OpOutcome::Added { item: head.item, uid: head.uid, uid_validity, email })
}

/// Whether a transfer leaves the old messages where they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    Copy,
    Move,
}

/// Copies or moves messages.
pub(crate) async fn transfer(
    account: &mut Account,
    tx: &mut Tx<'_>,
    moment: Moment<'_>,
    (from, uids, to): (FolderId, &UidSet, FolderId),
    how: Transfer,
) -> Result<OpOutcome> {
    let rows = account.touched(tx, moment, from, uids, false).await?;
    account.uids_for(to, rows.len())?;
    if how == Transfer::Copy {
        let octets = rows.iter().fold(0, |sum, row| row.head.size.saturating_add(sum));
        account.quota_for(rows.len() as u64, octets)?;
    }
    let uid_validity: UidValidity = account.selectable(to)?.uid_validity;
    let (mut old, mut new) = (UidSet::new(), UidSet::new());
    for row in &rows {
        let head = NewHead {
            email: row.head.email,
            thread: row.head.thread,
            internal_date: row.head.internal_date,
            save_date: moment.now,
            size: row.head.size,
        };
        old.insert(row.head.uid);
        new.insert(account.place(to, head, row.flags.clone())?.uid);
    }
    if how == Transfer::Move {
        rows.iter().try_for_each(|row| account.take_away(from, row))?;
    }
    Ok(OpOutcome::Transferred { uid_validity, from: old, to: new })
}

/// Removes messages.
pub(crate) async fn remove(
    account: &mut Account,
    tx: &mut Tx<'_>,
    moment: Moment<'_>,
    (folder, uids): (FolderId, &UidSet),
    only_deleted: bool,
) -> Result<OpOutcome> {
    let rows = account.touched(tx, moment, folder, uids, only_deleted).await?;
    rows.iter().try_for_each(|row| account.take_away(folder, row))?;
    Ok(OpOutcome::Removed { uids: rows.iter().map(|row| row.head.uid).collect() })
}

/// Changes flags.
pub(crate) async fn set_flags(
    account: &mut Account,
    tx: &mut Tx<'_>,
    moment: Moment<'_>,
    (folder, uids): (FolderId, &UidSet),
    change: &FlagChange,
    unchanged_since: Option<ModSeq>,
) -> Result<OpOutcome> {
    let rows = account.touched(tx, moment, folder, uids, false).await?;
    let brought: &[Keyword] = match change {
        FlagChange::Add(set) | FlagChange::Replace(set) if !rows.is_empty() => set.keywords(),
        _ => &[],
    };
    account.words_for(brought, moment.config.max_keywords)?;
    account.learn_words(brought);
    let mut conflicts = UidSet::new();
    for row in &rows {
        if unchanged_since.is_some_and(|since| row.head.change > since) {
            conflicts.insert(row.head.uid);
            continue;
        }
        let flags = change.apply(&row.flags);
        // RFC 7162 §3.1.3: what is as asked already gets no new mod-sequence.
        if flags != row.flags {
            account.reflag(folder, row, flags)?;
        }
    }
    let mut page = ItemPageBuilder::new();
    for before in &rows {
        let key = (before.shelf, before.head.uid.value());
        let now = account.slots.get(&key).and_then(|slot| slot.row.as_ref()).ok_or(OpError::NotFound)?;
        let ItemRow { head, flags, .. } = now;
        page.push(*head, flags.system, flags.keywords(), RowParts::default());
    }
    Ok(OpOutcome::FlagsSet { page: page.finish(None), conflicts })
}
