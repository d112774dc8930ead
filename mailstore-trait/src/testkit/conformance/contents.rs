//! Contents: octets come back as they went in, and nothing is left of what was not committed.

use std::time::Duration;

use bytes::Bytes;

use super::fixture::{Fixture, LIMIT, account, message, place, uids, wait};
use super::{Rig, Verdict};
use crate::batch::{Batch, Content, Op};
use crate::error::{ReadError, UploadError};
use crate::flags::FlagSet;
use crate::item::{ItemsOptions, Projection};
use crate::mime::{Ingest, Limits};
use crate::store::UploadOptions;
use crate::testkit::random::Random;

/// Small contents come back octet for octet: by `read`, by `items`, whatever is in them.
///
/// The bug: contents as text. NUL ended them, line ends were "corrected", 8-bit octets became question marks.
pub fn small_contents_come_back(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let contents: Vec<Vec<u8>> = vec![
        message("plain").into_bytes(),
        (0..=255).collect(),
        b"bare\nline feeds\rand returns\r\n.\r\n".to_vec(),
        b"x".to_vec(),
        Vec::new(),
        vec![0; 5000],
        vec![b'b'; 16 * 1024],
    ];
    for content in &contents {
        let content = Content::Staged(store.upload(content.clone()));
        store.op(store.adding_content(fixture.inbox, content, FlagSet::new()));
    }
    let rows = store.rows(fixture.inbox);
    let options = ItemsOptions::new(Projection::CONTENT | Projection::DATES);
    let page = store.page(fixture.inbox, &uids(1..=20), options);
    assert_eq!(page.rows().len(), contents.len());
    for ((content, (row, _)), inline) in contents.iter().zip(&rows).zip(page.rows()) {
        assert_eq!(row.size, content.len() as u64);
        assert_eq!(row.internal_date, super::fixture::seconds(0).at_offset(60), "INTERNALDATE keeps its zone");
        assert!(store.content(row.email, 1000).expect("it is there") == *content, "of {} octets", content.len());
        let inline = page.content(inline).unwrap_or_default();
        assert!(inline == content[..], "inline, of {} octets", content.len());
    }
    let beyond = store.store.read(fixture.account, rows[0].0.email, 1 << 40, 10);
    assert!(store.wait(beyond).expect("reading behind the end is no error").is_empty());
    let other = account(2);
    wait(rig, store.store.provision(other, &[])).expect("a second account");
    let foreign = store.store.read(other, rows[0].0.email, 0, 10);
    assert!(matches!(store.wait(foreign), Err(ReadError::NotFound)), "another account has no such message");
    Verdict::Proved
}

/// Large contents go in by pieces of any size and come back from any offset.
///
/// The bug: a read across the boundary of two stored pieces returned the second from its beginning.
pub fn large_contents_come_back_in_pieces(rig: &dyn Rig) -> Verdict {
    const SIZE: usize = 5 * 1024 * 1024 + 17;
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let mut octets = vec![0; SIZE];
    Random::new(5).fill(&mut octets);
    let octets = Bytes::from(octets);
    let mut random = Random::new(6);
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < SIZE {
        let end = (at + 1 + random.below(200_000)).min(SIZE);
        pieces.push(octets.slice(at..end));
        at = end;
    }
    let staged = store.try_upload(pieces, UploadOptions::new(LIMIT).expecting(SIZE as u64)).expect("within its limit");
    assert_eq!(staged.size, SIZE as u64);
    let outcome = store.op(store.adding_content(fixture.inbox, Content::Staged(staged), FlagSet::new()));
    let email = place(&outcome).email;
    assert!(store.content(email, 64 * 1024).expect("it is there") == octets, "read from the beginning");
    for _ in 0..40 {
        let offset = random.below(SIZE);
        let max = 1 + random.below(100_000);
        let piece = store.wait(store.store.read(fixture.account, email, offset as u64, max)).expect("it is there");
        assert!(!piece.is_empty() && piece.len() <= max, "a piece is not empty, and not longer than asked for");
        assert!(piece == octets[offset..offset + piece.len()], "read from {offset}");
    }
    let page = store.page(fixture.inbox, &uids([1]), ItemsOptions::new(Projection::CONTENT));
    assert!(page.content(&page.rows()[0]).is_none(), "a page does not bring contents over its limit");
    Verdict::Proved
}

