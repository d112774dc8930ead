//! Results of batches as octets, so that a repeated batch gets its first answer, field by field.
//!
//! Numbers of a page's rows are written as differences from the row before.

use std::collections::HashMap;

use mailstore_trait::batch::{AccountCommitted, Committed, OpOutcome};
use mailstore_trait::date::{DateTime, Timestamp};
use mailstore_trait::error::OpError;
use mailstore_trait::flags::{Keyword, SystemFlags};
use mailstore_trait::folder::{Counts, Folder};
use mailstore_trait::id::{AccountId, EmailId, FolderId, ItemId, ModSeq, QueueId, ThreadId, Uid, UidValidity};
use mailstore_trait::item::{ItemPage, ItemPageBuilder, ItemRow, RowHead, RowParts};
use mailstore_trait::uid_set::UidSet;

use crate::call::{sql, unsigned};
use crate::fault::{Fault, Result};
use crate::octets::{Reader, Writer};
use crate::rows::{role_by_number, role_number};

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

pub(crate) fn encode(committed: &Committed) -> Result<Vec<u8>> {
    let mut writer = Writer::default();
    writer.octet(VERSION);
    writer.number(committed.accounts.len() as u64);
    for account in &committed.accounts {
        writer.number(account.account.value());
        writer.number(account.upto.value());
        writer.number(account.outcomes.len() as u64);
        for outcome in &account.outcomes {
            write_outcome(&mut writer, outcome)?;
        }
    }
    writer.list(&committed.queued, |writer, id| writer.fixed(&id.0));
    Ok(writer.finish())
}

pub(crate) fn decode(octets: &[u8], what: &str) -> Result<Committed> {
    let mut reader = Reader::new(octets, what);
    if reader.octet()? != VERSION {
        return Err(reader.corrupt());
    }
    let accounts = reader.list(|reader| {
        Ok(AccountCommitted {
            account: reader.id(AccountId::new)?,
            upto: reader.id(ModSeq::new)?,
            outcomes: reader.list(read_outcome)?,
        })
    })?;
    let queued = reader.list(|reader| reader.fixed().map(QueueId))?;
    reader.end()?;
    Ok(Committed { accounts, queued })
}

fn write_outcome(writer: &mut Writer, outcome: &OpOutcome) -> Result<()> {
    match outcome {
        OpOutcome::Added { item, uid, uid_validity, email } => {
            writer.octet(1);
            writer.number(item.value());
            writer.number(uid.value().into());
            writer.number(uid_validity.value().into());
            writer.fixed(&email.0);
        }
        OpOutcome::Transferred { uid_validity, from, to } => {
            writer.octet(2);
            writer.number(uid_validity.value().into());
            write_uids(writer, from);
            write_uids(writer, to);
        }
        OpOutcome::Removed { uids } => {
            writer.octet(3);
            write_uids(writer, uids);
        }
        OpOutcome::FlagsSet { page, conflicts } => {
            writer.octet(4);
            write_page(writer, page);
            write_uids(writer, conflicts);
        }
        OpOutcome::Folder(folder) => {
            writer.octet(5);
            write_folder(writer, folder);
        }
        OpOutcome::Done => writer.octet(6),
        OpOutcome::Failed(error) => {
            let at = OP_ERRORS.iter().position(|known| known == error);
            writer.octet(7);
            writer.number(at.ok_or_else(|| Fault::unavailable("an error without a number"))? as u64);
        }
        _ => return Err(Fault::unavailable("an outcome without a form")),
    }
    Ok(())
}

