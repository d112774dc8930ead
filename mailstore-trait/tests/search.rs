//! A search by bounded steps over a whole store, against a naive one over the messages' own words.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use bytes::Bytes;
use mailstore_trait::batch::{AddItem, Batch, Content, Op};
use mailstore_trait::date::{DateTime, Timestamp, days_from_civil};
use mailstore_trait::error::ReadError;
use mailstore_trait::flags::{FlagChange, FlagSet, Keyword, SystemFlags};
use mailstore_trait::id::{AccountId, BatchId, FolderId, ModSeq, Uid};
use mailstore_trait::item::ItemsOptions;
use mailstore_trait::mime::{Limits, Scanner};
use mailstore_trait::query::{Budget, Cursor, DateOf, Days, Filter, Search, Test, search_step};
use mailstore_trait::store::{MailStore, UploadOptions};
use mailstore_trait::testkit::memory::MemStore;
use mailstore_trait::uid_set::UidSet;
use proptest::prelude::*;

/// A message in plain words.
#[derive(Clone, Debug)]
struct Mail {
    subject: String,
    from: String,
    list: Option<String>,
    body: String,
    base64: bool,
    flags: u8,
    keyword: bool,
    received: i64,
    sent: Option<u32>,
    /// Whether the store has its skeleton.
    scanned: bool,
}

impl Mail {
    fn octets(&self) -> Vec<u8> {
        use base64::Engine as _;
        let mut text = format!("From: {} <someone@example.org>\r\nSubject: {}\r\n", self.from, self.subject);
        if let Some(list) = &self.list {
            text += &format!("List-Id: {list}\r\n");
        }
        if let Some(day) = self.sent {
            text += &format!("Date: {day} Mar 2026 23:30:00 -0800\r\n");
        }
        text += "Content-Type: text/plain; charset=utf-8\r\n";
        if self.base64 {
            text += "Content-Transfer-Encoding: base64\r\n\r\n";
            text += &base64::engine::general_purpose::STANDARD.encode(&self.body);
        } else {
            text += "\r\n";
            text += &self.body;
        }
        text.into_bytes()
    }

    fn naive(&self, filter: &Tree) -> bool {
        let has = |text: &str, word: &str| text.to_lowercase().contains(&word.to_lowercase());
        match filter {
            Tree::Seen => self.flags & 1 == 1,
            Tree::Keyword => self.keyword,
            Tree::Larger(octets) => self.octets().len() as u64 > *octets,
            Tree::Before(day) => self.received < march(*day),
            Tree::SentOn(day) => self.sent == Some(*day),
            Tree::Subject(word) => has(&self.subject, word),
            Tree::From(word) => has(&format!("{} <someone@example.org>", self.from), word),
            Tree::List(word) => self.list.as_ref().is_some_and(|list| has(list, word)),
            Tree::Body(word) => has(&self.body, word),
            Tree::And(trees) => trees.iter().all(|tree| self.naive(tree)),
            Tree::Or(trees) => trees.iter().any(|tree| self.naive(tree)),
            Tree::Not(tree) => !self.naive(tree),
        }
    }
}

#[derive(Clone, Debug)]
enum Tree {
    Seen,
    Keyword,
    Larger(u64),
    Before(u32),
    SentOn(u32),
    Subject(String),
    From(String),
    List(String),
    Body(String),
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Not(Box<Tree>),
}

fn march(day: u32) -> i64 {
    days_from_civil(2026, 3, day)
}

impl Tree {
    fn filter(&self) -> Filter {
        match self {
            Tree::Seen => Test::Flags(SystemFlags::SEEN).into(),
            Tree::Keyword => Test::Keyword(Keyword::new("WORK").unwrap()).into(),
            Tree::Larger(octets) => Test::Larger(*octets).into(),
            Tree::Before(day) => Test::Day(DateOf::Internal, Days::before(march(*day))).into(),
            Tree::SentOn(day) => Test::Day(DateOf::Sent, Days::on(march(*day))).into(),
            Tree::Subject(word) => Test::header("Subject", word).into(),
            Tree::From(word) => Test::header("FROM", word).into(),
            Tree::List(word) => Test::header("list-id", word).into(),
            Tree::Body(word) => Test::body(word).into(),
            Tree::And(trees) => Filter::all(trees.iter().map(Tree::filter)),
            Tree::Or(trees) => Filter::any(trees.iter().map(Tree::filter)),
            Tree::Not(tree) => Filter::not(tree.filter()),
        }
    }
}

