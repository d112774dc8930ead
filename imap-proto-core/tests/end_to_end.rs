//! Session, fulfiller and reference store together, in one thread and without waiting: what clients see of one mailbox.

#![cfg(feature = "store")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use imap_proto_core::store::Fulfiller;
use imap_proto_core::{Config, News, Server};
use mailstore_trait::auth::{Attempt, Authenticator};
use mailstore_trait::directory::Principal;
use mailstore_trait::error::DirectoryError;
use mailstore_trait::folder::Role;
use mailstore_trait::future::{BoxFuture, BoxStream};
use mailstore_trait::hints::Hint;
use mailstore_trait::id::AccountId;
use mailstore_trait::sasl::{Answer, Ask, Identity, Mechanism, Refusal};
use mailstore_trait::session::{CloseReason, Output, Peer, Session};
use mailstore_trait::store::MailStore;
use mailstore_trait::testkit::environment::TestEnvironment;
use mailstore_trait::testkit::memory::MemStore;
use proptest::prelude::*;

/// The reference store answers at once, so nothing here has to be woken.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the reference store waits for nothing"),
    }
}

/// The one user. Her password is compared as it is: a stored verifier is dear on purpose, and logins are many here.
struct Ann(AccountId);

impl Authenticator for Ann {
    fn mechanisms(&self) -> &[Mechanism] {
        &[Mechanism::Plain]
    }

    fn answer<'a>(&'a self, ask: Ask, _: &'a Attempt) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            match ask {
                Ask::Password { user, password } if user == "ann@example.org" && password.expose() == b"pencil" => {
                    Answer::Accept(user)
                }
                _ => Answer::Refuse(Refusal::Credentials),
            }
        })
    }

    fn principal<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Principal, DirectoryError>> {
        let address = identity.user.clone();
        Box::pin(async move { Ok(Principal { account: self.0, address, aliases: Vec::new(), display_name: None }) })
    }
}

/// One mail system.
struct House {
    store: MemStore,
    account: AccountId,
    start: Instant,
    /// Connections so far: each has its own randomness, or their batches would be one another's repetition.
    connections: Cell<u64>,
}

impl House {
    fn new() -> House {
        let account = AccountId::new(1).unwrap();
        let store = MemStore::new();
        now(store.provision(account, &[(Role::Trash, "Trash")])).unwrap();
        House { store, account, start: Instant::now(), connections: Cell::new(0) }
    }

    fn connect(&self) -> Client {
        let peer = Peer::new("127.0.0.1:9".parse().unwrap());
        self.connections.set(self.connections.get() + 1);
        let mut config = Config::default();
        config.allow_cleartext = true;
        let store: Arc<dyn MailStore> = Arc::new(self.store.clone());
        let fulfiller = Fulfiller::new(
            store,
            Arc::new(Ann(self.account)),
            Arc::new(TestEnvironment::new(self.connections.get())),
            &peer,
        );
        let mut client = Client {
            server: Server::new(Arc::new(config), &peer),
            fulfiller,
            hints: self.store.hints().watch(self.account),
            said: Vec::new(),
            now: self.start,
            tag: 0,
            closed: None,
        };
        client.run();
        assert!(client.take().starts_with("* OK "));
        client
    }

    fn login(&self) -> Client {
        let mut client = self.connect();
        client.ok("LOGIN ann@example.org pencil");
        client
    }

    fn select(&self) -> Client {
        let mut client = self.login();
        client.ok("SELECT INBOX");
        client
    }
}

/// The driver takes the fulfiller as it is.
const _: fn() = || {
    fn fulfils<F: mailstore_trait::session::Fulfil<Server>>() {}
    fulfils::<Fulfiller>();
};

/// One client with its session.
struct Client {
    server: Server,
    fulfiller: Fulfiller,
    hints: BoxStream<'static, Hint>,
    said: Vec<u8>,
    now: Instant,
    tag: u32,
    closed: Option<CloseReason>,
}

