//! One store, many at once: sessions, watchers, a second opening of the same folder as another process would have it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use futures_core::Stream;
use mailstore_embedded::{NewUser, Store};
use mailstore_trait::auth::{Authenticator, Login, Progress};
use mailstore_trait::batch::{Batch, Content, Op};
use mailstore_trait::change::ChangesOptions;
use mailstore_trait::date::Timestamp;
use mailstore_trait::directory::{Directory, Resolution};
use mailstore_trait::error::{CommitError, DirectoryError};
use mailstore_trait::flags::{FlagChange, FlagSet, SystemFlags};
use mailstore_trait::future::BoxStream;
use mailstore_trait::hints::Hint;
use mailstore_trait::id::QueueId;
use mailstore_trait::password::Argon2Cost;
use mailstore_trait::queue::{LastAttempt, QueueEntry, QueueOp, QueueRecipient, QueueStore, RecipientState};
use mailstore_trait::sasl::{Failure, Mechanism, ScramHash, Secret};
use mailstore_trait::session::Peer;
use mailstore_trait::store::{MailStore, ViewOptions};
use mailstore_trait::testkit::environment::TestEnvironment;

async fn next(watch: &mut BoxStream<'static, Hint>) -> Hint {
    let next = std::future::poll_fn(|context| Stream::poll_next(watch.as_mut(), context));
    tokio::time::timeout(Duration::from_secs(10), next).await.expect("no hint came").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_writers_share_syncs_and_nobody_sees_a_hole() {
    // Every write is counted, that of the index's lease too.
    let mail = mail_with(|config| config.search_index = false).await;
    let reader = tokio::spawn({
        let store = mail.store.clone();
        async move {
            // Follows while they write: no number may turn up behind the cursor.
            let mut cursor = change(2);
            let mut seen = 0;
            while seen < 16 * 25 {
                let page = store.changes(account(ME), ChangesOptions::since(cursor).at_most(7)).await.unwrap();
                for record in &page.records {
                    assert_eq!(record.change.value(), cursor.value() + 1, "a hole");
                    cursor = record.change;
                    seen += 1;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (store, inbox) = (mail.store.clone(), mail.inbox);
            tokio::spawn(async move {
                for _ in 0..25 {
                    deliver(&store, inbox, b"Subject: x\r\n\r\n").await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
    let stats = mail.store.stats();
    assert_eq!(stats.writes, 401);
    assert!(stats.transactions < 300, "{stats:?}");
    let view = mail.store.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
    assert_eq!(view.uids.to_set(), uids(1..=400));
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn one_refused_batch_does_not_hurt_its_neighbours() {
    let mail = mail().await;
    let staged = stage(&mail.store, b"x\r\n").await;
    let batch = |n: u32| {
        let mut ops = vec![add(mail.inbox, Content::Staged(staged.clone()), FlagSet::new())];
        if n.is_multiple_of(3) {
            ops.push(Op::DeleteFolder { folder: mail.inbox });
        }
        Batch::new(batch_id(), account(ME), ops)
    };
    let commits: Vec<_> = (0..30)
        .map(|n| {
            tokio::spawn({
                let (store, batch) = (mail.store.clone(), batch(n));
                async move { store.commit(batch).await }
            })
        })
        .collect();
    for (n, commit) in commits.into_iter().enumerate() {
        match commit.await.unwrap() {
            Ok(_) => assert_ne!(n % 3, 0),
            Err(CommitError::Operation { at: 1, .. }) => assert_eq!(n % 3, 0),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(mail.store.account(account(ME)).await.unwrap().messages, 20);
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn watchers_hear_of_this_process_and_of_others() {
    let mail = mail().await;
    let other = Store::open(mail.folder.path(), mail.clock.configured()).unwrap();
    let mut here = mail.store.hints().watch(account(ME));
    let mut there = other.hints().watch(account(ME));
    for round in 0..5 {
        let (writer, folder) = if round % 2 == 0 { (&mail.store, mail.inbox) } else { (&other, mail.inbox) };
        deliver(writer, folder, b"x\r\n").await;
        deliver(writer, folder, b"x\r\n").await;
        let at = mail.store.account(account(ME)).await.unwrap().at;
        for watch in [&mut here, &mut there] {
            while next(watch).await.upto < at {}
        }
    }
    // What the other process delivered is in the view, also the cached one.
    for store in [&mail.store, &other] {
        let view = store.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
        assert_eq!(view.uids.to_set(), uids(1..=10));
    }
    let remove = Op::Remove { folder: mail.inbox, uids: uids([3, 4, 10]), only_deleted: false };
    commit(&other, ME, vec![remove]).await;
    deliver(&mail.store, mail.inbox, b"x\r\n").await;
    let view = mail.store.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
    assert_eq!(view.uids.to_set(), uids([1, 2, 5, 6, 7, 8, 9, 11]));
    other.close().await;
    assert_sound(&mail.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_openings_write_at_once() {
    let mail = mail().await;
    let other = Store::open(mail.folder.path(), mail.clock.configured()).unwrap();
    let tasks: Vec<_> = [&mail.store, &other, &mail.store, &other]
        .into_iter()
        .map(|store| {
            let (store, inbox) = (store.clone(), mail.inbox);
            tokio::spawn(async move {
                for _ in 0..20 {
                    let uid = deliver(&store, inbox, b"x\r\n").await.uid;
                    let change = FlagChange::Add(SystemFlags::SEEN.into());
                    let op = Op::SetFlags {
                        folder: inbox,
                        uids: [uid].into_iter().collect(),
                        change,
                        unchanged_since: None,
                    };
                    commit(&store, ME, vec![op]).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let view = other.view(account(ME), mail.inbox, ViewOptions::default()).await.unwrap();
    assert_eq!(view.uids.to_set(), uids(1..=80));
    assert_eq!((view.folder.counts.unseen, view.first_unseen), (0, None));
    assert_sound(&other).await;
    other.close().await;
}

fn entry(n: u8, priority: i8, due: Timestamp) -> QueueEntry {
    QueueEntry {
        id: QueueId([n; 16]),
        return_path: n.is_multiple_of(2).then(|| "me@here".to_owned()),
        recipients: vec![QueueRecipient {
            last: Some(LastAttempt { at: due, reply: "451 later".into(), remote_mta: Some("mx".into()) }),
            ..QueueRecipient::new("you@there", vec!["NOTIFY=NEVER".into()], RecipientState::Relay)
        }],
        size: 0,
        mail_parameters: vec!["BODY=8BITMIME".into()],
        queued: due,
        due,
        attempts: 3,
        delay_reported: Some(due),
        priority,
    }
}

#[tokio::test]
async fn the_queue_leases_by_priority_and_refuses_old_leases() {
    let mail = mail().await;
    let staged = stage(&mail.store, b"Subject: out\r\n\r\n").await;
    let now = mail.clock.now();
    let append =
        |entry: QueueEntry| QueueOp::Append { entry, trace: "Received: x\r\n".into(), content: staged.clone() };
    let queue = |ops| {
        let batch = Batch { queue: ops, ..Batch::empty(batch_id()) };
        mail.store.commit(batch)
    };
    let minute = Duration::from_secs(60);
    let entries =
        [entry(1, 0, now), entry(2, 5, now.plus(minute)), entry(3, 5, now), entry(4, 0, Timestamp(now.0 - 5))];
    let done = queue(entries.iter().cloned().map(append).collect()).await.unwrap();
    assert_eq!(done.queued, entries.iter().map(|entry| entry.id).collect::<Vec<_>>());
    let again = queue(vec![append(entries[0].clone())]).await;
    assert!(matches!(again, Err(CommitError::Unavailable(_))));
    assert_eq!(mail.store.next_due().await.unwrap(), Some(entries[3].due));
    let leased = mail.store.lease(now, 2, minute).await.unwrap();
    assert_eq!(leased.iter().map(|leased| leased.entry.id.0[0]).collect::<Vec<_>>(), [3, 4]);
    let size = "Received: x\r\nSubject: out\r\n\r\n".len() as u64;
    assert_eq!(leased[0].entry, QueueEntry { size, ..entries[2].clone() });
    let leased_too = mail.store.lease(now, 9, minute).await.unwrap();
    assert_eq!(leased_too.iter().map(|leased| leased.entry.id.0[0]).collect::<Vec<_>>(), [1]);
    assert_eq!(mail.store.next_due().await.unwrap(), Some(now.plus(minute)));
    let text = QueueStore::read(&mail.store, QueueId([4; 16]), 10, 8).await.unwrap();
    assert_eq!(&text[..], b"x\r\n");

    let later = QueueEntry { due: now.plus(minute * 5), attempts: 4, ..leased[0].entry.clone() };
    queue(vec![QueueOp::Update { lease: leased[0].lease, entry: later.clone() }]).await.unwrap();
    let stale = queue(vec![QueueOp::Remove { lease: leased[0].lease }]).await;
    assert!(matches!(stale, Err(CommitError::Fenced)));
    queue(vec![QueueOp::Remove { lease: leased[1].lease }]).await.unwrap();
    assert_eq!(mail.store.list(None, 10).await.unwrap().len(), 3);
    assert_eq!(mail.store.list(Some(QueueId([2; 16])), 10).await.unwrap(), [later]);
    // A lease that ran out: the entry is somebody else's, and the old lease is worth nothing.
    let taken = mail.store.lease(now.plus(minute), 9, minute).await.unwrap();
    assert_eq!(taken.iter().map(|leased| leased.entry.id.0[0]).collect::<Vec<_>>(), [2, 1]);
    let stale = queue(vec![QueueOp::Remove { lease: leased_too[0].lease }]).await;
    assert!(matches!(stale, Err(CommitError::Fenced)));
    assert_eq!(mail.store.flush(Some(&[QueueId([3; 16])]), now).await.unwrap(), 1);
    assert_eq!(mail.store.flush(None, now).await.unwrap(), 1);
    assert!(mail.store.discard(QueueId([3; 16])).await.unwrap());
    assert!(!mail.store.discard(QueueId([3; 16])).await.unwrap());
    for leased in taken {
        queue(vec![QueueOp::Remove { lease: leased.lease }]).await.unwrap();
    }
    assert_eq!(mail.store.next_due().await.unwrap(), None);
    assert_sound(&mail.store).await;
}

#[tokio::test]
async fn people_are_added_found_and_removed_also_from_elsewhere() {
    let mail = mail_with(|config| {
        config.domains = vec!["Example.org".into()];
        config.argon2 = Argon2Cost { memory_kib: 64, passes: 1, lanes: 1 };
        config.scram_iterations = 4096;
    })
    .await;
    let other = Store::open(mail.folder.path(), mail.clock.configured()).unwrap();
    let users = mail.store.users();
    assert!(matches!(users.resolve("postmaster").await.unwrap(), Resolution::NoSuchUser));
    let records = users.records(Secret::from("pencil")).await.unwrap();
    let mut ann = NewUser::new("Ann@Example.org", records.clone());
    ann.aliases = vec!["sales@example.org".into(), "ann@other.example".into()];
    ann.display_name = Some("Ann".into());
    // Account 1 is in use already; its number is not given to anybody.
    let ann = other.users().add(ann).await.unwrap();
    assert_eq!((ann.account, ann.aliases.len()), (account(2), 2));
    let bob = users.add(NewUser::new("bob@example.org", Vec::new())).await.unwrap();
    users.add_alias("BOB@example.org", "Sales@example.org").await.unwrap();
    for (address, refused) in [
        ("ann@example.org", DirectoryError::Exists),
        ("ANN@other.example", DirectoryError::Exists),
        ("nobody", DirectoryError::IllegalAddress),
        ("a b@example.org", DirectoryError::IllegalAddress),
        ("@example.org", DirectoryError::IllegalAddress),
    ] {
        let error = users.add(NewUser::new(address, Vec::new())).await.unwrap_err();
        assert_eq!(error.to_string(), refused.to_string(), "{address}");
    }
    let accounts = |resolution| match resolution {
        Resolution::Mailboxes(mailboxes) => mailboxes.iter().map(|mailbox| mailbox.account).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(accounts(users.resolve("ann@EXAMPLE.org").await.unwrap()), [ann.account]);
    assert_eq!(accounts(other.users().resolve("sales@example.org").await.unwrap()), [ann.account, bob.account]);
    assert_eq!(accounts(users.resolve("Postmaster").await.unwrap()), [ann.account]);
    assert_eq!(accounts(users.resolve("postmaster@example.org").await.unwrap()), [ann.account]);
    assert!(matches!(users.resolve("eve@example.org").await.unwrap(), Resolution::NoSuchUser));
    assert!(matches!(users.resolve("eve@other.example").await.unwrap(), Resolution::NoSuchUser));
    assert!(matches!(users.resolve("eve@elsewhere.example").await.unwrap(), Resolution::NotLocal));
    assert_eq!(users.list().await.unwrap(), [ann.clone(), Directory::principal(users, bob.account).await.unwrap()]);

    // The mailbox goes with its owner, and who comes after finds another.
    mail.store.provision(ann.account, &[]).await.unwrap();
    let folder = inbox(&mail.store, 2).await;
    let content = Content::Staged(stage(&mail.store, b"x\r\n").await);
    commit(&mail.store, 2, vec![add(folder.id, content, FlagSet::new())]).await;
    assert_eq!(other.users().remove("ann@example.org").await.unwrap(), ann.account);
    assert!(mail.store.account(ann.account).await.is_err());
    assert!(mail.store.provision(ann.account, &[]).await.is_err());
    assert!(matches!(users.remove("ann@example.org").await, Err(DirectoryError::NotFound)));
    let again = users.add(NewUser::new("ann@example.org", records)).await.unwrap();
    assert_eq!(again.account, account(4));
    mail.store.provision(again.account, &[]).await.unwrap();
    assert!(inbox(&mail.store, 4).await.uid_validity >= folder.uid_validity);
    mail.clock.advance(10_000);
    mail.store.tidy().await.unwrap();
    mail.store.tidy().await.unwrap();
    assert_sound(&mail.store).await;
    other.close().await;
}

#[tokio::test]
async fn passwords_open_and_unknown_users_look_like_known_ones() {
    let mail = mail_with(|config| {
        config.argon2 = Argon2Cost { memory_kib: 64, passes: 1, lanes: 1 };
        config.scram_iterations = 4096;
    })
    .await;
    let users = mail.store.users();
    let records = users.records(Secret::from("pencil")).await.unwrap();
    users.add(NewUser::new("Ann@example.org", records)).await.unwrap();
    let peer = Peer::new("127.0.0.1:1".parse().unwrap());
    let environment = Arc::new(TestEnvironment::new(1));
    let mut login = Login::new(Arc::new(users.clone()), environment, "imap", &peer);
    login.allow_cleartext();
    let mut enter = async |user: &str, password: &str| login.password(user.into(), Secret::from(password)).await;
    assert_eq!(enter("ann@EXAMPLE.org", "pencil").await.unwrap().address, "Ann@example.org");
    for (user, password) in [("ann@example.org", "pen"), ("eve@example.org", "pencil"), ("sales", "x")] {
        assert!(matches!(enter(user, password).await, Err(Failure::Credentials)), "{user}");
    }
    users.set_records("ann@example.org", users.records(Secret::from("crayon")).await.unwrap()).await.unwrap();
    assert!(enter("ann@example.org", "pencil").await.is_err());
    assert!(enter("ann@example.org", "crayon").await.is_ok());

    // The whole of a SCRAM exchange, then the salt of somebody there is none of: the same each time.
    let scram = Mechanism::Scram { hash: ScramHash::Sha256, plus: false };
    assert!(users.mechanisms().contains(&scram));
    let mut salts = Vec::new();
    for user in ["eve@example.org", "EVE@example.org", "eve@example.org", "ann@example.org", "ann@example.org"] {
        let first = format!("n,,n={user},r=fyko+d2lbbFgONRv9qkxdawL");
        let Progress::Challenge(challenge) = login.start(scram, Some(first.as_bytes())).await else { panic!() };
        let challenge = String::from_utf8(challenge.to_vec()).unwrap();
        salts.push(challenge.split(',').skip(1).collect::<Vec<_>>().join(","));
        login.cancel();
    }
    assert!(salts[0] == salts[1] && salts[1] == salts[2] && salts[3] == salts[4] && salts[0] != salts[3], "{salts:?}");
    assert!(salts.iter().all(|salt| salt.len() == salts[0].len()));
}
