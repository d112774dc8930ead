//! The client against Debian's Dovecot: a server that nobody here wrote, on loopback, with the rights of whoever runs the
//! test. Two clients edit one mailbox there; one loses its connection and catches up by QRESYNC.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a panic here is a failing test, and it waits for a real server"
)]

#[path = "support/adapted.rs"]
mod adapted;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use imap_proto_core::client::{
    Cache, ChunkTaken, Client, Code, Data, Event, Fetch, Items, Mailbox, Messages, Page, Piece, Replica, Request,
    Section, Task,
};
use mailstore_trait::id::Uid;
use mailstore_trait::session::{Output, Session};

const PATIENCE: Duration = Duration::from_secs(20);

/// A Dovecot of its own in a temporary folder. Dropping it ends the process.
struct Dovecot {
    child: Child,
    folder: PathBuf,
    port: u16,
}

fn word(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Dovecot {
    fn start() -> Dovecot {
        let folder = std::env::temp_dir().join(format!("imap-client-dovecot-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("mail")).unwrap();
        // Started by root it gives its rights away; otherwise everything is the caller's.
        let me = word("id", &["-un"]);
        let root = me == "root";
        let (login, internal, mail) = if root { ("dovenull", "dovecot", "nobody") } else { (&*me, &*me, &*me) };
        let group = |user: &str| word("id", &["-gn", user]);
        if root {
            word("chown", &[mail, folder.join("mail").to_str().unwrap()]);
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let chroot = if root { "" } else { "  chroot =\n" };
        let conf = format!(
            "base_dir = {here}/run\nstate_dir = {here}/state\nlog_path = {here}/log\nprotocols = imap\nlisten = 127.0.0.1\n\
             ssl = no\ndisable_plaintext_auth = no\nauth_mechanisms = plain\ndefault_login_user = {login}\n\
             default_internal_user = {internal}\ndefault_internal_group = {internal_group}\nfirst_valid_uid = 1\n\
             mail_location = maildir:~/Maildir\nmail_attribute_dict =\n\
             passdb {{\n  driver = static\n  args = password=secret\n}}\n\
             userdb {{\n  driver = static\n  args = uid={mail} gid={mail_group} home={here}/mail/%u\n}}\n\
             namespace inbox {{\n  inbox = yes\n  mailbox Sent {{\n    special_use = \\Sent\n    auto = create\n  }}\n}}\n\
             service anvil {{\n{chroot}}}\nservice imap-login {{\n  inet_listener imap {{\n    port = {port}\n  }}\n\
             \x20 inet_listener imaps {{\n    port = 0\n  }}\n{chroot}}}\n",
            here = folder.display(),
            internal_group = group(internal),
            mail_group = group(mail),
        );
        std::fs::write(folder.join("conf"), conf).unwrap();
        let program =
            ["/usr/sbin/dovecot", "dovecot"].into_iter().find(|path| !path.contains('/') || Path::new(path).exists());
        let child = Command::new(program.unwrap())
            .args(["-F", "-c"])
            .arg(folder.join("conf"))
            .stdout(Stdio::null())
            .spawn()
            .expect("Debian's dovecot-imapd");
        let dovecot = Dovecot { child, folder, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "no Dovecot:\n{}", dovecot.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        dovecot
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // Its master ends its children when it is asked to.
        word("sh", &["-c", &format!("kill -TERM {}", self.child.id())]);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A client over a socket, and what it knows.
struct Connection<'d> {
    dovecot: &'d Dovecot,
    client: Client,
    stream: TcpStream,
    replica: Replica,
    events: Vec<Event>,
    fetched: BTreeMap<u32, Vec<u8>>,
    outgoing: Bytes,
    tickets: u64,
}

impl<'d> Connection<'d> {
    fn open(dovecot: &'d Dovecot, cache: Cache) -> Connection<'d> {
        let stream = TcpStream::connect(("127.0.0.1", dovecot.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut config = adapted::config();
        config.id = vec![("name".into(), "a judged client".into())];
        let client = Client::new(Arc::new(config), None);
        let replica = Replica::new(Mailbox::new("INBOX"), 1, cache);
        let (events, fetched) = (Vec::new(), BTreeMap::new());
        Connection { dovecot, client, stream, replica, events, fetched, outgoing: Bytes::new(), tickets: 100 }
    }

    /// Goes on until this is so.
    fn until(&mut self, what: &str, so: impl Fn(&Connection<'_>) -> bool) {
        let start = Instant::now();
        loop {
            match self.client.poll_output(Instant::now(), 0) {
                Output::Send(octets) => self.stream.write_all(&octets).unwrap(),
                Output::Request(Request::BodyChunk(chunk)) => {
                    let query = &chunk.query;
                    self.fetched.entry(query.seq.value()).or_default().extend_from_slice(&query.octets);
                    self.client.resume(chunk.answer(ChunkTaken::Taken));
                }
                Output::Request(Request::ReadMessage(read)) => {
                    let from = usize::try_from(read.query.offset).unwrap();
                    let octets = self.outgoing.slice(from..from + read.query.max);
                    self.client.resume(read.answer(Page::Octets(octets)));
                }
                Output::Event(event) => {
                    self.replica.hear(&event);
                    self.replica.next_task().into_iter().for_each(|task| self.client.notify(task));
                    self.events.push(event);
                }
                Output::Wait(_) => {
                    if so(self) {
                        return;
                    }
                    let log = || self.dovecot.log();
                    assert!(start.elapsed() < PATIENCE, "{what}: {:#?}\n{}", self.events, log());
                    let mut octets = [0; 4096];
                    match self.stream.read(&mut octets) {
                        Ok(0) => self.client.handle_eof(),
                        Ok(len) => assert_eq!(self.client.handle_input(&octets[..len]), len),
                        Err(_) => {}
                    }
                }
                Output::Close(reason) => {
                    assert!(so(self), "{what}: closed ({reason:?}): {:#?}\n{}", self.events, self.dovecot.log());
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Runs a command, written as in transcripts, that must succeed; what was told.
    fn run(&mut self, text: &str) -> Vec<Event> {
        self.give(adapted::command(text).unwrap(), text)
    }

    fn give(&mut self, command: imap_proto_core::client::Command, text: &str) -> Vec<Event> {
        self.tickets += 1;
        let ticket = self.tickets;
        self.events.clear();
        self.client.notify(Task::new(ticket, command));
        let mine = move |event: &Event| match event {
            Event::Done { ticket: of, .. } => *of == ticket,
            Event::Failed { ticket: of, .. } | Event::NotTaken { ticket: of, .. } => {
                assert_ne!(*of, ticket, "{event:?}");
                false
            }
            _ => false,
        };
        self.until(text, move |this| this.events.iter().any(mine));
        std::mem::take(&mut self.events)
    }

    fn append(&mut self, message: &str) {
        self.outgoing = Bytes::from(message.replace('\n', "\r\n"));
        let done = self.run(&format!("append INBOX {}", self.outgoing.len()));
        let code = done.iter().any(
            |event| matches!(event, Event::Done { text, .. } if matches!(text.code, Some(Code::AppendUid { .. }))),
        );
        assert!(code, "{done:?}");
    }

    fn synced(&mut self) -> String {
        self.run("noop");
        self.until("resync", |this| this.replica.is_synced());
        self.replica.cache().iter().fold(String::new(), |known, (uid, cached)| {
            let keywords: Vec<&str> = cached.flags.keywords().iter().map(|keyword| keyword.as_str()).collect();
            format!("{known}{uid} {:?} {keywords:?}\n", cached.flags.system)
        })
    }
}

const PARTS: &str = "From: Ann <ann@example.org>\nTo: Team: a@b, \"C \\\"D\\\"\" <c@d>;\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\n\
    MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nplain\n--x\nContent-Type: message/rfc822\n\n\
    Subject: inner\nContent-Type: multipart/alternative; boundary=y\n\n--y\n\na\n--y\nContent-Type: text/html\n\nb\n--y--\n\n--x--\n";

#[test]
#[ignore = "needs Debian's dovecot-imapd"]
fn two_clients_of_dovecot_agree() {
    let dovecot = Dovecot::start();
    let mut one = Connection::open(&dovecot, Cache::default());
    one.until("login", |this| this.replica.is_synced());
    assert!(one.client.enabled().qresync && one.client.capabilities().has("ESEARCH"));
    for n in 0..6 {
        one.append(&format!("Subject: {n}\n\n{}\n", "a line\n".repeat(n * 3000)));
    }
    one.append(PARTS);
    let mut two = Connection::open(&dovecot, Cache::default());
    two.until("login", |this| this.replica.is_synced());
    assert_eq!(two.replica.cache().len(), 7);
    assert_eq!(one.synced(), two.synced());

    // Names, in every form.
    one.run("create Entwürfe_&_mehr");
    one.run("subscribe Entwürfe_&_mehr");
    let listed = one.run("list *");
    let names: Vec<&str> = listed
        .iter()
        .filter_map(
            |event| if let Event::Data(Data::List(listed)) = event { Some(listed.mailbox.name()) } else { None },
        )
        .collect();
    assert!(names.contains(&"INBOX") && names.contains(&"Entwürfe & mehr"), "{names:?}");
    let status = one.run("status Entwürfe_&_mehr");
    assert!(status.iter().any(|event| matches!(event, Event::Data(Data::Status(row)) if row.messages == Some(0))));
    one.run("namespace");
    one.run("id");

    // Everything FETCH brings.
    let mut fetch =
        Fetch::new(Messages::From(Uid::MIN), Items::all() - Items::EMAIL_ID - Items::THREAD_ID - Items::PREVIEW);
    fetch.items -= Items::SAVE_DATE;
    fetch = fetch.with(Piece::peek(Section::whole()));
    let rows = one.give(imap_proto_core::client::Command::Fetch(fetch), "fetch");
    let rows: Vec<_> = rows
        .into_iter()
        .filter_map(|event| if let Event::Data(Data::Fetch(row)) = event { Some(row) } else { None })
        .collect();
    assert_eq!(rows.len(), 7);
    for row in &rows {
        assert!(row.envelope.is_some() && row.structure.is_some() && row.internal_date.is_some(), "{row:?}");
        let octets = &one.fetched[&row.seq.value()];
        assert_eq!(row.size, Some(octets.len() as u64));
    }
    assert_eq!(String::from_utf8_lossy(&one.fetched[&7]), PARTS.replace('\n', "\r\n"));
    let structure = rows[6].structure.as_ref().unwrap();
    let html = structure.parts().iter().position(|part| part.subtype == "html").unwrap();
    assert_eq!(structure.section(html), [2, 2]);
    assert_eq!(rows[6].envelope.as_ref().unwrap().to.len(), 4, "a group, its two members, its end");

    // Changes of one come to the other while it waits.
    two.run("search larger=5000");
    two.client.notify(Task::new(7, imap_proto_core::client::Command::Idle));
    two.until("idle", |this| this.events.iter().any(|event| matches!(event, Event::Idling { .. })));
    one.run("store 1:2 +\\Flagged");
    one.run("store 3 +work silent");
    one.run("store 4 +\\Deleted");
    one.run("expunge 4");
    one.run("copy 1 INBOX");
    one.run("move 2 Entwürfe_&_mehr");
    one.append("Subject: late\n\nlate\n");
    let known = one.synced();
    assert_eq!(two.synced(), known);
    assert_eq!(known.lines().count(), 7);

    // One loses its connection, and catches up in one command.
    let cache: Cache = two.replica.cache().to_string().parse().unwrap();
    drop(two);
    one.run("store 1 -\\Flagged");
    one.run("store 5 +\\Deleted");
    one.run("expunge");
    one.append("Subject: later\n\nlater\n");
    let known = one.synced();
    let mut two = Connection::open(&dovecot, cache);
    two.until("resync", |this| this.replica.is_synced());
    let listed = two.events.iter().filter(|event| matches!(event, Event::Data(Data::Fetch(_)))).count();
    assert!(listed <= 4, "QRESYNC tells what has changed and nothing else: {listed}");
    assert_eq!(two.synced(), known);

    two.run("unselect");
    one.client.notify(Task::new(8, imap_proto_core::client::Command::Logout));
    one.until("logout", |this| this.events.iter().any(|event| matches!(event, Event::Done { ticket: 8, .. })));
}
