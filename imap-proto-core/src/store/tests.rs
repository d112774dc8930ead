//! The fulfiller over the reference store, question by question.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mailstore_trait::batch::{Batch, Committed};
use mailstore_trait::change::{ChangePage, ChangesOptions};
use mailstore_trait::directory::Resolution;
use mailstore_trait::flags::{FlagChange, FlagSet, SystemFlags};
use mailstore_trait::folder::{Folder, FolderList, FolderView, Role};
use mailstore_trait::future::BoxFuture;
use mailstore_trait::hints::ChangeHints;
use mailstore_trait::id::{EmailId, FolderId, Uid};
use mailstore_trait::item::{ItemPage, ItemsOptions, Projection};
use mailstore_trait::leases::Leases;
use mailstore_trait::mime::SkeletonRef;
use mailstore_trait::query::{Filter, Test};
use mailstore_trait::sasl::Secret;
use mailstore_trait::session::{Asking, Question};
use mailstore_trait::store::{AccountState, Caps, Upload, UploadOptions, ViewOptions};
use mailstore_trait::testkit::directory::MemDirectory;
use mailstore_trait::testkit::environment::TestEnvironment;
use mailstore_trait::testkit::memory::MemStore;
use mailstore_trait::uid_set::UidSet;

use super::*;
use crate::request::Login;
use crate::request::*;

/// A store that fails as it is told to, after it did what was asked.
struct Flaky {
    store: MemStore,
    /// So many commits are done and then said to have an unknown outcome.
    unknown: AtomicUsize,
    /// Every read says that the octets are damaged.
    corrupt: Mutex<bool>,
    /// Skeletons are not kept.
    bare: Mutex<bool>,
}

impl MailStore for Flaky {
    fn caps(&self) -> Caps {
        self.store.caps()
    }

    fn provision<'a>(
        &'a self,
        account: AccountId,
        folders: &'a [(Role, &'a str)],
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        self.store.provision(account, folders)
    }

    fn account(&self, account: AccountId) -> BoxFuture<'_, Result<AccountState, ReadError>> {
        self.store.account(account)
    }

    fn folders(&self, account: AccountId) -> BoxFuture<'_, Result<FolderList, ReadError>> {
        self.store.folders(account)
    }

    fn view(
        &self,
        account: AccountId,
        folder: FolderId,
        options: ViewOptions,
    ) -> BoxFuture<'_, Result<FolderView, ReadError>> {
        self.store.view(account, folder, options)
    }

    fn items<'a>(
        &'a self,
        account: AccountId,
        folder: FolderId,
        uids: &'a UidSet,
        mut options: ItemsOptions,
    ) -> BoxFuture<'a, Result<ItemPage, ReadError>> {
        if *self.bare.lock().unwrap() {
            options.projection.remove(Projection::SKELETON);
        }
        self.store.items(account, folder, uids, options)
    }

    fn changes(&self, account: AccountId, options: ChangesOptions) -> BoxFuture<'_, Result<ChangePage, ReadError>> {
        self.store.changes(account, options)
    }

    fn read(
        &self,
        account: AccountId,
        email: EmailId,
        offset: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        if *self.corrupt.lock().unwrap() {
            return Box::pin(async move { Err(ReadError::Corrupt { what: email.to_string() }) });
        }
        self.store.read(account, email, offset, max)
    }

    fn upload(&self, options: UploadOptions) -> BoxFuture<'_, Result<Box<dyn Upload>, UploadError>> {
        self.store.upload(options)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            let committed = self.store.commit(batch).await?;
            let fails = self.unknown.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if fails.is_ok() { Err(CommitError::Unknown("the line broke".into())) } else { Ok(committed) }
        })
    }

    fn forget_removals(&self, account: AccountId, older_than: Duration) -> BoxFuture<'_, Result<(), CommitError>> {
        self.store.forget_removals(account, older_than)
    }

    fn hints(&self) -> &dyn ChangeHints {
        self.store.hints()
    }

    fn leases(&self) -> &dyn Leases {
        self.store.leases()
    }
}

struct Rig {
    fulfiller: Fulfiller,
    store: Arc<Flaky>,
    asking: Asking,
    account: AccountId,
    inbox: FolderId,
    faults: Arc<Mutex<Vec<String>>>,
}

/// Nothing here ever waits for a wake-up: the reference store answers at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the reference store waits for nothing"),
    }
}

