//! Results of batches as octets, so that a repeated batch gets its first answer.
//!
//! A page of flags is written as differences from row to row: about ten octets a message.

use std::collections::HashMap;

use mailstore_trait::batch::{AccountCommitted, Committed, OpOutcome};
use mailstore_trait::date::{DateTime, Timestamp};
use mailstore_trait::error::OpError;
use mailstore_trait::flags::{Keyword, SystemFlags};
use mailstore_trait::folder::{Counts, Folder};
use mailstore_trait::id::{AccountId, EmailId, FolderId, ItemId, ModSeq, QueueId, Uid, UidValidity};
use mailstore_trait::item::{ItemPage, ItemPageBuilder, ItemRow, RowHead, RowParts};
use mailstore_trait::uid_set::UidSet;

use super::account::{role_by_number, role_number, unsigned};
use crate::env::{Ids, sql};
use crate::fault::{Fault, Result};
use crate::octets::{Reader, Writer};

/// The form of what follows.
const VERSION: u8 = 1;

const OP_ERRORS: [OpError; 11] = [
    OpError::NotFound,
    OpError::Exists,
    OpError::RoleTaken,
    OpError::Inbox,
    OpError::HasChildren,
    OpError::NotSelectable,
    OpError::Cycle,
    OpError::IllegalName,
    OpError::Conflict,
    OpError::OverQuota,
    OpError::Limit,
];

pub(crate) fn encode(ids: Ids, committed: &Committed) -> Result<Vec<u8>> {
    let mut writer = Writer::default();
    writer.u8(VERSION);
    writer.number(committed.accounts.len() as u64);
    for account in &committed.accounts {
        writer.number(account.account.value());
        writer.number(account.upto.value());
        writer.number(account.outcomes.len() as u64);
        for outcome in &account.outcomes {
            write_outcome(&mut writer, ids, outcome)?;
        }
    }
    writer.list(&committed.queued, |writer, id| writer.fixed(&id.0));
    Ok(writer.finish())
}

pub(crate) fn decode(ids: Ids, octets: &[u8], what: &str) -> Result<Committed> {
    let mut reader = Reader::new(octets, what);
    if reader.u8()? != VERSION {
        return Err(reader.corrupt());
    }
    let accounts = reader.list(|reader| {
        Ok(AccountCommitted {
            account: reader.id(AccountId::new)?,
            upto: reader.id(ModSeq::new)?,
            outcomes: reader.list(|reader| read_outcome(reader, ids))?,
        })
    })?;
    let queued = reader.list(|reader| reader.fixed().map(QueueId))?;
    reader.end()?;
    Ok(Committed { accounts, queued })
}

fn write_outcome(writer: &mut Writer, ids: Ids, outcome: &OpOutcome) -> Result<()> {
    match outcome {
        OpOutcome::Added { item, uid, uid_validity, email } => {
            writer.u8(1);
            writer.number(item.value());
            writer.number(uid.value().into());
            writer.number(uid_validity.value().into());
            writer.number(unsigned(ids.email_number(*email).unwrap_or(0)));
        }
        OpOutcome::Transferred { uid_validity, from, to } => {
            writer.u8(2);
            writer.number(uid_validity.value().into());
            write_uids(writer, from);
            write_uids(writer, to);
        }
        OpOutcome::Removed { uids } => {
            writer.u8(3);
            write_uids(writer, uids);
        }
        OpOutcome::FlagsSet { page, conflicts } => {
            writer.u8(4);
            write_page(writer, ids, page);
            write_uids(writer, conflicts);
        }
        OpOutcome::Folder(folder) => {
            writer.u8(5);
            write_folder(writer, folder);
        }
        OpOutcome::Done => writer.u8(6),
        OpOutcome::Failed(error) => {
            let at = OP_ERRORS.iter().position(|known| known == error);
            writer.u8(7);
            writer.number(at.ok_or_else(|| Fault::unavailable("an error without a number"))? as u64);
        }
        _ => return Err(Fault::unavailable("an outcome without a form")),
    }
    Ok(())
}

fn read_outcome(reader: &mut Reader<'_>, ids: Ids) -> Result<OpOutcome> {
    Ok(match reader.u8()? {
        1 => OpOutcome::Added {
            item: reader.id(ItemId::new)?,
            uid: reader.id(Uid::new)?,
            uid_validity: reader.id(UidValidity::new)?,
            email: read_email(reader, ids)?,
        },
        2 => OpOutcome::Transferred {
            uid_validity: reader.id(UidValidity::new)?,
            from: read_uids(reader)?,
            to: read_uids(reader)?,
        },
        3 => OpOutcome::Removed { uids: read_uids(reader)? },
        4 => OpOutcome::FlagsSet { page: read_page(reader, ids)?, conflicts: read_uids(reader)? },
        5 => OpOutcome::Folder(read_folder(reader)?),
        6 => OpOutcome::Done,
        7 => OpOutcome::Failed(reader.id(|at: usize| OP_ERRORS.get(at).copied())?),
        _ => return Err(reader.corrupt()),
    })
}