/// A prefix is part of its own item's message and of no other; the octets behind it are shared.
///
/// The bug: Delivered-To of one recipient in another's copy, which told everybody who had been in Bcc.
pub fn prefixes_belong_to_one_item(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let body = message("to several");
    let staged = store.upload(body.clone());
    let header = |to: &str| Bytes::from(format!("Delivered-To: {to}@example.org\r\n"));
    let ops = ["a", "b"]
        .map(|to| store.adding_content(fixture.inbox, Content::Prefixed(header(to), staged.clone()), FlagSet::new()));
    store.ops(ops.to_vec());
    let plain = store.op(store.adding_content(fixture.inbox, Content::Staged(staged.clone()), FlagSet::new()));
    drop(staged);
    let rows = store.rows(fixture.inbox);
    for (to, (row, _)) in ["a", "b"].iter().zip(&rows) {
        let expected = format!("Delivered-To: {to}@example.org\r\n{body}");
        assert_eq!(row.size, expected.len() as u64);
        assert_eq!(store.content(row.email, 7).expect("it is there"), expected.as_bytes(), "read in pieces of 7");
    }
    assert_ne!(rows[0].0.email, rows[1].0.email, "different octets are different messages");
    assert_eq!(store.content(place(&plain).email, 1 << 20).expect("it is there"), body.as_bytes());
    Verdict::Proved
}

/// The skeleton and the summary beside a message are those of its octets, prefix included, and come along with copies.
///
/// The bug: the skeleton was made before a trace header was put in front; every `BODY[1]` began some octets early.
pub fn skeletons_are_those_of_the_octets(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let body = "Subject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n";
    let staged = store.upload(body);
    let prefix = Bytes::from_static(b"Return-Path: <a@example.org>\r\n");
    let prefixed = store.adding_content(fixture.inbox, Content::Prefixed(prefix, staged.clone()), FlagSet::new());
    let plain = store.adding_content(fixture.inbox, Content::Staged(staged), FlagSet::new());
    store.ops(vec![prefixed, plain]);
    store.op(Op::Copy { from: fixture.inbox, uids: uids(1..=2), to: fixture.inbox });
    let page = store.page(fixture.inbox, &uids(1..=4), ItemsOptions::new(Projection::SKELETON | Projection::SUMMARY));
    assert_eq!(page.rows().len(), 4);
    let mut kept = false;
    for row in page.rows() {
        let mut ingest = Ingest::new(Limits::default());
        ingest.push(&store.content(row.email, 1 << 20).expect("it is there"));
        let right = ingest.finish();
        if let Some(skeleton) = page.skeleton(row) {
            assert!(skeleton == right.skeleton.into_bytes(), "the skeleton of message {}", row.uid);
            kept = true;
        }
        if let Some(summary) = page.summary(row) {
            assert!(summary == right.summary.into_bytes(), "the summary of message {}", row.uid);
        }
    }
    if kept { Verdict::Proved } else { Verdict::Unproved("the store keeps no skeletons") }
}

/// Uploads end at their limit: at once when it is known, else at the octet that is too many.
///
/// The bug: the declared size was believed. A client declared 10 octets and sent until the disk was full.
pub fn uploads_are_bounded(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let at_once = store.wait(store.store.upload(UploadOptions::new(100).expecting(101)));
    assert!(matches!(at_once, Err(UploadError::TooLarge { .. })), "refused before the first octet");
    let exact =
        store.try_upload(vec![Bytes::from(vec![b'x'; 60]), Bytes::from(vec![b'x'; 40])], UploadOptions::new(100));
    assert_eq!(exact.expect("as many as the limit").size, 100);
    for expected in [None, Some(10)] {
        let options = UploadOptions { size: expected, ..UploadOptions::new(100) };
        let pieces = vec![Bytes::from(vec![b'x'; 60]), Bytes::from(vec![b'x'; 41])];
        match store.try_upload(pieces, options) {
            Err(UploadError::TooLarge { limit }) => assert_eq!(limit, 100),
            other => panic!("one octet too many: {other:?}"),
        }
    }
    let wrong = store.try_upload(vec![Bytes::from_static(b"four")], UploadOptions::new(100).expecting(50));
    assert_eq!(wrong.expect("the expected size is a hint").size, 4);
    Verdict::Proved
}

/// What is uploaded and not committed is nobody's: no message, no octets counted, no change.
///
/// The bug: a connection that broke in DATA left a message in the mailbox, cut where it broke.
pub fn dropped_uploads_leave_nothing(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let before = (store.state(), store.folders());
    store.wait(async {
        let mut upload = store.store.upload(UploadOptions::new(LIMIT)).await.expect("an upload begins");
        upload.write(Bytes::from(vec![b'x'; 300_000])).await.expect("octets are taken");
        drop(upload);
    });
    drop(store.upload(vec![b'y'; 300_000]));
    let staged = store.upload(message("in a batch that fails"));
    let add = store.adding_content(fixture.inbox, Content::Staged(staged.clone()), FlagSet::new());
    let twice = Op::CreateFolder { parent: None, name: "INBOX".into(), role: None };
    assert!(store.try_ops(vec![add.clone(), twice]).is_err());
    assert_eq!(before, (store.state(), store.folders()));
    assert!(store.rows(fixture.inbox).is_empty());
    store.op(add);
    assert_eq!(store.state().messages, 1, "an upload outlives a batch that failed");
    Verdict::Proved
}

