//! The client's session: transcripts, and the four tests every session passes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic here is a failing test")]

#[path = "support/adapted.rs"]
mod adapted;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use imap_proto_core::client::{Client, Config, Request, Task};
use mailstore_trait::session::Session;
use mailstore_trait::testkit::session::{Subject, every_split, silence_ends, window_is_kept, worst_answers};
use mailstore_trait::testkit::transcript::{self, Adapter, Side};

use adapted::Adapted;

const TRANSCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/client");

#[test]
fn transcripts_hold() {
    transcript::play_all(&mut Adapted::default(), TRANSCRIPTS);
}

#[test]
fn seeds_are_the_transcripts() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/imap_client");
    transcript::export_seeds(Side::Client, TRANSCRIPTS, seeds);
}

/// What servers say to a client that logs in, selects, fetches, appends and leaves.
const SCRIPTS: [&[u8]; 4] = [
    b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR ENABLE CONDSTORE QRESYNC IDLE ESEARCH LITERAL+] hi\r\n\
    A1 OK in\r\n* CAPABILITY IMAP4rev1 ENABLE CONDSTORE QRESYNC IDLE ESEARCH UIDPLUS MOVE\r\nA2 OK\r\n* ENABLED CONDSTORE QRESYNC\r\nA3 OK\r\n\
    * 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [HIGHESTMODSEQ 9] x\r\nA4 OK [READ-WRITE] in\r\n\
    * 1 FETCH (UID 5 BODY[] {12}\r\nA: b\r\n\r\nbody FLAGS (\\Seen x))\r\n* VANISHED 6\r\n* 2 FETCH (RFC822 \"short\" UID 9)\r\nA5 OK\r\n\
    + go on\r\n* 4 EXISTS\r\nA6 OK [APPENDUID 7 12] done\r\n* ESEARCH (TAG \"A7\") UID ALL 5,9\r\nA7 OK\r\n\
    + idling\r\n* 5 EXISTS\r\nA8 OK\r\n* BYE\r\nA9 OK\r\n",
    b"* PREAUTH\r\n* CAPABILITY IMAP4rev1 LITERAL-\r\nA1 OK\r\nA2 NO\r\nA3 NO\r\n* SEARCH 1 2 3\r\nA4 OK\r\nA5 OK\r\n",
    b"* OK hi\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\nA1 OK\r\nA2 OK\r\n",
    b"* OK hi\r\n* CAPABILITY IMAP4rev1\r\nA1 OK\r\nA2 NO [AUTHENTICATIONFAILED] no\r\nA3 OK\r\n",
];

const COMMANDS: [&str; 6] = ["select INBOX", "fetch 1:* FLAGS []", "append INBOX 5", "search unseen", "idle", "logout"];

fn with_subject(config: Config, test: impl Fn(&Subject<'_, Client>)) {
    let adapted = RefCell::new(Adapted::default());
    let config = Arc::new(config);
    test(&Subject::new(
        || {
            let mut client = Client::new(config.clone(), None);
            for (ticket, command) in COMMANDS.iter().enumerate() {
                client.notify(Task::new(ticket as u64, adapted::command(command).unwrap()));
            }
            client
        },
        |request| {
            let usual = adapted.borrow_mut().usual(&request).unwrap();
            adapted.borrow_mut().answer(request, &usual).unwrap()
        },
        Request::decline,
        |request| adapted.borrow_mut().asked(request),
    ));
}

#[test]
fn every_split_says_the_same() {
    with_subject(adapted::config(), |subject| SCRIPTS.iter().for_each(|script| every_split(subject, script)));
}

#[test]
fn the_window_is_kept() {
    let mut config = adapted::config();
    config.limits.window = 2048;
    config.limits.response = 3000;
    config.limits.response_before_login = 3000;
    let window = 3000 + 1024;
    with_subject(config, |subject| {
        SCRIPTS.iter().for_each(|script| window_is_kept(subject, script, window));
        let long = [SCRIPTS[0], b"* LIST () \"/\" ", &[b'x'; 5000]].concat();
        window_is_kept(subject, &long, window);
    });
}

#[test]
fn the_worst_answers_end_well() {
    with_subject(adapted::config(), |subject| SCRIPTS.iter().for_each(|script| worst_answers(subject, script)));
}

#[test]
fn silence_comes_to_an_end() {
    let within = Duration::from_secs(4 * 3600);
    with_subject(adapted::config(), |subject| SCRIPTS.iter().for_each(|script| silence_ends(subject, script, within)));
}