fn read_email(reader: &mut Reader<'_>, ids: Ids) -> Result<EmailId> {
    Ok(ids.email(sql(reader.number()?)))
}

fn write_uids(writer: &mut Writer, uids: &UidSet) {
    let ranges = uids.ranges();
    writer.number(ranges.len() as u64);
    let mut last = 0;
    for range in ranges {
        let (first, end) = (range.start().value(), range.end().value());
        writer.number(u64::from(first - last));
        writer.number(u64::from(end - first));
        last = end;
    }
}

fn read_uids(reader: &mut Reader<'_>) -> Result<UidSet> {
    let mut uids = UidSet::new();
    let mut last = 0_u32;
    for _ in 0..reader.number()? {
        let first = last.checked_add(reader.small()?).ok_or_else(|| reader.corrupt())?;
        let end = first.checked_add(reader.small()?).ok_or_else(|| reader.corrupt())?;
        let range = Uid::new(first).zip(Uid::new(end)).ok_or_else(|| reader.corrupt())?;
        uids.insert_range(range.0..=range.1);
        last = end;
    }
    Ok(uids)
}

fn write_folder(writer: &mut Writer, folder: &Folder) {
    writer.number(folder.id.value());
    writer.number(folder.parent.map_or(0, FolderId::value));
    writer.text(&folder.name);
    writer.number(unsigned(role_number(folder.role)));
    writer.u8(u8::from(folder.selectable));
    writer.number(folder.uid_validity.value().into());
    writer.number(folder.uid_next.value().into());
    for change in [folder.highest_modseq, folder.floor, folder.created, folder.change] {
        writer.number(change.value());
    }
    let Counts { exists, unseen, deleted, octets } = folder.counts;
    [exists, unseen, deleted].into_iter().for_each(|count| writer.number(count.into()));
    writer.number(octets);
}

fn read_folder(reader: &mut Reader<'_>) -> Result<Folder> {
    Ok(Folder {
        id: reader.id(FolderId::new)?,
        parent: FolderId::new(reader.number()?),
        name: reader.text()?,
        role: role_by_number(reader.small()?),
        selectable: reader.u8()? != 0,
        uid_validity: reader.id(UidValidity::new)?,
        uid_next: reader.id(Uid::new)?,
        highest_modseq: reader.id(ModSeq::new)?,
        floor: reader.id(ModSeq::new)?,
        created: reader.id(ModSeq::new)?,
        change: reader.id(ModSeq::new)?,
        counts: Counts {
            exists: reader.small()?,
            unseen: reader.small()?,
            deleted: reader.small()?,
            octets: reader.number()?,
        },
    })
}

/// The numbers of a row that are written as differences from the row before.
#[derive(Clone, Copy, Default)]
struct Numbers([i64; 9]);

impl Numbers {
    fn of(ids: Ids, row: &ItemRow) -> Numbers {
        Numbers([
            i64::from(row.uid.value()),
            sql(row.item.value()),
            ids.email_number(row.email).unwrap_or(0),
            ids.thread_number(row.thread).unwrap_or(0),
            i64::from(row.generation),
            sql(row.created.value()),
            sql(row.content_change.value()),
            sql(row.read_change.value()),
            sql(row.change.value()),
        ])
    }

    fn head(self, ids: Ids) -> Option<RowHead> {
        let Numbers([uid, item, email, thread, generation, created, content_change, read_change, change]) = self;
        let change_of = |value| ModSeq::new(u64::try_from(value).ok()?);
        Some(RowHead {
            uid: Uid::new(u32::try_from(uid).ok()?)?,
            item: ItemId::new(u64::try_from(item).ok()?)?,
            email: ids.email(email),
            thread: ids.thread(thread),
            internal_date: DateTime::default(),
            save_date: Timestamp::default(),
            size: 0,
            generation: u32::try_from(generation).ok()?,
            created: change_of(created)?,
            content_change: change_of(content_change)?,
            read_change: change_of(read_change)?,
            change: change_of(change)?,
        })
    }
}

fn write_page(writer: &mut Writer, ids: Ids, page: &ItemPage) {
    let mut words: HashMap<&Keyword, u64> = HashMap::new();
    let mut table = Vec::new();
    for word in page.rows().iter().flat_map(|row| page.keywords(row)) {
        words.entry(word).or_insert_with(|| {
            table.push(word);
            table.len() as u64 - 1
        });
    }
    writer.list(&table, |writer, word| writer.text(word.as_str()));
    let mut last = Numbers::default();
    writer.list(page.rows(), |writer, row| {
        let numbers = Numbers::of(ids, row);
        numbers.0.iter().zip(last.0).for_each(|(now, before)| writer.signed(now.wrapping_sub(before)));
        last = numbers;
        writer.u8(row.flags.bits());
        let keywords: Vec<u64> = page.keywords(row).filter_map(|word| words.get(word).copied()).collect();
        writer.list(&keywords, |writer, &at| writer.number(at));
    });
}

