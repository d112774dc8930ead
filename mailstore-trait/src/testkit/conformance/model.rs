//! Random operations: a store does what the reference store does, and what its own changes tell.
//!
//! A script is a list of four-octet steps, so that a fuzzer or a property test can make, vary and shrink it. Each step is
//! one batch. After each, the store and a `MemStore` are compared (results, folders, rows, contents, subscriptions), and
//! a follower that knows the store only through `changes()` is compared with what is there.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::AssertUnwindSafe;

use super::fixture::{Fixture, batch_id, flag_set, uids};
use super::{Rig, Verdict};
use crate::batch::{AddItem, Batch, Content, Mode, Op, OpOutcome};
use crate::change::{ChangeKind, ChangesOptions};
use crate::error::{CommitError, OpError};
use crate::flags::{FlagChange, FlagSet, SystemFlags};
use crate::folder::{FolderList, Role};
use crate::id::{EmailId, FolderId, ItemId, ModSeq, Uid};
use crate::testkit::environment::START;
use crate::testkit::memory::MemRig;
use crate::testkit::random::Random;
use crate::uid_set::UidSet;

/// One step of a script.
pub type Step = [u8; 4];

/// Random operation lists have the same results as in the reference store, and `changes()` tells all of them.
///
/// The bug: every one that nobody thought of.
pub fn random_operations_agree_with_the_reference(rig: &dyn Rig) -> Verdict {
    for seed in 0..8 {
        let mut random = Random::new(seed);
        let script: Vec<Step> = (0..60)
            .map(|_| {
                let mut step = Step::default();
                random.fill(&mut step);
                step
            })
            .collect();
        if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| agree(rig, &script))) {
            let shortest = shrink(rig, script);
            println!("seed {seed}, shrunk to {shortest:?}");
            agree(rig, &shortest);
            std::panic::resume_unwind(panic);
        }
    }
    Verdict::Proved
}

/// The script of these octets: what a fuzzer or a property test hands over.
#[must_use]
pub fn script(octets: &[u8]) -> Vec<Step> {
    octets.chunks_exact(4).filter_map(|step| step.try_into().ok()).collect()
}