macro_rules! ask {
    ($rig:expr, $name:ident, $query:expr) => {
        match $rig.ask($query) {
            Answer::$name(answer) => answer,
            other => panic!("{other:?} is no answer to {}", stringify!($name)),
        }
    };
}

impl Rig {
    fn new() -> Rig {
        let directory = MemDirectory::new();
        let account = directory.add("ann@example.org", "pencil").unwrap();
        assert!(matches!(now(mailstore_trait::directory::Directory::resolve(&directory, "ann@example.org")),
            Ok(Resolution::Mailboxes(principals)) if principals.len() == 1));
        let store = MemStore::new();
        now(store.provision(account, &[(Role::Sent, "Sent")])).unwrap();
        let inbox = now(store.folders(account)).unwrap().inbox().unwrap().id;
        let store = Arc::new(Flaky {
            store,
            unknown: AtomicUsize::new(0),
            corrupt: Mutex::new(false),
            bare: Mutex::new(false),
        });
        let faults = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&faults);
        let fulfiller = Fulfiller::new(
            Arc::clone(&store) as Arc<dyn MailStore>,
            Arc::new(directory),
            Arc::new(TestEnvironment::new(1)),
            &Peer::new("127.0.0.1:1".parse().unwrap()),
        )
        .with_faults(Box::new(move |error| heard.lock().unwrap().push(error.to_string())));
        Rig { fulfiller, store, asking: Asking::default(), account, inbox, faults }
    }

    fn ask<Q: Question<Request = Request, Answered = Answered>>(&mut self, query: Q) -> Answer {
        let request = self.asking.ask(query);
        let answered = now(self.fulfiller.answer(request));
        assert!(self.asking.accept(answered.id));
        answered.answer
    }

    fn open(&mut self, size: u64) -> Result<(), Refusal> {
        let (account, folder) = (self.account, self.inbox);
        ask!(self, AppendOpen, AppendOpen { account, folder, size: Some(size), replaces: false })
    }

    fn chunk(&mut self, octets: &'static str) -> Result<(), Refusal> {
        ask!(self, AppendChunk, AppendChunk { octets: octets.into() })
    }

    fn append_commit(&mut self, messages: usize) -> Result<Appended, Refusal> {
        let (account, folder) = (self.account, self.inbox);
        let messages = vec![AppendMessage { flags: FlagSet::new(), internal_date: None }; messages];
        ask!(self, AppendCommit, AppendCommit { account, folder, messages, replaces: None })
    }

    fn append(&mut self, octets: &'static str) -> u32 {
        self.open(octets.len() as u64).unwrap();
        self.chunk(octets).unwrap();
        self.append_commit(1).unwrap().uids.iter().next().unwrap().value()
    }

    fn items(&mut self, projection: Projection) -> Result<ItemPage, Refusal> {
        let (account, folder) = (self.account, self.inbox);
        ask!(self, Items, Items { account, folder, uids: UidSet::all(), options: ItemsOptions::new(projection) })
    }

    fn uids(&mut self) -> Vec<u32> {
        self.items(Projection::empty()).unwrap().rows().iter().map(|row| row.uid.value()).collect()
    }

    fn set_flags(&mut self, values: &[u32], system: SystemFlags) -> Result<FlagsSet, Refusal> {
        let (account, folder) = (self.account, self.inbox);
        let change = FlagChange::Add(system.into());
        ask!(self, SetFlags, SetFlags { account, folder, uids: uids(values), change, unchanged_since: None })
    }

    fn folders(&mut self) -> Arc<FolderList> {
        let account = self.account;
        ask!(self, Folders, Folders { account }).unwrap()
    }

    fn create(&mut self, parent: Option<FolderId>, path: &[&str]) -> Result<Folder, Refusal> {
        let (account, path) = (self.account, owned(path));
        ask!(self, CreateFolder, CreateFolder { account, parent, path, role: None })
    }
}

fn uids(values: &[u32]) -> UidSet {
    values.iter().copied().filter_map(Uid::new).collect()
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|&leaf| leaf.to_owned()).collect()
}

fn login(user: &str, password: &str) -> Login {
    Login { user: user.to_owned(), password: Secret::from(password) }
}

fn sasl(mechanism: Option<&str>, octets: Option<&str>) -> Sasl {
    let start = mechanism.map(|mechanism| SaslStart { mechanism: mechanism.to_owned(), tls: None });
    Sasl { start, octets: octets.map(Secret::from) }
}