impl Client {
    /// Drives the session until it waits.
    fn run(&mut self) {
        while self.closed.is_none() {
            match self.server.poll_output(self.now, 0) {
                Output::Send(octets) => self.said.extend_from_slice(&octets),
                Output::Request(request) => {
                    let answered = now(self.fulfiller.answer(request));
                    self.server.resume(answered);
                }
                Output::Event(_) => {}
                Output::Layer(layer) => panic!("nobody asked for {layer:?}"),
                Output::Wait(_) => return,
                Output::Close(reason) => self.closed = Some(reason),
            }
        }
    }

    /// Hands the session what it was hinted at, and drives it.
    fn hear(&mut self) {
        while let Poll::Ready(Some(Hint { account, upto })) =
            self.hints.as_mut().poll_next(&mut Context::from_waker(Waker::noop()))
        {
            self.server.notify(News::Hint { account, upto });
        }
        self.run();
    }

    fn send(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() && self.closed.is_none() {
            let taken = self.server.handle_input(rest);
            rest = &rest[taken..];
            self.run();
        }
    }

    fn take(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.said)).into_owned()
    }

    /// Runs a command; the untagged lines and the end of the tagged one.
    fn command(&mut self, command: &str) -> (Vec<String>, String) {
        self.hear();
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.send(format!("{tag} {command}\r\n").as_bytes());
        let said = self.take();
        let tagged = format!("{tag} ");
        let at = said.rfind(&tagged).unwrap_or_else(|| panic!("{command:?} was answered {said:?}"));
        let untagged = said[..at].split_terminator("\r\n").map(str::to_owned).collect();
        (untagged, said[at + tagged.len()..].trim_end().to_owned())
    }

    #[track_caller]
    fn ok(&mut self, command: &str) -> Vec<String> {
        let (untagged, tagged) = self.command(command);
        assert!(tagged.starts_with("OK"), "{command:?}: {tagged}");
        untagged
    }

    #[track_caller]
    fn no(&mut self, command: &str) -> String {
        let (_, tagged) = self.command(command);
        assert!(tagged.starts_with("NO"), "{command:?}: {tagged}");
        tagged
    }

    #[track_caller]
    fn append(&mut self, mailbox: &str, flags: &str, message: &str) -> String {
        let (_, tagged) = self.command(&format!("APPEND {mailbox} {flags} {{{}+}}\r\n{message}", message.len()));
        assert!(tagged.starts_with("OK"), "{tagged}");
        tagged
    }

    fn uids(&mut self) -> Vec<u32> {
        let lines = self.ok("UID SEARCH ALL");
        let line = lines.iter().find_map(|line| line.strip_prefix("* SEARCH")).unwrap();
        line.split_whitespace().map(|uid| uid.parse().unwrap()).collect()
    }
}

/// What a response code says behind its UIDVALIDITY.
fn code<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, code) = line.split_once(&format!("[{name} ")).unwrap_or_else(|| panic!("no {name} in {line:?}"));
    let (code, _) = code.split_once(']').unwrap();
    code.split_once(' ').unwrap().1
}

const MINUTES: &str = "From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: =?utf-8?Q?M=C3=A4rz?= minutes\r\n\
Date: Sun, 1 Mar 2026 10:00:00 +0100\r\nMessage-ID: <m1@example.org>\r\n\
Content-Type: multipart/alternative; boundary=b\r\n\r\n\
--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe\r\n\
--b\r\nContent-Type: text/html\r\n\r\n<p>hello\r\n--b--\r\n";