const WORDS: [&str; 6] = ["alpha", "Beta", "GAMMA", "übung", "д", "x y"];

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(word(), 0..6).prop_map(|words| words.join(" "))
}

fn needle() -> impl Strategy<Value = String> {
    prop_oneof![word(), word().prop_map(|word| word.to_uppercase()), Just("a b".to_owned()), Just(String::new())]
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Seen),
        Just(Tree::Keyword),
        (150u64..260).prop_map(Tree::Larger),
        (1u32..10).prop_map(Tree::Before),
        (1u32..6).prop_map(Tree::SentOn),
        needle().prop_map(Tree::Subject),
        needle().prop_map(Tree::From),
        needle().prop_map(Tree::List),
        needle().prop_map(Tree::Body),
        needle().prop_map(Tree::Body),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Tree::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Tree::Or),
            inner.prop_map(|tree| Tree::Not(Box::new(tree))),
        ]
    })
}

fn mail() -> impl Strategy<Value = Mail> {
    let words = (text(), text(), prop::option::of(text()), text());
    let facts = (any::<bool>(), 0u8..4, any::<bool>(), 1u32..10, prop::option::of(1u32..6), any::<bool>());
    (words, facts).prop_map(|((subject, from, list, body), (base64, flags, keyword, received, sent, scanned))| Mail {
        subject,
        from,
        list,
        body,
        base64,
        flags,
        keyword,
        received: march(received),
        sent,
        scanned,
    })
}

struct Mailbox {
    store: MemStore,
    account: AccountId,
    inbox: FolderId,
}

impl Mailbox {
    async fn new() -> Mailbox {
        let store = MemStore::new();
        let account = AccountId::new(1).unwrap();
        store.provision(account, &[]).await.unwrap();
        let inbox = store.folders(account).await.unwrap().inbox().unwrap().id;
        Mailbox { store, account, inbox }
    }

    async fn add(&self, octets: Vec<u8>, flags: FlagSet, internal_date: DateTime, scanned: bool) {
        let mut upload = self.store.upload(UploadOptions::new(1 << 24)).await.unwrap();
        let mut skeleton = Bytes::new();
        if scanned {
            let mut scanner = Scanner::new(Limits::default());
            scanner.push(&octets);
            skeleton = scanner.finish().into_bytes().into();
        }
        upload.write(octets.into()).await.unwrap();
        let mut staged = upload.finish().await.unwrap();
        staged.skeleton = skeleton;
        let add = AddItem { folder: self.inbox, content: Content::Staged(staged), flags, internal_date };
        self.commit(Op::Add(add)).await;
    }

    async fn commit(&self, op: Op) {
        let mut id = [0; 16];
        let at = self.store.account(self.account).await.unwrap().at;
        id[..8].copy_from_slice(&at.value().to_be_bytes());
        self.store.commit(Batch::new(BatchId(id), self.account, vec![op])).await.unwrap();
    }

    async fn add_mail(&self, mail: &Mail) {
        let mut flags = FlagSet::new();
        flags.system.set(SystemFlags::SEEN, mail.flags & 1 == 1);
        flags.system.set(SystemFlags::FLAGGED, mail.flags & 2 == 2);
        if mail.keyword {
            flags.insert(Keyword::new("work").unwrap());
        }
        let received = Timestamp::from_seconds(mail.received * 86_400 + 1800).at_offset(0);
        self.add(mail.octets(), flags, received, mail.scanned).await;
    }

    async fn step(&self, search: &Search, uids: &UidSet, cursor: Option<Cursor>, budget: Budget) -> Found {
        let place = (self.account, self.inbox);
        let step = search_step(&self.store, place, search, uids, cursor, budget, None).await.unwrap();
        (step.matched.iter().map(Uid::value).collect(), step.next)
    }