fn read_page(reader: &mut Reader<'_>, ids: Ids) -> Result<ItemPage> {
    let table = reader.list(|reader| {
        let word = reader.text()?;
        Keyword::new(&word).ok_or_else(|| reader.corrupt())
    })?;
    let mut page = ItemPageBuilder::new();
    let mut last = Numbers::default();
    for _ in 0..reader.number()? {
        for number in &mut last.0 {
            *number = number.wrapping_add(reader.signed()?);
        }
        let head = last.head(ids).ok_or_else(|| reader.corrupt())?;
        let flags = SystemFlags::from_bits_truncate(reader.u8()?);
        let keywords = reader.list(|reader| reader.id(|at: usize| table.get(at)))?;
        page.push(head, flags, keywords, RowParts::default());
    }
    Ok(page.finish(None))
}

#[cfg(test)]
mod tests {
    use mailstore_trait::folder::Role;
    use proptest::prelude::*;

    use super::*;

    fn uid(value: u32) -> Uid {
        Uid::new(value).unwrap()
    }

    fn change(value: u64) -> ModSeq {
        ModSeq::new(value).unwrap()
    }

    #[test]
    fn every_outcome_comes_back() {
        let ids = Ids::new(*b"testtest");
        let mut page = ItemPageBuilder::new();
        let words = [Keyword::new("$Work").unwrap(), Keyword::new("play").unwrap()];
        for n in 1..=3 {
            let head = RowHead {
                item: ItemId::new(900 - n).unwrap(),
                uid: uid(u32::try_from(n).unwrap() * 3),
                email: ids.email(50),
                thread: ids.thread(sql(7 * n)),
                internal_date: DateTime::default(),
                save_date: Timestamp::default(),
                size: 0,
                generation: 1,
                created: change(n),
                content_change: change(10 + n),
                read_change: change(5),
                change: change(10 + n),
            };
            page.push(head, SystemFlags::SEEN, words.iter().skip(usize::from(n == 2)), RowParts::default());
        }
        let folder = Folder {
            id: FolderId::new(9).unwrap(),
            parent: FolderId::new(2),
            name: "Überweisungen".into(),
            role: Some(Role::Trash),
            selectable: true,
            uid_validity: UidValidity::new(77).unwrap(),
            uid_next: uid(1),
            highest_modseq: change(3),
            floor: change(1),
            created: change(2),
            change: change(3),
            counts: Counts { exists: 1, unseen: 2, deleted: 3, octets: 1 << 40 },
        };
        let set: UidSet = [1, 2, 3, 9, 400].into_iter().map(uid).collect();
        let outcomes = vec![
            OpOutcome::Added {
                item: ItemId::new(1 << 47).unwrap(),
                uid: uid(5),
                uid_validity: UidValidity::new(6).unwrap(),
                email: ids.email(8),
            },
            OpOutcome::Transferred { uid_validity: UidValidity::MAX, from: set.clone(), to: UidSet::all() },
            OpOutcome::Removed { uids: set.clone() },
            OpOutcome::FlagsSet { page: page.finish(None), conflicts: set },
            OpOutcome::Folder(folder),
            OpOutcome::Done,
            OpOutcome::Failed(OpError::OverQuota),
        ];
        let account = AccountCommitted { account: AccountId::new(4).unwrap(), upto: change(12), outcomes };
        let committed = Committed { accounts: vec![account], queued: vec![QueueId([3; 16])] };
        let octets = encode(ids, &committed).unwrap();
        let again = decode(ids, &octets, "batch").unwrap();
        assert_eq!(format!("{committed:?}"), format!("{again:?}"));
    }

    #[test]
    fn a_page_of_a_thousand_flags_takes_about_ten_octets_a_row() {
        let ids = Ids::new(*b"testtest");
        let mut page = ItemPageBuilder::new();
        for n in 1..=1000_u32 {
            let at = u64::from(n);
            let head = RowHead {
                item: ItemId::new(at + 5000).unwrap(),
                uid: uid(n + 100),
                email: ids.email(i64::from(n) * 2),
                thread: ids.thread(i64::from(n) * 2),
                internal_date: DateTime::default(),
                save_date: Timestamp::default(),
                size: 0,
                generation: 0,
                created: change(at + 300),
                content_change: change(at + 300),
                read_change: change(at + 90_000),
                change: change(at + 90_000),
            };
            page.push(head, SystemFlags::SEEN, [], RowParts::default());
        }
        let mut writer = Writer::default();
        write_page(&mut writer, ids, &page.finish(None));
        let size = writer.finish().len();
        assert!(size < 12_000, "{size} octets");
    }

    proptest! {
        #[test]
        fn noise_is_a_fault_and_no_panic(noise: Vec<u8>) {
            let mut octets = vec![VERSION];
            octets.extend(noise);
            let _ = decode(Ids::new([0; 8]), &octets, "noise");
        }
    }
}