/// A part of the script that still fails, as short as leaving out makes it.
fn shrink(rig: &dyn Rig, mut script: Vec<Step>) -> Vec<Step> {
    let fails = |script: &[Step]| std::panic::catch_unwind(AssertUnwindSafe(|| agree(rig, script))).is_err();
    let mut length = script.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at < script.len() {
            let mut shorter = script.clone();
            shorter.drain(at..(at + length).min(script.len()));
            if fails(&shorter) {
                script = shorter;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    script
}

/// Applies a script to a fresh store of the rig and to a fresh reference store.
///
/// # Panics
/// When they differ, or when the store's changes do not tell what is there.
pub fn agree(rig: &dyn Rig, script: &[Step]) {
    let reference = MemRig::new();
    let (tried, known) = (Fixture::new(rig), Fixture::new(&reference));
    let mut tried = Side::new(&tried);
    let mut known = Side::new(&known);
    for (number, step) in script.iter().enumerate() {
        let words = format!("step {number} {step:?}");
        let (found, expected) = (tried.apply(*step), known.apply(*step));
        assert_eq!(found, expected, "{words}: the result differs from the reference (right)");
        let (found, expected) = (tried.state(), known.state());
        assert_eq!(found, expected, "{words}: what is there differs from the reference (right)");
        tried.follow(&words);
        known.follow(&words);
    }
}

/// One of the two stores.
struct Side<'f, 'r> {
    fixture: &'f Fixture<'r>,
    cursor: ModSeq,
    /// What is known from changes alone.
    followed: BTreeMap<FolderId, BTreeMap<ItemId, (Uid, FlagSet)>>,
    /// Messages and items by the order in which they were first seen.
    emails: Vec<EmailId>,
    items: Vec<ItemId>,
    texts: u32,
}

impl<'f, 'r> Side<'f, 'r> {
    fn new(fixture: &'f Fixture<'r>) -> Side<'f, 'r> {
        let cursor = fixture.here().state().at;
        Side { fixture, cursor, followed: BTreeMap::new(), emails: Vec::new(), items: Vec::new(), texts: 0 }
    }

    fn apply(&mut self, step: Step) -> String {
        let store = self.fixture.here();
        let before = store.state().at;
        let folders = store.folders();
        let [kind, a, b, c] = step;
        // Some batches have two or three operations, of which the last may fail.
        let mut ops = vec![self.op(&folders, kind, a, b, c)];
        if kind & 0x40 != 0 {
            ops.push(self.op(&folders, kind.wrapping_add(a), b, c, a));
        }
        if kind & 0x80 != 0 {
            ops.push(self.op(&folders, kind.wrapping_add(b), c, a, b));
        }
        let mode = if c & 0x80 == 0 { Mode::AllOrNothing } else { Mode::PerOperation };
        let batch = Batch { mode, ..Batch::new(batch_id(), self.fixture.account, ops) };
        let repeated = batch.clone();
        let committed = store.commit(batch);
        let mut words = String::new();
        match &committed {
            Ok(accounts) => {
                let account = &accounts[0];
                assert!(account.upto >= before, "the counter never falls");
                assert_eq!(account.upto, store.state().at, "a commit answers with the counter behind it");
                for outcome in &account.outcomes {
                    let _ = write!(words, "{}; ", self.words(outcome, &folders));
                }
                if a & 0x0f == 0 {
                    assert!(store.commit(repeated).is_ok_and(|again| again[0].upto == account.upto), "repeated");
                }
                let _ = write!(words, "moved on: {}", account.upto > before);
            }
            Err(CommitError::Operation { account, at, error }) => {
                assert_eq!(store.state().at, before, "a batch that fails takes no numbers");
                let _ = write!(words, "refused at {account} {at}: {}", refusal_words(*error));
            }
            Err(other) => panic!("no operation here can bring {other:?}"),
        }
        words
    }

    fn op(&mut self, folders: &FolderList, kind: u8, a: u8, b: u8, c: u8) -> Op {
        let mut paths: Vec<(Vec<&str>, FolderId)> =
            folders.folders.iter().map(|folder| (folders.path(folder), folder.id)).collect();
        paths.sort();
        let missing = FolderId::new(1 << 40).expect("48 bits");
        // Now and then a folder that is not there.
        let folder = |n: u8| if n % 23 == 22 { missing } else { paths[usize::from(n) % paths.len()].1 };
        let parent = |n: u8| (!n.is_multiple_of(3)).then(|| folder(n / 3));
        let name = |n: u8| ["A", "B", "C", "inbox", "Ä", ""][usize::from(n) % 6].to_owned();
        let some = |n: u8| uids((1..=12).filter(|uid| (u32::from(n) >> (uid % 8)) & 1 == 1));
        let flags = |n: u8| {
            let keywords: &[&str] = [&[][..], &["work"], &["work", "home"], &["HOME"]][usize::from(n >> 6)];
            flag_set(SystemFlags::from_bits_truncate(n & 0x1f), keywords)
        };
        let role = |n: u8| [None, Some(Role::Sent), Some(Role::Trash), Some(Role::Inbox)][usize::from(n) % 4];
        match kind % 16 {
            0..=3 => {
                self.texts += 1;
                let text = super::fixture::message(&format!("text {}", self.texts));
                let staged = self.fixture.here().upload(text);
                let content = match (b % 5, self.emails.last()) {
                    (0, Some(email)) => Content::Email(*email),
                    (1, _) => Content::Prefixed(bytes::Bytes::from_static(b"X-To: a\r\n"), staged),
                    _ => Content::Staged(staged),
                };
                Op::Add(AddItem {
                    folder: folder(a),
                    content,
                    flags: flags(c),
                    internal_date: START.at_offset(i16::from(b)),
                })
            }
            4 => Op::Copy { from: folder(a), uids: some(c), to: folder(b) },
            5 => Op::Move { from: folder(a), uids: some(c), to: folder(b) },
            6 => Op::MoveAll { from: folder(a), to: folder(b) },
            7 => Op::Remove { folder: folder(a), uids: some(c), only_deleted: b.is_multiple_of(2) },
            8..=10 => {
                let change = match b % 3 {
                    0 => FlagChange::Add(flags(c)),
                    1 => FlagChange::Remove(flags(c)),
                    _ => FlagChange::Replace(flags(c)),
                };
                let unchanged_since = b.is_multiple_of(4).then_some(self.cursor);
                Op::SetFlags { folder: folder(a), uids: some(c.rotate_left(3)), change, unchanged_since }
            }
            11 | 12 => Op::CreateFolder { parent: parent(a), name: name(b), role: role(c) },
            13 => Op::RenameFolder { folder: folder(a), parent: parent(b), name: name(c) },
            14 if c.is_multiple_of(3) => Op::SetRole { folder: folder(a), role: role(b) },
            14 => Op::Subscribe {
                path: vec![name(a % 5), name(b % 5)].split_off(usize::from(c % 2)),
                subscribed: !b.is_multiple_of(3),
            },
            _ => Op::DeleteFolder { folder: folder(a) },
        }
    }

    fn words(&mut self, outcome: &OpOutcome, folders: &FolderList) -> String {
        match outcome {
            OpOutcome::Added { item, uid, email, .. } => {
                format!("added {} {uid} {}", self.item(*item), self.email(*email))
            }
            OpOutcome::Transferred { from, to, .. } => format!("transferred {from:?} {to:?}"),
            OpOutcome::Removed { uids } => format!("removed {uids:?}"),
            OpOutcome::FlagsSet { page, conflicts } => {
                let rows: Vec<_> = page.rows().iter().map(|row| (row.uid, flag_words(&page.flag_set(row)))).collect();
                format!("flags {rows:?} conflicts {conflicts:?} next {:?}", page.next)
            }
            OpOutcome::Folder(folder) => {
                let known = folders.by_id(folder.id).is_some();
                format!("folder {} {:?} selectable {} known {known}", folder.name, folder.role, folder.selectable)
            }
            OpOutcome::Done => "done".to_owned(),
            OpOutcome::Failed(error) => format!("failed {}", refusal_words(*error)),
        }
    }

    fn email(&mut self, id: EmailId) -> usize {
        place(&mut self.emails, id)
    }

    fn item(&mut self, id: ItemId) -> usize {
        place(&mut self.items, id)
    }

    /// Everything that is there, in words that are the same in both stores.
    fn state(&mut self) -> String {
        let store = self.fixture.here();
        let mut list = store.folders();
        let mut words = String::new();
        let paths: BTreeMap<FolderId, Vec<String>> = list
            .folders
            .iter()
            .map(|folder| (folder.id, list.path(folder).into_iter().map(str::to_owned).collect()))
            .collect();
        list.folders.sort_by_key(|folder| paths.get(&folder.id).cloned());
        for folder in &list.folders {
            let path = paths.get(&folder.id);
            let (counts, next) = (folder.counts, folder.uid_next);
            let _ =
                writeln!(words, "{path:?} {:?} selectable {} {counts:?} next {next}", folder.role, folder.selectable);
            if !folder.selectable {
                continue;
            }
            for (row, flags) in store.rows(folder.id) {
                let content = store.content(row.email, 1 << 20).expect("a message that is there can be read");
                assert_eq!(row.size, content.len() as u64);
                let (item, email) = (self.item(row.item), self.email(row.email));
                let text = String::from_utf8_lossy(&content).replace("\r\n", "|");
                let flags = flag_words(&flags);
                let _ = writeln!(words, "  {} #{item} @{email} {flags} {} {text}", row.uid, row.internal_date);
            }
        }
        let mut subscriptions = list.subscriptions;
        subscriptions.sort();
        let _ = write!(words, "{subscriptions:?} {} messages, {} octets", store.state().messages, store.state().octets);
        words
    }

    /// Reads what changed, and compares what is then known with what is there.
    fn follow(&mut self, words: &str) {
        let store = self.fixture.here();
        // Pages of different lengths, so that they end everywhere.
        let max = 1 + usize::try_from(self.cursor.value() % 5).unwrap_or(0);
        let asked = ChangesOptions::since(self.cursor).at_most(max);
        let (records, cursor) = store.try_changes(asked).expect("nothing is forgotten here");
        for record in records {
            let gone = record.kind.contains(ChangeKind::REMOVED);
            match record.item {
                // A folder that went, or was emptied and made again: nothing known of it holds.
                None if gone => drop(self.followed.remove(&record.folder)),
                None => {}
                Some((item, _)) if gone => drop(self.followed.entry(record.folder).or_default().remove(&item)),
                Some((item, uid)) => {
                    assert!(record.change > self.cursor);
                    self.followed.entry(record.folder).or_default().insert(item, (uid, record.flags));
                }
            }
        }
        // A folder made again in the same stretch may have told its new messages before it told its own removal.
        for folder in store.folders().folders.iter().filter(|folder| folder.selectable) {
            if folder.floor > self.cursor {
                let rows = store.rows(folder.id).into_iter().map(|(row, flags)| (row.item, (row.uid, flags)));
                self.followed.insert(folder.id, rows.collect());
            }
        }
        self.cursor = cursor;
        for folder in store.folders().folders.iter().filter(|folder| folder.selectable) {
            let there: BTreeMap<ItemId, (Uid, FlagSet)> =
                store.rows(folder.id).into_iter().map(|(row, flags)| (row.item, (row.uid, flags))).collect();
            let known = self.followed.get(&folder.id).cloned().unwrap_or_default();
            assert_eq!(known, there, "{words}: what changes told (left) is not what is in {}", folder.name);
            let highest = store.rows(folder.id).iter().map(|(row, _)| row.change).max();
            assert!(highest.is_none_or(|highest| highest <= folder.highest_modseq), "{words}: HIGHESTMODSEQ is lower");
            let set: UidSet = there.values().map(|(uid, _)| *uid).collect();
            assert_eq!(store.view(folder.id).uids.to_set(), set, "{words}: the view's UIDs");
        }
    }
}

/// A refusal in words. Where an operation is wrong in several ways, which is told first is the store's choice; the
/// promises of their own hold it to the one where there is one.
fn refusal_words(error: OpError) -> String {
    match error {
        OpError::Limit | OpError::OverQuota | OpError::Conflict => format!("{error:?}"),
        _ => "refused".to_owned(),
    }
}

/// Flags in words. How far the first spelling of a keyword reaches (message, folder, account) is the store's choice.
fn flag_words(flags: &FlagSet) -> String {
    format!("{:?} {:?}", flags.system, flags.keywords()).to_ascii_lowercase()
}

/// The place of this in the list; behind all others when it is new.
fn place<T: PartialEq>(list: &mut Vec<T>, what: T) -> usize {
    list.iter().position(|known| *known == what).unwrap_or_else(|| {
        list.push(what);
        list.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// The reference store agrees with itself; what is tried here is that it never panics and that its changes, its
        /// rows, its counts and its views tell the same, whatever was done.
        #[test]
        fn whatever_is_done_the_changes_tell_it(octets in prop::collection::vec(any::<u8>(), 0..160)) {
            agree(&MemRig::new(), &script(&octets));
        }
    }

    #[test]
    fn a_failing_script_is_cut_to_what_fails() {
        use crate::testkit::conformance::fixture::account;
        use crate::testkit::conformance::{Data, fixture};
        use crate::testkit::memory::MemStore;

        /// A store whose quota holds three small messages: the fourth addition goes wrong.
        struct Small;
        impl Rig for Small {
            fn fresh(&self) -> Box<dyn Data + '_> {
                let store = MemStore::new();
                fixture::wait(self, async {
                    use crate::store::MailStore;
                    store.provision(account(1), &[]).await.unwrap();
                });
                store.set_quota(account(1), Some(150));
                Box::new(store)
            }
        }
        let add: Step = [0, 0, 2, 0];
        let seen: Step = [8, 0, 0, 1];
        let script: Vec<Step> = [[add; 5], [seen; 5], [add; 5]].concat();
        assert_eq!(shrink(&Small, script), [add; 4]);
    }
}