    /// All steps; also how many there were.
    async fn search(&self, filter: impl Into<Filter>, budget: Budget) -> (Vec<u32>, usize) {
        let search = Search::new(filter.into(), NOW);
        let (mut found, mut cursor, mut steps) = (Vec::new(), None, 0);
        loop {
            let (matched, next) = self.step(&search, &UidSet::all(), cursor, budget).await;
            steps += 1;
            assert!(matched.first().is_none_or(|first| found.last().is_none_or(|last| last < first)), "told twice");
            found.extend(matched);
            assert!(steps < 100_000, "no progress");
            let Some(next) = next else { return (found, steps) };
            assert!(found.last().is_none_or(|last| *last < next.next().value()), "told ahead");
            cursor = Some(next);
        }
    }
}

type Found = (Vec<u32>, Option<Cursor>);

const NOW: Timestamp = Timestamp(1_795_348_800_000);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn budget(rows: usize, octets: u64, piece: usize, inline: u64) -> Budget {
    let mut budget = Budget::default();
    (budget.rows, budget.octets, budget.piece, budget.inline) = (rows, octets, piece, inline);
    budget
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn steps_find_what_a_naive_search_finds(
        mails in prop::collection::vec(mail(), 0..8), tree in tree(),
        rows in 1usize..5, octets in 1u64..300, piece in 1usize..80, inline in prop::sample::select(vec![0u64, 220, 10_000]),
    ) {
        block_on(async {
            let mailbox = Mailbox::new().await;
            for mail in &mails {
                mailbox.add_mail(mail).await;
            }
            let expected: Vec<u32> = (1..).zip(&mails).filter(|(_, mail)| mail.naive(&tree)).map(|(uid, _)| uid).collect();
            assert_eq!(mailbox.search(tree.filter(), Budget::default()).await, (expected.clone(), 1));
            assert_eq!(mailbox.search(tree.filter(), budget(rows, octets, piece, inline)).await.0, expected);
        });
    }
}

#[test]
fn a_long_message_is_searched_over_many_steps() {
    block_on(async {
        let mailbox = Mailbox::new().await;
        let mut octets = b"Subject: long\r\n\r\n".to_vec();
        octets.extend(b"nothing to see here\r\n".repeat(5000));
        octets.extend_from_slice(b"the very end");
        for scanned in [true, false] {
            mailbox.add(octets.clone(), FlagSet::new(), DateTime::default(), scanned).await;
        }
        let (found, steps) = mailbox.search(Test::body("VERY END"), budget(10, 4096, 1024, 0)).await;
        assert_eq!(found, [1, 2]);
        // One message once, the other twice: it has to be scanned first.
        let expected = 3 * octets.len() / 4096;
        assert!((expected..expected + 6).contains(&steps), "{steps} steps");
    });
}

#[test]
fn rows_bound_a_step() {
    block_on(async {
        let mailbox = Mailbox::new().await;
        for _ in 0..25 {
            mailbox.add(b"A: b\r\n\r\n".to_vec(), FlagSet::new(), DateTime::default(), true).await;
        }
        let (found, steps) = mailbox.search(Test::All, budget(10, 1, 1, 0)).await;
        assert_eq!((found.len(), steps), (25, 3));
    });
}

#[test]
fn the_scope_is_kept() {
    block_on(async {
        let mailbox = Mailbox::new().await;
        for _ in 0..9 {
            mailbox.add(b"A: b\r\n\r\n".to_vec(), FlagSet::new(), DateTime::default(), true).await;
        }
        let uids: UidSet = [2, 3, 7, 99].into_iter().filter_map(Uid::new).collect();
        let inside: UidSet = [3, 4, 7].into_iter().filter_map(Uid::new).collect();
        let search = Search::new(Filter::from(Test::Uids(inside)), NOW);
        assert_eq!(mailbox.step(&search, &uids, None, Budget::default()).await.0, [3, 7]);
        let cursor = Cursor::from(Uid::new(4).unwrap());
        assert_eq!(mailbox.step(&search, &uids, Some(cursor), Budget::default()).await.0, [7]);
    });
}

