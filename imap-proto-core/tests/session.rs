//! The four tests of every session, and what must hold for any input.

#![allow(clippy::unwrap_used, reason = "a panic here is a failing test")]

#[path = "support/mailbox.rs"]
mod mailbox;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use imap_proto_core::{Config, Server};
use mailstore_trait::flags::FlagSet;
use mailstore_trait::session::{CloseReason, Output, Session};
use mailstore_trait::testkit::driven::epoch;
use mailstore_trait::testkit::session::{Subject, every_split, silence_ends, window_is_kept, worst_answers};
use proptest::prelude::*;

use mailbox::{World, config, message_named, now, peer, play};

/// Small limits, so that a test can reach them.
fn small() -> Config {
    let mut config = config();
    let limits = &mut config.limits;
    limits.line = 2000;
    limits.line_before_login = 1500;
    limits.sasl_line = 1500;
    limits.literals = 1000;
    limits.literals_before_login = 500;
    limits.window = 1500;
    limits.inline = 100;
    limits.read = 100;
    limits.batch = 2;
    config
}

/// No more than this is ever held unread: a line, and the literals a command may have.
const WINDOW: usize = 2000 + 2000 + 1000;

fn with_subject(test: impl Fn(&Subject<'_, Server>)) {
    let world = RefCell::new(World::new());
    let make = || {
        let mut renewed = world.borrow().renew();
        for name in ["one", "two", "big"] {
            renewed.deliver("INBOX", &message_named(name), FlagSet::new());
        }
        renewed.share();
        for act in ["fred make Work", "fred deliver Work one", "fred grant Work tim@example.org lrswi"] {
            renewed.act(act).unwrap();
        }
        *world.borrow_mut() = renewed;
        Server::new(Arc::new(small()), &peer(false))
    };
    let answer = |request| mailbox::trust(&mut world.borrow_mut().fulfiller, request);
    test(&Subject::new(make, answer, imap_proto_core::Request::decline, mailbox::asked));
}

const READING: &[u8] =
    b"a LOGIN tim@example.org tanstaafl\r\nb SELECT INBOX\r\nc FETCH 1:3 (UID FLAGS ENVELOPE BODY.PEEK[])\r\n\
    d UID FETCH 1:* BODY[HEADER.FIELDS (Subject)]\r\ne UID SEARCH RETURN (COUNT) UNSEEN TEXT hello\r\nf LOGOUT\r\n";
const WRITING: &[u8] = b"a LOGIN {15+}\r\ntim@example.org {9+}\r\ntanstaafl\r\nb SELECT INBOX\r\nc STORE 1:3 +FLAGS (\\Deleted x)\r\n\
    d COPY 1:2 Sent\r\ne MOVE 3 Trash\r\nf APPEND INBOX (\\Seen) {12+}\r\nA: b\r\n\r\nhi\r\n\r\ng EXPUNGE\r\nh CLOSE\r\ni LOGOUT\r\n";
const PARTS: &[u8] = b"a LOGIN tim@example.org tanstaafl\r\nb SELECT INBOX\r\n\
    c APPEND Sent {8+}\r\nA: b\r\n\r\n (\\Seen) ~{9+}\r\nA: c\r\n\r\nd\r\n\
    d APPEND INBOX CATENATE (URL \";UID=3\" TEXT {3+}\r\nabc URL {21+}\r\n;UID=1/;SECTION=HEADER)\r\n\
    e UID REPLACE 1 INBOX {8+}\r\nA: b\r\n\r\n\r\nf FETCH 1:* (UID BINARY.SIZE[1] BINARY.PEEK[1])\r\n\
    g APPEND INBOX {8+}\r\nA: b\r\n\r\n CATENATE (URL \";UID=99\" TEXT {3+}\r\nabc)\r\nh LOGOUT\r\n";
const TREE: &[u8] = b"a AUTHENTICATE PLAIN AHRpbUBleGFtcGxlLm9yZwB0YW5zdGFhZmw=\r\nb CREATE a/b\r\nc RENAME a c\r\nd SUBSCRIBE c/b\r\n\
    e LIST (SUBSCRIBED) \"\" * RETURN (STATUS (MESSAGES RECENT))\r\nf LSUB \"\" %\r\ng STATUS c/b (MESSAGES RECENT)\r\nh DELETE c/b\r\n\
    i SELECT INBOX\r\nj IDLE\r\nDONE\r\nk NOOP\r\nl LOGOUT\r\n";
const REV2: &[u8] = b"a LOGIN tim@example.org tanstaafl\r\nb ENABLE IMAP4rev2\r\nc SELECT inbox\r\nd SEARCH ALL\r\n\
    e RENAME inbox/a b\r\nf CREATE inbox/c\r\ng EXAMINE Sent\r\nh NOOP\r\ni LOGOUT\r\n";
const AWAY: &[u8] = b"a LOGIN tim@example.org tanstaafl\r\nb ENABLE QRESYNC\r\nc SELECT INBOX (QRESYNC (1610612735 4 1:9 (1 1)))\r\n\
    d STORE 1:2 (UNCHANGEDSINCE 5) +FLAGS.SILENT (\\Deleted)\r\ne UID EXPUNGE 1:2\r\nf UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)\r\n\
    g SEARCH MODSEQ 2\r\nh STATUS Sent (HIGHESTMODSEQ)\r\ni LOGOUT\r\n";
const SHARED: &[u8] = b"a LOGIN tim@example.org tanstaafl\r\nb GETQUOTAROOT INBOX\r\nc SETACL INBOX fred@example.org lr\r\nd GETACL INBOX\r\n\
    e LISTRIGHTS INBOX anyone\r\nf SETMETADATA INBOX (/shared/comment {3+}\r\nabc)\r\ng GETMETADATA INBOX (/shared/comment)\r\n\
    h SELECT \"Other Users/fred@example.org/Work\"\r\ni COPY 1 INBOX\r\nj APPEND \"Other Users/fred@example.org/Work\" {12+}\r\nA: b\r\n\r\nhi\r\n\r\n\
    k LIST \"\" * RETURN (MYRIGHTS METADATA (/shared/comment) STATUS (DELETED-STORAGE RECENT))\r\nl STATUS Shared/None (MESSAGES)\r\nm LOGOUT\r\n";
const WRONG: &[u8] = b"\r\na NONSENSE {3+}\r\nabc\r\nb LOGIN tim@example.org tanstaafl\r\nc APPEND nowhere {4+}\r\nabcd\r\nd LIST \"\" {2000+}\r\n";

#[test]
fn every_split_says_the_same() {
    for script in [READING, WRITING, PARTS, TREE, REV2, AWAY, SHARED, WRONG] {
        with_subject(|subject| every_split(subject, script));
    }
}

#[test]
fn the_window_is_never_exceeded() {
    for script in [READING, WRITING, PARTS, TREE, REV2, AWAY, SHARED, WRONG] {
        with_subject(|subject| window_is_kept(subject, script, WINDOW));
    }
}

#[test]
fn every_question_has_a_worst_answer() {
    for script in [READING, WRITING, PARTS, TREE, REV2, AWAY, SHARED, WRONG] {
        with_subject(|subject| worst_answers(subject, script));
    }
}

#[test]
fn silence_ends_at_a_deadline() {
    for script in [READING, WRITING, PARTS, TREE, REV2, AWAY, SHARED, WRONG] {
        with_subject(|subject| silence_ends(subject, script, Duration::from_secs(4 * 3600)));
    }
}

/// Ten thousand commands in one packet are answered in order, and no more is held than the window.
#[test]
fn ten_thousand_pipelined_commands_run_in_order() {
    let mut world = World::new();
    let mut server = Server::new(Arc::new(config()), &peer(false));
    let mut input = b"a LOGIN tim@example.org x\r\n".to_vec();
    (0..10_000).for_each(|n| input.extend_from_slice(format!("t{n} NOOP\r\n").as_bytes()));
    let said = play(&mut server, &mut world.fulfiller, &input);
    let said = String::from_utf8(said).unwrap();
    let tagged: Vec<&str> = said.lines().filter(|line| line.ends_with("OK NOOP completed")).collect();
    assert_eq!(tagged.len(), 10_000);
    assert!(tagged.iter().enumerate().all(|(n, line)| line.starts_with(&format!("t{n} "))));
}

/// One octet a second before login: the deadline comes all the same.
#[test]
fn a_slow_client_is_ended_before_login() {
    let start = epoch();
    let mut server = Server::new(Arc::new(config()), &peer(false));
    let mut closed = None;
    for second in 0..120 {
        server.handle_input(b"x");
        loop {
            match server.poll_output(start + Duration::from_secs(second), 0) {
                Output::Wait(_) => break,
                Output::Close(reason) => {
                    closed = Some((second, reason));
                    break;
                }
                _ => {}
            }
        }
        if closed.is_some() {
            break;
        }
    }
    assert_eq!(closed, Some((60, CloseReason::Timeout)));
}

/// Reads untagged responses as a client would, and keeps its own list of UIDs by number.
#[derive(Default)]
struct Replica {
    /// What the client knows of each number: its UID, once it was told.
    uids: Vec<Option<u32>>,
}

impl Replica {
    fn hear(&mut self, said: &[u8]) {
        for line in String::from_utf8_lossy(said).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["*", number, "EXPUNGE"] => {
                    let at: usize = number.parse().unwrap();
                    assert!(at >= 1 && at <= self.uids.len(), "EXPUNGE of a number that is none: {line}");
                    self.uids.remove(at - 1);
                }
                ["*", number, "EXISTS"] => {
                    let count: usize = number.parse().unwrap();
                    assert!(count >= self.uids.len(), "EXISTS shrank: {line}");
                    self.uids.resize(count, None);
                }
                ["*", number, "FETCH", "(UID", uid, ..] => {
                    let at: usize = number.parse().unwrap();
                    let uid: u32 = uid.trim_end_matches(')').parse().unwrap();
                    let known = self.uids.get_mut(at - 1).unwrap_or_else(|| panic!("FETCH beyond EXISTS: {line}"));
                    assert!(known.is_none_or(|known| known == uid), "number {at} changed its message: {line}");
                    *known = Some(uid);
                }
                _ => {}
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Doing {
    /// Somebody else does this.
    Elsewhere(String),
    /// This session sends this.
    Command(String),
}

fn doing() -> impl Strategy<Value = Doing> {
    let uid = 1u32..12;
    prop_oneof![
        Just(Doing::Elsewhere("deliver INBOX three".into())),
        uid.clone().prop_map(|uid| Doing::Elsewhere(format!("remove INBOX {uid}"))),
        uid.clone().prop_map(|uid| Doing::Elsewhere(format!("flag INBOX {uid} +\\Flagged"))),
        Just(Doing::Elsewhere("forget".into())),
        Just(Doing::Command("NOOP".into())),
        Just(Doing::Command("UID FETCH 1:* (UID)".into())),
        Just(Doing::Command("FETCH 1:* (UID)".into())),
        uid.clone().prop_map(|uid| Doing::Command(format!("UID STORE {uid} +FLAGS (\\Deleted)"))),
        Just(Doing::Command("EXPUNGE".into())),
        Just(Doing::Command("UID SEARCH ALL".into())),
        uid.clone().prop_map(|uid| Doing::Command(format!("UID MOVE {uid} Trash"))),
        uid.prop_map(|uid| Doing::Command(format!("UID COPY {uid} INBOX"))),
        Just(Doing::Command("NOOP\r\nt SEARCH 1:*\r\nt NOOP".into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever others do to the mailbox, numbers mean for the client what they mean for the server, and in the end both
    /// know what the store knows.
    #[test]
    fn a_client_and_the_store_agree(doings in prop::collection::vec(doing(), 1..30)) {
        let mut world = World::new_trusting();
        for _ in 0..3 {
            world.deliver("INBOX", &message_named("three"), FlagSet::new());
        }
        let mut server = Server::new(Arc::new(config()), &peer(false));
        let mut replica = Replica::default();
        let mut send = |server: &mut Server, world: &mut World, text: &str| {
            let line = format!("t {text}\r\n");
            let said = play(server, &mut world.fulfiller, line.as_bytes());
            replica.hear(&said);
            replica.uids.clone()
        };
        send(&mut server, &mut world, "LOGIN tim x");
        send(&mut server, &mut world, "SELECT INBOX");
        for doing in doings {
            match doing {
                Doing::Elsewhere(text) => {
                    let hint = world.act(&text).unwrap();
                    server.notify(hint);
                }
                Doing::Command(text) => {
                    send(&mut server, &mut world, &text);
                }
            }
        }
        send(&mut server, &mut world, "NOOP");
        let known = send(&mut server, &mut world, "UID FETCH 1:* (UID)");
        let folder = world.folder("INBOX").id;
        let view = now(mailstore_trait::store::MailStore::view(
            &world.store, world.account, folder, mailstore_trait::store::ViewOptions::default(),
        )).unwrap();
        let stored: Vec<Option<u32>> = view.uids.iter().map(|uid| Some(uid.value())).collect();
        prop_assert_eq!(known, stored);
    }

    /// Noise is answered, never with a panic and never without an end.
    #[test]
    fn noise_is_answered(noise in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
        let mut world = World::new_trusting();
        let mut server = Server::new(Arc::new(small()), &peer(false));
        let (first, second) = noise.split_at(cut.min(noise.len()));
        play(&mut server, &mut world.fulfiller, first);
        play(&mut server, &mut world.fulfiller, second);
        let mut server = Server::new(Arc::new(small()), &peer(false));
        play(&mut server, &mut world.fulfiller, b"a LOGIN tim x\r\nb SELECT INBOX\r\n");
        play(&mut server, &mut world.fulfiller, &noise);
    }
}