#[test]
fn a_message_goes_in_and_comes_out() {
    let house = House::new();
    let mut ann = house.select();
    let tagged = ann.append("INBOX", r#"(\Flagged work) " 1-Mar-2026 10:00:00 +0100""#, MINUTES);
    assert_eq!(code(&tagged, "APPENDUID"), "1");
    let fetched = ann.ok("FETCH 1 (FLAGS UID INTERNALDATE RFC822.SIZE ENVELOPE)").join("\r\n");
    for part in [
        r"* 1 FETCH (FLAGS (\Flagged",
        "work",
        "UID 1",
        r#"INTERNALDATE " 1-Mar-2026 10:00:00 +0100""#,
        &format!("RFC822.SIZE {}", MINUTES.len()),
        r#"ENVELOPE ("Sun, 1 Mar 2026 10:00:00 +0100" "=?utf-8?Q?M=C3=A4rz?= minutes" (("Ann" NIL "ann" "example.org"))"#,
        r#"((NIL NIL "bob" "example.org")) NIL NIL NIL "<m1@example.org>")"#,
    ] {
        assert!(fetched.contains(part), "{part} in {fetched}");
    }
    let structure = ann.ok("FETCH 1 BODYSTRUCTURE").join("\r\n");
    let expected = r#"BODYSTRUCTURE (("text" "plain" ("charset" "utf-8") NIL NIL "quoted-printable" 15 0 NIL NIL NIL NIL)("text" "html" NIL NIL NIL "7BIT" 8 0 NIL NIL NIL NIL) "alternative" ("boundary" "b") NIL NIL NIL)"#;
    assert!(structure.contains(expected), "{structure}");
    let whole = ann.ok("FETCH 1 BODY.PEEK[]").join("\r\n");
    assert!(whole.contains(&format!("BODY[] {{{}}}\r\n{}", MINUTES.len(), MINUTES)), "{whole}");
    assert!(ann.ok("FETCH 1 BODY.PEEK[1]").join("\r\n").contains("BODY[1] {15}\r\nGr=C3=BC=C3=9Fe)"));
    assert!(ann.ok("FETCH 1 BODY.PEEK[2]<3.4>").join("\r\n").contains("BODY[2]<3> {4}\r\nhell)"));
    let seen = ann.ok("FETCH 1 BODY[TEXT]").join("\r\n");
    assert!(seen.contains(r"\Seen"), "{seen}");
}

#[test]
fn searches_find_by_everything() {
    let house = House::new();
    let mut ann = house.select();
    ann.append("INBOX", r"(\Seen)", MINUTES);
    ann.append("INBOX", "(work)", "Subject: other\r\nX-Tag: blue\r\n\r\nplain words\r\n");
    for (key, found) in [
        ("ALL", "1 2"),
        ("SEEN", "1"),
        ("UNSEEN KEYWORD WORK", "2"),
        ("SUBJECT minutes", "1"),
        ("CHARSET UTF-8 SUBJECT {6+}\r\nM\u{c4}RZ ", "1"),
        ("CHARSET UTF-8 BODY {7+}\r\nGR\u{dc}SSE", "1"),
        ("BODY words", "2"),
        ("TEXT blue", "2"),
        ("HEADER X-Tag \"\"", "2"),
        ("OR FROM ann BODY nowhere", "1"),
        ("NOT TO bob", "2"),
        ("SENTON 1-Mar-2026", "1"),
        ("LARGER 200", "1"),
        ("UID 2:*", "2"),
        ("BODY nowhere", ""),
    ] {
        let lines = ann.ok(&format!("SEARCH {key}"));
        let line = lines.iter().find_map(|line| line.strip_prefix("* SEARCH")).unwrap();
        assert_eq!(line.trim(), found, "{key}");
    }
}

#[test]
fn flags_copies_moves_and_expunges() {
    let house = House::new();
    let mut ann = house.select();
    for _ in 0..4 {
        ann.append("INBOX", "()", "A: b\r\n\r\n");
    }
    let stored = ann.ok(r"STORE 2:3 +FLAGS (\Deleted)");
    assert_eq!(stored.iter().filter(|line| line.contains(r"\Deleted")).count(), 2, "{stored:?}");
    assert!(ann.ok(r"STORE 4 +FLAGS.SILENT (\Answered)").is_empty());
    let (_, tagged) = ann.command("COPY 1:2 Trash");
    assert_eq!(code(&tagged, "COPYUID"), "1:2 1:2");
    assert!(ann.no("COPY 1 Nowhere").contains("[TRYCREATE]"));
    let (untagged, _) = ann.command("MOVE 1 Trash");
    let moved = untagged.iter().find(|line| line.contains("[COPYUID ")).unwrap();
    assert_eq!(code(moved, "COPYUID"), "1 3");
    assert!(untagged.iter().any(|line| line == "* 1 EXPUNGE"), "{untagged:?}");
    let expunged: Vec<String> = ann.ok("EXPUNGE").into_iter().filter(|line| line.ends_with("EXPUNGE")).collect();
    assert!(expunged == ["* 1 EXPUNGE", "* 1 EXPUNGE"] || expunged == ["* 2 EXPUNGE", "* 1 EXPUNGE"], "{expunged:?}");
    assert_eq!(ann.uids(), [4]);
    let status = ann.ok("STATUS Trash (MESSAGES UIDNEXT)");
    assert_eq!(status, ["* STATUS Trash (MESSAGES 3 UIDNEXT 4)"]);
}

#[test]
fn mailboxes_come_and_go() {
    let house = House::new();
    let mut ann = house.login();
    ann.ok("CREATE Work/2026/M&AOQ-rz");
    assert!(ann.no("CREATE Work").contains("[ALREADYEXISTS]"));
    ann.ok("SUBSCRIBE Work");
    ann.ok("RENAME Work Play");
    let list = ann.ok(r#"LIST "" *"#).join("\n");
    for name in ["INBOX", "Trash", "Play", "Play/2026", "Play/2026/M&AOQ-rz"] {
        assert!(
            list.lines()
                .any(|line| line.trim_matches('"').ends_with(&format!(" {name}"))
                    || line.ends_with(&format!(" \"{name}\""))),
            "{name} in {list}"
        );
    }
    ann.ok("DELETE Play/2026/M&AOQ-rz");
    ann.no("DELETE INBOX");
    assert!(ann.no("SELECT Play/2026/M&AOQ-rz").contains("[NONEXISTENT]"));
}

#[test]
fn wrong_passwords_are_refused_and_sasl_works() {
    let house = House::new();
    let mut ann = house.connect();
    assert!(ann.no("LOGIN ann@example.org pen").contains("[AUTHENTICATIONFAILED]"));
    // PLAIN with an initial response: \0ann@example.org\0pencil
    ann.ok("AUTHENTICATE PLAIN AGFubkBleGFtcGxlLm9yZwBwZW5jaWw=");
    ann.ok("SELECT INBOX");
    let (untagged, _) = ann.command("LOGOUT");
    assert!(untagged[0].starts_with("* BYE"));
    assert_eq!(ann.closed, Some(CloseReason::Quit));
}

#[test]
fn an_idle_client_hears_of_a_delivery() {
    let house = House::new();
    let (mut ann, mut other) = (house.select(), house.select());
    other.send(b"i IDLE\r\n");
    assert!(other.take().starts_with("+ "));
    ann.append("INBOX", "()", "A: b\r\n\r\n");
    other.hear();
    assert!(other.take().contains("* 1 EXISTS\r\n"));
    ann.ok(r"STORE 1 +FLAGS (\Flagged)");
    other.hear();
    let told = other.take();
    assert!(told.contains("* 1 FETCH (") && told.contains(r"\Flagged"), "{told}");
    ann.ok(r"STORE 1 +FLAGS.SILENT (\Deleted)");
    ann.ok("EXPUNGE");
    other.hear();
    assert!(other.take().contains("* 1 EXPUNGE\r\n"));
    other.send(b"DONE\r\n");
    assert!(other.take().starts_with("i OK"));
}

/// RFC 9051 §7.5.1: no EXPUNGE while FETCH, STORE or SEARCH uses sequence numbers; then sequence numbers stay those the
/// client knows.
#[test]
fn sequence_numbers_hold_until_the_client_is_told() {
    let house = House::new();
    let (mut ann, mut other) = (house.select(), house.select());
    for _ in 0..3 {
        ann.append("INBOX", "()", "A: b\r\n\r\n");
    }
    other.ok("NOOP");
    ann.ok(r"STORE 1 +FLAGS.SILENT (\Deleted)");
    ann.ok("EXPUNGE");
    let fetched = other.ok("FETCH 3 UID");
    assert!(fetched.iter().any(|line| line == "* 3 FETCH (UID 3)"), "{fetched:?}");
    assert!(!fetched.iter().any(|line| line.ends_with("EXPUNGE")), "{fetched:?}");
    let searched = other.ok("SEARCH ALL");
    assert!(!searched.iter().any(|line| line.ends_with("EXPUNGE")), "{searched:?}");
    let told = other.ok("NOOP");
    assert!(told.iter().any(|line| line == "* 1 EXPUNGE"), "{told:?}");
    assert_eq!(other.uids(), [2, 3]);
}

/// What a client believes of its mailbox from what it was told: the sizes of EXISTS and EXPUNGE, nothing else.
#[derive(Default)]
struct Belief {
    exists: usize,
}

impl Belief {
    fn hear(&mut self, untagged: &[String]) {
        for line in untagged {
            let mut words = line.split(' ').skip(1);
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse::<usize>), words.next()) else {
                continue;
            };
            match what {
                "EXISTS" => {
                    assert!(number >= self.exists, "EXISTS never shrinks: {line}");
                    self.exists = number;
                }
                "EXPUNGE" => {
                    assert!((1..=self.exists).contains(&number), "no such message: {line}, of {}", self.exists);
                    self.exists -= 1;
                }
                "FETCH" => assert!((1..=self.exists).contains(&number), "no such message: {line}, of {}", self.exists),
                _ => {}
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Append,
    Delete(u32),
    Flag(u32),
    Expunge,
    Move(u32),
    CopyHere(u32),
    Fetch,
    Noop,
}

fn edit() -> impl Strategy<Value = (bool, Edit)> {
    let edit = prop_oneof![
        3 => Just(Edit::Append),
        2 => (1u32..12).prop_map(Edit::Delete),
        2 => (1u32..12).prop_map(Edit::Flag),
        2 => Just(Edit::Expunge),
        1 => (1u32..12).prop_map(Edit::Move),
        1 => (1u32..12).prop_map(Edit::CopyHere),
        2 => Just(Edit::Fetch),
        2 => Just(Edit::Noop),
    ];
    (any::<bool>(), edit)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn two_clients_end_with_the_same_mailbox(edits in prop::collection::vec(edit(), 0..40)) {
        let house = House::new();
        let mut clients = [house.select(), house.select()];
        let mut beliefs = [Belief::default(), Belief::default()];
        for (first, edit) in edits {
            let at = usize::from(first);
            let command = match edit {
                Edit::Append => "APPEND INBOX {8+}\r\nA: b\r\n\r\n".to_owned(),
                Edit::Delete(uid) => format!(r"UID STORE {uid} +FLAGS (\Deleted)"),
                Edit::Flag(uid) => format!(r"UID STORE {uid} FLAGS (\Flagged)"),
                Edit::Expunge => "EXPUNGE".to_owned(),
                Edit::Move(uid) => format!("UID MOVE {uid} Trash"),
                Edit::CopyHere(uid) => format!("UID COPY {uid} INBOX"),
                Edit::Fetch => "FETCH 1:* (UID FLAGS)".to_owned(),
                Edit::Noop => "NOOP".to_owned(),
            };
            let (untagged, tagged) = clients[at].command(&command);
            beliefs[at].hear(&untagged);
            // RFC 5530 §3, EXPUNGEISSUED: some of what was to be fetched is gone, and the client not yet told.
            let gone = matches!(edit, Edit::Fetch) && tagged.starts_with("NO [EXPUNGEISSUED]");
            let empty = matches!(edit, Edit::Fetch) && beliefs[at].exists == 0;
            prop_assert!(tagged.starts_with("OK") || gone || empty, "{}: {}", command, tagged);
        }
        let mut states = Vec::new();
        for (client, belief) in clients.iter_mut().zip(&mut beliefs) {
            belief.hear(&client.ok("NOOP"));
            let uids = client.uids();
            prop_assert_eq!(belief.exists, uids.len());
            let mut flags = client.ok("UID FETCH 1:* (FLAGS)");
            flags.retain(|line| line.contains("FETCH"));
            // RFC 3501 §2.3.2: only the first session to be told of a message has it as recent.
            for line in &mut flags {
                *line = line.replace(" \\Recent", "").replace("\\Recent", "");
            }
            states.push((uids, flags));
        }
        prop_assert_eq!(&states[0], &states[1]);
        let inbox = now(house.store.folders(house.account)).unwrap().inbox().unwrap().clone();
        prop_assert_eq!(inbox.counts.exists as usize, states[0].0.len());
    }
}