#[test]
fn logins_say_who_and_why_not() {
    let mut rig = Rig::new();
    let ann = ask!(rig, Login, login("ann@example.org", "pencil")).unwrap();
    assert_eq!((ann.account, ann.user.as_str()), (rig.account, "ann@example.org"));
    assert_eq!((ann.max_message, ann.max_ops), (MemStore::CAPS.max_message, MemStore::CAPS.max_ops));
    assert_eq!(ask!(rig, Login, login("ann@example.org", "pen")), Err(LoginFailure::Credentials));
    assert_eq!(ask!(rig, Login, login("bob@example.org", "pencil")), Err(LoginFailure::Credentials));
}

#[test]
fn sasl_goes_step_by_step() {
    let mut rig = Rig::new();
    let step = ask!(rig, Sasl, sasl(Some("PLAIN"), Some("\0ann@example.org\0pencil")));
    assert!(matches!(step, SaslStep::Authenticated(ann) if ann.account == rig.account));
    let step = ask!(rig, Sasl, sasl(Some("PLAIN"), None));
    assert!(matches!(step, SaslStep::Challenge(challenge) if challenge.is_empty()));
    let step = ask!(rig, Sasl, sasl(None, Some("\0ann@example.org\0wrong")));
    assert!(matches!(step, SaslStep::Failed(LoginFailure::Credentials)));
    let step = ask!(rig, Sasl, sasl(Some("X-NONE"), None));
    assert!(matches!(step, SaslStep::Failed(LoginFailure::Mechanism)));
    // A response to nothing.
    assert!(matches!(ask!(rig, Sasl, sasl(None, None)), SaslStep::Failed(LoginFailure::Credentials)));
}

#[test]
fn messages_of_one_append_appear_together() {
    let mut rig = Rig::new();
    rig.open(10).unwrap();
    rig.chunk("A: b\r\n").unwrap();
    rig.chunk("\r\nhi").unwrap();
    rig.open(6).unwrap();
    rig.chunk("C: d\r\n").unwrap();
    assert!(rig.uids().is_empty());
    let appended = rig.append_commit(2).unwrap();
    assert_eq!(appended.uids, uids(&[1, 2]));
    let page = rig.items(Projection::DATES | Projection::CONTENT).unwrap();
    assert_eq!(page.content(&page.rows()[0]).unwrap(), "A: b\r\n\r\nhi");
    assert_eq!(page.rows()[0].internal_date.to_string(), "Sun, 22 Nov 2026 12:00:00 +0000");
    assert_eq!(appended.upto, now(rig.store.account(rig.account)).unwrap().at);
}

#[test]
fn an_append_that_is_abandoned_or_broken_leaves_nothing() {
    let mut rig = Rig::new();
    rig.open(3).unwrap();
    rig.chunk("abc").unwrap();
    ask!(rig, AppendAbandon, AppendAbandon);
    assert_eq!(rig.append_commit(1), Err(Refusal::Unavailable));
    assert_eq!(rig.chunk("abc"), Err(Refusal::Unavailable));
    // Two were announced, one was sent.
    rig.open(3).unwrap();
    rig.chunk("abc").unwrap();
    assert_eq!(rig.append_commit(2), Err(Refusal::Unavailable));
    assert!(rig.uids().is_empty());
}

#[test]
fn quota_and_size_refuse_before_the_octets_come() {
    let mut rig = Rig::new();
    rig.store.store.set_quota(rig.account, Some(20));
    assert_eq!(rig.open(21), Err(Refusal::OverQuota));
    rig.open(15).unwrap();
    // Both messages of one command count.
    assert_eq!(rig.open(6), Err(Refusal::OverQuota));
    rig.store.store.set_quota(rig.account, None);
    assert_eq!(rig.open(u64::MAX), Err(Refusal::TooLarge));
    // The commit has the last word.
    rig.open(3).unwrap();
    rig.chunk("abc").unwrap();
    rig.store.store.set_quota(rig.account, Some(2));
    assert_eq!(rig.append_commit(1), Err(Refusal::OverQuota));
    assert!(rig.faults.lock().unwrap().is_empty(), "what a client asks too much is no fault of the store");
}

// An answer that got lost must not make a second copy: the batch is repeated under its id.
#[test]
fn an_unknown_outcome_is_asked_for_again() {
    let mut rig = Rig::new();
    rig.store.unknown.store(3, Ordering::Relaxed);
    assert_eq!(rig.append("A: b\r\n\r\n"), 1);
    assert_eq!(rig.uids(), [1]);
    rig.store.unknown.store(4, Ordering::Relaxed);
    assert!(matches!(rig.set_flags(&[1], SystemFlags::SEEN), Err(Refusal::Unknown)));
    assert_eq!(*rig.faults.lock().unwrap(), ["the outcome is not known"]);
}