fn read_outcome(reader: &mut Reader<'_>) -> Result<OpOutcome> {
    Ok(match reader.octet()? {
        1 => OpOutcome::Added {
            item: reader.id(ItemId::new)?,
            uid: reader.id(Uid::new)?,
            uid_validity: reader.id(UidValidity::new)?,
            email: EmailId(reader.fixed()?),
        },
        2 => OpOutcome::Transferred {
            uid_validity: reader.id(UidValidity::new)?,
            from: read_uids(reader)?,
            to: read_uids(reader)?,
        },
        3 => OpOutcome::Removed { uids: read_uids(reader)? },
        4 => OpOutcome::FlagsSet { page: read_page(reader)?, conflicts: read_uids(reader)? },
        5 => OpOutcome::Folder(read_folder(reader)?),
        6 => OpOutcome::Done,
        7 => OpOutcome::Failed(reader.id(|at: usize| OP_ERRORS.get(at).copied())?),
        _ => return Err(reader.corrupt()),
    })
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
    writer.octet(u8::from(folder.selectable));
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
        role: role_by_number(sql(reader.number()?)),
        selectable: reader.octet()? != 0,
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
struct Numbers([i64; 11]);

impl Numbers {
    fn of(row: &ItemRow) -> Numbers {
        Numbers([
            row.uid.value().into(),
            sql(row.item.value()),
            row.generation.into(),
            sql(row.created.value()),
            sql(row.content_change.value()),
            sql(row.read_change.value()),
            sql(row.change.value()),
            row.internal_date.instant.0,
            row.internal_date.offset_minutes.into(),
            row.save_date.0,
            sql(row.size),
        ])
    }

    fn head(self, email: EmailId, thread: ThreadId) -> Option<RowHead> {
        let Numbers([uid, item, generation, created, content_change, read_change, change, date, zone, saved, size]) =
            self;
        let change_of = |value| ModSeq::new(u64::try_from(value).ok()?);
        Some(RowHead {
            uid: Uid::new(u32::try_from(uid).ok()?)?,
            item: ItemId::new(u64::try_from(item).ok()?)?,
            email,
            thread,
            internal_date: DateTime { instant: Timestamp(date), offset_minutes: i16::try_from(zone).ok()? },
            save_date: Timestamp(saved),
            size: u64::try_from(size).ok()?,
            generation: u32::try_from(generation).ok()?,
            created: change_of(created)?,
            content_change: change_of(content_change)?,
            read_change: change_of(read_change)?,
            change: change_of(change)?,
        })
    }
}

fn write_page(writer: &mut Writer, page: &ItemPage) {
    let mut words: HashMap<&str, u64> = HashMap::new();
    let mut table = Vec::new();
    for word in page.rows().iter().flat_map(|row| page.keywords(row)) {
        words.entry(word.as_str()).or_insert_with(|| {
            table.push(word.as_str());
            table.len() as u64 - 1
        });
    }
    writer.list(&table, |writer, word| writer.text(word));
    let mut last = Numbers::default();
    writer.list(page.rows(), |writer, row| {
        let numbers = Numbers::of(row);
        numbers.0.iter().zip(last.0).for_each(|(now, before)| writer.signed(now.wrapping_sub(before)));
        last = numbers;
        writer.fixed(&row.email.0);
        writer.option((row.thread.0 != row.email.0).then_some(row.thread.0), |writer, thread| writer.fixed(&thread));
        writer.octet(row.flags.bits());
        let keywords: Vec<u64> = page.keywords(row).filter_map(|word| words.get(word.as_str()).copied()).collect();
        writer.list(&keywords, |writer, &at| writer.number(at));
    });
}

fn read_page(reader: &mut Reader<'_>) -> Result<ItemPage> {
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
        let email = reader.fixed()?;
        let thread = reader.option(Reader::fixed)?.unwrap_or(email);
        let head = last.head(EmailId(email), ThreadId(thread)).ok_or_else(|| reader.corrupt())?;
        let flags = SystemFlags::from_bits_truncate(reader.octet()?);
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
        let mut page = ItemPageBuilder::new();
        let words = [Keyword::new("$Work").unwrap(), Keyword::new("play").unwrap()];
        for n in 1..=3 {
            let head = RowHead {
                item: ItemId::new(900 - n).unwrap(),
                uid: uid(u32::try_from(n).unwrap() * 3),
                email: EmailId([u8::try_from(n).unwrap(); 16]),
                thread: ThreadId([2; 16]),
                internal_date: DateTime { instant: Timestamp(-5), offset_minutes: -90 },
                save_date: Timestamp(77),
                size: 1 << 30,
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
                email: EmailId([8; 16]),
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
        let octets = encode(&committed).unwrap();
        let again = decode(&octets, "batch").unwrap();
        assert_eq!(format!("{committed:?}"), format!("{again:?}"));
    }

    proptest! {
        #[test]
        fn noise_is_a_fault_and_no_panic(noise: Vec<u8>) {
            let mut octets = vec![VERSION];
            octets.extend(noise);
            let _ = decode(&octets, "noise");
        }
    }
}