/// RFC 5032 §3: ages; RFC 8514: the day of saving; RFC 7162 §3.1.5: mod-sequences.
#[test]
fn rows_answer_ages_sizes_and_changes() {
    block_on(async {
        let mailbox = Mailbox::new().await;
        mailbox.store.set_clock(NOW);
        for hours in [1, 30, 60] {
            let received = Timestamp(NOW.0 - hours * 3_600_000).at_offset(-120);
            mailbox.add(b"A: b\r\n\r\n".to_vec(), FlagSet::new(), received, false).await;
        }
        let at = mailbox.store.account(mailbox.account).await.unwrap().at;
        let uids = [2].into_iter().filter_map(Uid::new).collect();
        let change = FlagChange::Add(SystemFlags::FLAGGED.into());
        mailbox.commit(Op::SetFlags { folder: mailbox.inbox, uids, change, unchanged_since: None }).await;

        let today = NOW.at_offset(0).local_day();
        for (test, found) in [
            (Test::Younger(DateOf::Internal, 30 * 3600), vec![1, 2]),
            (Test::Younger(DateOf::Internal, u64::MAX), vec![1, 2, 3]),
            (Test::Younger(DateOf::Sent, u64::MAX), vec![]),
            (Test::Day(DateOf::Saved, Days::on(today)), vec![1, 2, 3]),
            (Test::Day(DateOf::Saved, Days::since(today + 1)), vec![]),
            (Test::Day(DateOf::Internal, Days::since(today)), vec![1]),
            (Test::ModSeq(at.plus(1)), vec![2]),
            (Test::ModSeq(ModSeq::FIRST), vec![1, 2, 3]),
            (Test::Larger(8), vec![]),
            (Test::Smaller(9), vec![1, 2, 3]),
        ] {
            assert_eq!(mailbox.search(test.clone(), Budget::default()).await.0, found, "{test:?}");
        }
        assert_eq!(mailbox.search(Filter::nothing(), Budget::default()).await.0, [0; 0]);
        assert_eq!(mailbox.search(Filter::everything(), Budget::default()).await.0, [1, 2, 3]);
    });
}

/// RFC 8474 §6: EMAILID and THREADID.
#[test]
fn rows_answer_identities() {
    block_on(async {
        let mailbox = Mailbox::new().await;
        for subject in ["one", "two"] {
            let octets = format!("Subject: {subject}\r\n\r\n").into_bytes();
            mailbox.add(octets, FlagSet::new(), DateTime::default(), true).await;
        }
        let uids = [1].into_iter().filter_map(Uid::new).collect();
        mailbox.commit(Op::Copy { from: mailbox.inbox, uids, to: mailbox.inbox }).await;
        let options = ItemsOptions::default();
        let page = mailbox.store.items(mailbox.account, mailbox.inbox, &UidSet::all(), options).await.unwrap();
        let (email, thread) = (page.rows()[0].email, page.rows()[1].thread);
        assert_eq!(mailbox.search(Test::Email(email), Budget::default()).await.0, [1, 3]);
        assert_eq!(mailbox.search(Test::Thread(thread), Budget::default()).await.0, [2]);
    });
}

#[test]
fn a_message_that_goes_in_mid_search_is_passed_over() {
    block_on(async {
        let mailbox = Mailbox::new().await;
        mailbox.store.set_grace(std::time::Duration::ZERO);
        for _ in 0..2 {
            mailbox.add(b"A: b\r\n\r\nsome words".repeat(10), FlagSet::new(), DateTime::default(), true).await;
        }
        let search = Search::new(Arc::new(Filter::from(Test::body("words"))), NOW);
        let small = budget(10, 1, 1, 0);
        let (found, cursor) = mailbox.step(&search, &UidSet::all(), None, small).await;
        assert!(found.is_empty());
        let uids = [1].into_iter().filter_map(Uid::new).collect();
        mailbox.commit(Op::Remove { folder: mailbox.inbox, uids, only_deleted: false }).await;
        let (found, cursor) = mailbox.step(&search, &UidSet::all(), cursor, Budget::default()).await;
        assert!(cursor.is_none());
        assert_eq!(found, [2]);
    });
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    block_on(async {
        let mailbox = Mailbox::new().await;
        let search = Search::new(Filter::everything(), NOW);
        let place = (mailbox.account, FolderId::new(999).unwrap());
        let step = search_step(&mailbox.store, place, &search, &UidSet::all(), None, Budget::default(), None).await;
        assert!(matches!(step, Err(ReadError::NotFound)));
    });
}