#[test]
fn flags_copies_and_removals() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.append("A: b\r\n\r\n");
    }
    let set = rig.set_flags(&[2, 3, 9], SystemFlags::DELETED).unwrap();
    assert_eq!(set.page.rows().len(), 2);
    assert!(set.conflicts.is_empty());
    let (account, from) = (rig.account, rig.inbox);
    let sent = rig.folders().by_path(&["Sent"]).unwrap().id;
    let copied = ask!(rig, Copy, Copy { account, to_account: account, from, uids: uids(&[1, 2]), to: sent }).unwrap();
    assert_eq!((copied.from, copied.to), (uids(&[1, 2]), uids(&[1, 2])));
    let moved = ask!(rig, Move, Move { account, to_account: account, from, uids: uids(&[1]), to: sent }).unwrap();
    assert_eq!((moved.from, moved.to), (uids(&[1]), uids(&[3])));
    let expunged = ask!(rig, Expunge, Expunge { account, folder: from, uids: uids(&[1, 3]) }).unwrap();
    assert_eq!(expunged.uids, uids(&[3]));
    assert_eq!(rig.uids(), [2]);
    let nowhere = FolderId::new(9999).unwrap();
    let refused = ask!(rig, Copy, Copy { account, to_account: account, from, uids: uids(&[2]), to: nowhere });
    assert_eq!(refused, Err(Refusal::NotFound));
}

#[test]
fn folders_come_with_their_levels() {
    let mut rig = Rig::new();
    let account = rig.account;
    let leaf = rig.create(None, &["a", "b", "c"]).unwrap();
    let folders = rig.folders();
    assert_eq!(folders.path(folders.by_id(leaf.id).unwrap()), ["a", "b", "c"]);
    // The session saw the folders before somebody else made `a`.
    assert_eq!(rig.create(None, &["a", "b", "d"]).unwrap().name, "d");
    assert_eq!(rig.create(None, &["a"]), Err(Refusal::Exists));
    let renamed =
        ask!(rig, RenameFolder, RenameFolder { account, folder: leaf.id, parent: None, path: owned(&["x", "y"]) });
    assert_eq!(renamed.unwrap().name, "y");
    assert_eq!(rig.folders().by_path(&["x", "y"]).unwrap().id, leaf.id);
    let parent = rig.folders().by_path(&["a"]).unwrap().id;
    let cycle = RenameFolder { account, folder: parent, parent: Some(parent), path: owned(&["z"]) };
    assert_eq!(ask!(rig, RenameFolder, cycle), Err(Refusal::Cycle));
    ask!(rig, DeleteFolder, DeleteFolder { account, folder: leaf.id }).unwrap();
    let inbox = rig.inbox;
    assert_eq!(ask!(rig, DeleteFolder, DeleteFolder { account, folder: inbox }), Err(Refusal::Inbox));
    ask!(rig, Subscribe, Subscribe { account, path: owned(&["gone"]), subscribed: true }).unwrap();
    assert_eq!(rig.folders().subscriptions, [["gone"]]);
}

/// RFC 9051 §6.3.6: the messages go, INBOX and its children stay.
#[test]
fn renaming_the_inbox_moves_its_messages() {
    let mut rig = Rig::new();
    let (account, inbox) = (rig.account, rig.inbox);
    rig.append("A: b\r\n\r\n");
    rig.append("A: c\r\n\r\n");
    let query = RenameInbox { account, inbox, parent: None, path: owned(&["old", "mail"]) };
    let folder = ask!(rig, RenameInbox, query).unwrap();
    assert_eq!((folder.name.as_str(), folder.counts.exists), ("mail", 2));
    assert!(rig.uids().is_empty());
    let query = RenameInbox { account, inbox, parent: None, path: owned(&["old"]) };
    assert_eq!(ask!(rig, RenameInbox, query), Err(Refusal::Exists));
}