/// A message that was removed can still be read for a while, by sessions that have it open.
///
/// The bug: one client emptied the trash while another was showing a message of it; that one's FETCH broke in the middle
/// of a literal, and so did the connection.
pub fn removed_messages_stay_readable_for_a_while(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let place = store.add(fixture.inbox, "read on");
    let copied = store.add(fixture.inbox, "copied");
    let other = store.folder(None, "Other").id;
    store.op(Op::Copy { from: fixture.inbox, uids: uids([2]), to: other });
    store.remove(fixture.inbox, uids([1, 2]), false);
    assert_eq!(store.content(place.email, 5).expect("still readable"), message("read on").as_bytes());
    if !fixture.data.advance(Duration::from_secs(30 * 86_400)) {
        return Verdict::Unproved("the clock can't be moved");
    }
    // Anything that makes the store look at its clock.
    store.add(fixture.inbox, "later");
    let copy = store.content(copied.email, 1 << 20).expect("a message with another place stays");
    assert_eq!(copy, message("copied").as_bytes());
    Verdict::Proved
}

/// Pages keep to their bounds, begin where the last one ended, and leave out what was not asked for.
///
/// The bug: one FETCH of a large mailbox took all its rows into memory, for each of a hundred phones at once.
pub fn pages_are_bounded(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    store.fill(10);
    store.remove(fixture.inbox, uids([4]), false);
    let options = ItemsOptions { max_rows: 3, ..ItemsOptions::default() };
    let page = store.page(fixture.inbox, &uids(2..=8), options);
    let numbers: Vec<u32> = page.rows().iter().map(|row| row.uid.value()).collect();
    assert_eq!(numbers, [2, 3, 5], "ascending, without those that are not there");
    assert_eq!(page.next.map(crate::id::Uid::value), Some(6));
    assert!(page.rows().iter().all(|row| page.content(row).is_none()), "contents only when asked for");
    let small = ItemsOptions { max_octets: 100, ..ItemsOptions::new(Projection::CONTENT) };
    let page = store.page(fixture.inbox, &uids(1..=10), small);
    assert_eq!(page.rows().len(), 1, "one message of 60 octets fits into 100");
    assert!(page.next.is_some());
    let tiny = ItemsOptions { max_octets: 1, ..ItemsOptions::new(Projection::CONTENT) };
    let page = store.page(fixture.inbox, &uids(1..=10), tiny);
    assert_eq!(page.rows().len(), 1, "the first row always fits");
    assert_eq!(page.next.map(crate::id::Uid::value), Some(2), "and is not taken for the last one");
    let none = store.page(fixture.inbox, &uids(50..=60), ItemsOptions::default());
    assert!(none.rows().is_empty() && none.next.is_none());
    let exact = ItemsOptions { max_rows: 9, ..ItemsOptions::default() };
    assert_eq!(store.page(fixture.inbox, &uids(1..=10), exact).next, None, "a page that holds everything has no next");
    let newest = ItemsOptions { at_least: Some(store.state().at), ..ItemsOptions::default() };
    assert_eq!(store.page(fixture.inbox, &uids(1..=10), newest).rows().len(), 9);
    Verdict::Proved
}

/// Accounts share nothing: neither numbers, nor folders, nor messages, even of one upload in one batch.
///
/// The bug: a cache by position. A new account was shown another's mail.
pub fn accounts_are_apart(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let second = account(2);
    wait(rig, store.store.provision(second, &[])).expect("a second account");
    let folders = store.wait(store.store.folders(second)).expect("it is there");
    let inbox = folders.inbox().expect("with its inbox").id;
    let staged = store.upload(message("to both"));
    let add = |folder| store.adding_content(folder, Content::Staged(staged.clone()), FlagSet::new());
    let places: Vec<_> = if store.store.caps().max_accounts > 1 {
        let batch =
            super::fixture::batch_over(vec![(fixture.account, vec![add(fixture.inbox)]), (second, vec![add(inbox)])]);
        let committed = store.commit(batch).expect("one batch over two accounts");
        committed.iter().map(|account| place(&account.outcomes[0])).collect()
    } else {
        let commit = |account, folder| {
            let batch = Batch::new(super::fixture::batch_id(), account, vec![add(folder)]);
            place(&store.commit(batch).expect("one batch for each account")[0].outcomes[0])
        };
        vec![commit(fixture.account, fixture.inbox), commit(second, inbox)]
    };
    assert_ne!(places[0].email, places[1].email, "an EMAILID belongs to one account");
    store.remove(fixture.inbox, uids([1]), false);
    let state = store.wait(store.store.account(second)).expect("it is there");
    assert_eq!((state.messages, state.octets), (1, message("to both").len() as u64));
    let octets = store.wait(store.store.read(second, places[1].email, 0, 1000)).expect("its own copy stays");
    assert_eq!(octets, message("to both").as_bytes());
    Verdict::Proved
}