#[test]
fn rows_always_have_their_skeleton() {
    let mut rig = Rig::new();
    let octets = "Subject: one\r\nContent-Type: text/html\r\n\r\n<p>";
    rig.append(octets);
    let all = Projection::SKELETON | Projection::CONTENT | Projection::DATES;
    for (projection, bare) in [(Projection::SKELETON, false), (Projection::SKELETON, true), (all, false), (all, true)] {
        *rig.store.bare.lock().unwrap() = bare;
        let page = rig.items(projection).unwrap();
        let row = &page.rows()[0];
        let skeleton = SkeletonRef::from_bytes(page.skeleton(row).unwrap()).unwrap();
        assert_eq!(skeleton.root().envelope().unwrap().subject, Some(&b"one"[..]));
        assert!(skeleton.root().content_type().is("text", "html"));
        assert_eq!(page.content(row).is_some(), projection.contains(Projection::CONTENT));
        assert_eq!(row.size, octets.len() as u64);
    }
    let read = rig.items(Projection::empty()).unwrap().rows()[0].email;
    let account = rig.account;
    let body = ask!(rig, ReadBody, ReadBody { account, email: read, offset: 9, max: 3 });
    assert_eq!(body.unwrap(), "one");
}

#[test]
fn one_damaged_message_does_not_hide_the_others() {
    let mut rig = Rig::new();
    rig.append("Subject: one\r\n\r\n");
    let email = rig.items(Projection::empty()).unwrap().rows()[0].email;
    *rig.store.corrupt.lock().unwrap() = true;
    *rig.store.bare.lock().unwrap() = true;
    let page = rig.items(Projection::SKELETON).unwrap();
    assert!(SkeletonRef::from_bytes(page.skeleton(&page.rows()[0]).unwrap()).is_ok());
    let account = rig.account;
    let refused = ask!(rig, ReadBody, ReadBody { account, email, offset: 0, max: 10 });
    assert_eq!(refused, Err(Refusal::Corrupt));
    assert!(rig.faults.lock().unwrap().iter().any(|fault| fault.contains(&email.to_string())));
}

#[test]
fn a_search_goes_on_where_it_stopped() {
    for bare in [false, true] {
        search_in_steps(bare);
    }
}

fn search_in_steps(bare: bool) {
    let mut rig = Rig::new();
    *rig.store.bare.lock().unwrap() = bare;
    for _ in 0..3 {
        rig.append("Subject: one\r\n\r\nsome words in a body that takes a few steps to read\r\n");
    }
    rig.append("Subject: two\r\n\r\nnothing\r\n");
    rig.fulfiller.limits.search.octets = 16;
    rig.fulfiller.limits.search.piece = 8;
    rig.fulfiller.limits.search.inline = 0;
    let (account, folder) = (rig.account, rig.inbox);
    let filter = Arc::new(Filter::from(Test::body("to READ")));
    let (mut rest, mut found, mut steps) = (uids(&[1, 2, 3, 4]), Vec::new(), 0);
    loop {
        let query = Search { account, folder, filter: Arc::clone(&filter), uids: rest.clone() };
        let step = ask!(rig, Search, query).unwrap();
        found.extend(step.uids.iter().map(Uid::value));
        steps += 1;
        assert!(steps < 100, "no progress");
        let Some(next) = step.next else { break };
        let mut tail = UidSet::new();
        tail.insert_range(next..=Uid::MAX);
        rest = rest.intersection(&tail);
    }
    assert_eq!(found, [1, 2, 3]);
    // Three bodies of 53 octets, 16 octets a step; twice as much where the structure has to be found first.
    assert!(steps > if bare { 20 } else { 9 }, "{steps}");
    assert!(rig.fulfiller.search.is_none());
}

#[test]
fn views_and_changes_pass_through() {
    let mut rig = Rig::new();
    let (account, folder) = (rig.account, rig.inbox);
    rig.append("A: b\r\n\r\n");
    let view = ask!(rig, View, View { account, folder, claim_recent: true }).unwrap();
    assert_eq!((view.uids.len(), view.recent_from), (1, Uid::new(1)));
    rig.append("A: b\r\n\r\n");
    let options = ChangesOptions::since(view.at).in_folder(folder);
    let page = ask!(rig, Changes, Changes { account, options }).unwrap();
    assert_eq!(page.records.iter().filter(|record| record.item.is_some()).count(), 1);
    let nowhere = FolderId::new(9999).unwrap();
    let refused = ask!(rig, View, View { account, folder: nowhere, claim_recent: false });
    assert!(matches!(refused, Err(Refusal::NotFound)));
    rig.store.store.jump();
    let refused = ask!(rig, Changes, Changes { account, options });
    assert!(matches!(refused, Err(Refusal::Gap)));
}
