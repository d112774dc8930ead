//! What the fuzz targets run, one function each, and a test that replays their seeds.
//!
//! Beside "no panic", each target checks what must hold for any input.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailstore_trait::acl::{Allowed, Rights};
use mailstore_trait::change::{ChangeKind, ChangePage, ChangeRecord};
use mailstore_trait::flags::{FlagSet, SystemFlags};
use mailstore_trait::folder::{Counts, Folder, FolderList, FolderView, Role};
use mailstore_trait::id::{AccountId, EmailId, FolderId, ItemId, ModSeq, ThreadId, Uid, UidValidity};
use mailstore_trait::item::{ItemPage, ItemPageBuilder, RowHead, RowParts};
use mailstore_trait::metadata::{Entry, Subject};
use mailstore_trait::mime::{self, Scanner};
use mailstore_trait::quota::{Quota, QuotaLimits, QuotaUsage};
use mailstore_trait::session::{LayerInfo, Output, Peer, Session};
use mailstore_trait::uid_set::UidSet;

use crate::command::{self, AppendPlace, Bounds};
use crate::frame::{Frame, Framer};
use crate::request::{
    Abilities, Answered, Appended, Authenticated, Expunged, FlagsSet, Found, Identified, IdentifierOf, Located,
    MetadataRefusal, Owner, Refusal, SaslStep, Share, Transferred,
};
use crate::{Config, News, Request, Server};

/// Mailbox names in modified UTF-7, both ways.
pub fn imap_mailbox_name(data: &[u8]) {
    crate::utf7::fuzz(data);
}

/// Frames and parses whatever comes; the framing must not depend on how it came.
pub fn imap_command(data: &[u8]) {
    let (whole, stepwise) = (frame(data, data.len().max(1)), frame(data, 1));
    assert_eq!(whole, stepwise, "a frame depends on how its octets arrived");
    let bounds = Bounds::default();
    if let Frame::Complete(len) = whole {
        let octets = data.get(..len).unwrap_or_default();
        if let Ok(tagged) = command::parse(octets, &bounds) {
            assert_eq!(command::tag(octets), Some(tagged.tag), "a command and its tag disagree");
        }
    }
    let _ = command::parse(data, &bounds);
    let _ = command::parse_append(data, &bounds);
    for place in [AppendPlace::Message, AppendPlace::Part, AppendPlace::Utf8 { part: true }] {
        let _ = command::parse_append_line(data, place, &bounds);
    }
}

/// URLs of messages; what is read names a message.
pub fn imap_url(data: &[u8]) {
    if let Ok(url) = command::url::parse(data, &Bounds::default()) {
        assert!(url.uid > 0, "no message has the UID 0");
        assert!(url.partial.is_none_or(|(_, count)| count > 0), "a piece of nothing");
    }
}

/// Frames and parses what a server says; the framing must not depend on how it came.
pub fn imap_response(data: &[u8]) {
    use crate::client::response::{self, Bounds, Frame, Framer};
    let whole = Framer::new().look(data, 4096, 16);
    let mut framer = Framer::new();
    let mut stepwise = (0..=data.len()).map(|have| framer.look(data.get(..have).unwrap_or(data), 4096, 16));
    let stepwise = stepwise.find(|frame| *frame != Frame::Partial).unwrap_or(Frame::Partial);
    if whole != Frame::TooLong && stepwise != Frame::TooLong {
        assert_eq!(whole, stepwise, "a response depends on how its octets arrived");
    }
    for utf8 in [false, true] {
        let bounds = Bounds { utf8, values: 10_000, ..Bounds::default() };
        let _ = response::parse(data, &bounds);
    }
}

/// An envelope, however a server writes it: what can't be read is passed over.
pub fn imap_envelope(data: &[u8]) {
    fetched(b"ENVELOPE ", data);
}

/// A body structure, however a server writes it: every part has a section, and lies behind the one it is in.
pub fn imap_body_structure(data: &[u8]) {
    let Some(row) = fetched(b"BODYSTRUCTURE ", data) else { return };
    let Some(structure) = row.structure else { return };
    for (at, part) in structure.parts().iter().enumerate().take(100) {
        assert!(part.parent.is_none_or(|parent| parent < at), "a part lies before the one it is in");
        assert!(structure.section(at).len() <= at + 1);
    }
}

fn fetched(item: &[u8], data: &[u8]) -> Option<crate::client::response::Row> {
    use crate::client::Data;
    use crate::client::response::{self, Bounds, Response};
    let line = [b"* 1 FETCH (", item, data, b" UID 7)\r\n"].concat();
    let bounds = Bounds { values: 10_000, ..Bounds::default() };
    match response::parse(&line, &bounds) {
        Ok(Response::Data(Data::Fetch(row))) => Some(row),
        _ => None,
    }
}

/// What a server says to a client with much to do: the session ends, and hears the same however the octets are cut.
pub fn imap_client(data: &[u8]) {
    let whole = play_client(data, usize::MAX, true);
    let cut = play_client(data, 1, true);
    // What lies behind the answer to STARTTLS when it is read depends on how the octets were cut.
    if !whole.1 && !cut.1 {
        assert_eq!(whole.0, cut.0, "what a client says depends on how the octets arrived");
    }
    play_client(data, 7, false);
}

/// Plays a client; tells what it said, and whether it saw TLS or the end of its patience.
fn play_client(mut input: &[u8], step: usize, well: bool) -> (Vec<u8>, bool) {
    use crate::client::{
        Append, Cache, ChunkTaken, Client, Command, Config, Fetch, Items, Mailbox, Messages, Page, Piece, Replica,
        Request, Search, Section, StartTls, Task,
    };
    use mailstore_trait::sasl::{Credentials, Nonce, Secret};
    let credentials = Credentials::Password { user: "a".into(), password: Secret::from("b"), authzid: None };
    let mut config = Config::new(credentials, Nonce::from_random([7; 18]));
    config.starttls = StartTls::Opportunistic;
    config.allow_cleartext = true;
    config.limits.window = 2048;
    config.limits.response = 4096;
    config.limits.values = 10_000;
    let mut client = Client::new(Arc::new(config), None);
    let mut replica = Replica::new(Mailbox::new("INBOX"), 0, Cache::default()).with_limit(10_000);
    let commands = [
        Command::Fetch(Fetch::new(Messages::From(Uid::MIN), Items::all()).with(Piece::peek(Section::whole()))),
        Command::Append(Append::new(Mailbox::new("a\"b"), 9)),
        Command::Search(Search::new([])),
        Command::Expunge(None),
        Command::Idle,
        Command::Logout,
    ];
    let mut commands = commands.into_iter();
    let mut special = false;
    let mut said = Vec::new();
    #[allow(clippy::disallowed_methods, reason = "its value is never looked at: there is no other way to make one")]
    let mut now = Instant::now();
    for _ in 0..1_000_000 {
        match client.poll_output(now, 0) {
            Output::Send(octets) => said.extend_from_slice(&octets),
            Output::Request(request) if !well => client.resume(request.decline()),
            Output::Request(Request::BodyChunk(chunk)) => client.resume(chunk.answer(ChunkTaken::Taken)),
            Output::Request(Request::ReadMessage(read)) => {
                let octets = Bytes::from(vec![b'x'; read.query.max]);
                client.resume(read.answer(Page::Octets(octets)));
            }
            Output::Layer(_) => {
                special = true;
                client.layered(Ok(LayerInfo::new()));
            }
            Output::Event(event) => {
                replica.hear(&event);
                let ready = event == crate::client::Event::Ready;
                let next = replica.next_task();
                next.into_iter().for_each(|task| client.notify(task));
                if ready {
                    commands.by_ref().for_each(|command| client.notify(Task::new(1, command)));
                }
            }
            Output::Wait(wait) if wait.input && !input.is_empty() => {
                let taken = client.handle_input(input.get(..step).unwrap_or(input));
                assert!(taken > 0, "a session that reads has no room");
                input = input.get(taken..).unwrap_or_default();
            }
            Output::Wait(wait) if wait.input => client.handle_eof(),
            Output::Wait(wait) => match wait.deadline {
                Some(deadline) => now = deadline.max(now + Duration::from_millis(1)),
                None => panic!("the session waits for ever"),
            },
            Output::Close(reason) => {
                special |= reason == mailstore_trait::session::CloseReason::Protocol;
                return (said, special);
            }
        }
    }
    panic!("the session never ends")
}

fn frame(data: &[u8], step: usize) -> Frame {
    let mut framer = Framer::new();
    let mut have = 0;
    loop {
        match framer.look(data.get(..have).unwrap_or(data), 4096) {
            Frame::Partial if have >= data.len() => return Frame::Partial,
            Frame::Partial => have += step,
            Frame::Literal(announced) => framer.accept(announced),
            found => return found,
        }
    }
}

/// Plays a whole session: the first octets decide how its questions are answered, the rest is what the client sends.
pub fn imap_server(data: &[u8]) {
    let (script, input) = data.split_at(data.len().min(16));
    let Some(mut store) = Store::new(script) else { return };
    let mut config = Config { allow_cleartext: true, starttls: true, ..Config::default() };
    config.limits.batch = 3;
    config.limits.inline = 64;
    config.limits.read = 50;
    let address = std::net::SocketAddr::from(([192, 0, 2, 1], 4711));
    let mut server = Server::new(Arc::new(config), &Peer::new(address));
    let (mut input, mut sent, mut polls) = (input, 0usize, 0u32);
    #[allow(clippy::disallowed_methods, reason = "its value is never looked at: there is no other way to make one")]
    let mut now = Instant::now();
    loop {
        polls += 1;
        assert!(polls < 1_000_000, "the session never waits");
        match server.poll_output(now, 0) {
            Output::Send(octets) => sent += octets.len(),
            Output::Request(request) => {
                let answered = store.answer(request);
                server.resume(answered);
                if let Some(news) = store.news() {
                    server.notify(news);
                }
            }
            Output::Layer(_) => server.layered(Ok(LayerInfo::new())),
            Output::Event(_) => {}
            Output::Wait(wait) if wait.input && !input.is_empty() => {
                let step = store.next().max(1);
                let taken = server.handle_input(input.get(..step).unwrap_or(input));
                assert!(taken > 0, "a session that reads has no room");
                input = input.get(taken..).unwrap_or_default();
            }
            Output::Wait(_) if store.ends => server.handle_eof(),
            Output::Wait(wait) => match wait.deadline {
                Some(deadline) => now = deadline.max(now + Duration::from_millis(1)),
                None => panic!("the session waits for ever"),
            },
            Output::Close(_) => break,
        }
    }
    assert!(sent > 0, "no greeting");
}

/// A store that answers as a script says.
struct Store<'s> {
    script: &'s [u8],
    at: usize,
    account: AccountId,
    folder: FolderId,
    uids: UidSet,
    change: u64,
    ends: bool,
}

const MESSAGE: &[u8] = b"From: a@b\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\none\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nb\r\n--x--\r\n";

impl<'s> Store<'s> {
    fn new(script: &'s [u8]) -> Option<Store<'s>> {
        let uids = (1..=5).filter_map(Uid::new).collect();
        let ends = script.first().is_some_and(|octet| octet % 2 == 1);
        Some(Store { script, at: 0, account: AccountId::new(1)?, folder: FolderId::new(1)?, uids, change: 10, ends })
    }

    /// The script's next number, over and over.
    fn next(&mut self) -> usize {
        self.at += 1;
        let at = self.at % self.script.len().max(1);
        self.script.get(at).copied().map_or(1, usize::from)
    }

    fn modseq(&self) -> ModSeq {
        ModSeq::new(self.change).unwrap_or(ModSeq::FIRST)
    }

    fn news(&mut self) -> Option<News> {
        let news = News::Hint { account: self.account, upto: self.modseq().plus(1) };
        (self.next().is_multiple_of(3)).then_some(news)
    }

    fn folder(&self) -> Folder {
        Folder {
            id: self.folder,
            parent: None,
            name: "INBOX".into(),
            role: Some(Role::Inbox),
            selectable: true,
            uid_validity: UidValidity::MIN,
            uid_next: Uid::MIN.plus(100),
            highest_modseq: self.modseq(),
            floor: ModSeq::FIRST,
            created: ModSeq::FIRST,
            change: ModSeq::FIRST,
            counts: Counts::default(),
        }
    }

    fn view(&self) -> FolderView {
        FolderView {
            folder: self.folder(),
            uids: Arc::new(self.uids.iter().collect()),
            at: self.modseq(),
            first_unseen: Some(Uid::MIN),
            recent_from: Some(Uid::MIN.plus(2)),
            keywords: Arc::from([]),
        }
    }

    fn page(&mut self, uids: &UidSet) -> ItemPage {
        let mut scanner = Scanner::new(mime::Limits::default());
        scanner.push(MESSAGE);
        let skeleton = scanner.finish();
        let mut page = ItemPageBuilder::new();
        for uid in uids.intersection(&self.uids).iter() {
            let Some(item) = ItemId::new(u64::from(uid.value())) else { continue };
            let small = uid.value() % 2 == 0;
            let head = RowHead {
                item,
                uid,
                email: EmailId([1; 16]),
                thread: ThreadId([1; 16]),
                internal_date: Default::default(),
                save_date: Default::default(),
                size: MESSAGE.len() as u64,
                generation: 0,
                created: ModSeq::FIRST,
                content_change: self.modseq(),
                read_change: self.modseq(),
                change: self.modseq(),
            };
            let content = if small { MESSAGE } else { b"" };
            let parts = RowParts { skeleton: skeleton.as_bytes(), summary: b"", content };
            page.push(head, SystemFlags::SEEN, [], parts);
        }
        page.finish(None)
    }

    /// Somebody else removes a message, adds one, or changes flags.
    fn changes(&mut self, since: ModSeq) -> ChangePage {
        self.change += 1;
        let which = self.next();
        let uid = u32::try_from(which % 8 + 1).ok().and_then(Uid::new).unwrap_or(Uid::MIN);
        let here = self.uids.contains(uid);
        let kind = match which % 3 {
            0 if here => ChangeKind::REMOVED,
            _ if here => ChangeKind::FLAGS,
            _ => ChangeKind::ADDED,
        };
        if kind == ChangeKind::REMOVED {
            self.uids = self.uids.iter().filter(|have| *have != uid).collect();
        }
        let created = if kind == ChangeKind::ADDED { self.modseq() } else { ModSeq::FIRST };
        let item = ItemId::new(u64::from(uid.value())).map(|item| (item, uid));
        let flags = FlagSet::from(SystemFlags::FLAGGED);
        let record = ChangeRecord { change: self.modseq(), created, folder: self.folder, item, kind, flags };
        ChangePage { records: vec![record], upto: self.modseq().max(since), more: which.is_multiple_of(7) }
    }

    fn answer(&mut self, request: Request) -> Answered {
        let luck = self.next();
        if luck.is_multiple_of(11) {
            return request.decline();
        }
        self.change += 1;
        let authenticated = Authenticated::new(self.account, "a".into(), 1 << 20, 100).with_abilities(Abilities::all());
        match request {
            Request::Login(pending) => pending.answer(Ok(authenticated)),
            Request::Sasl(pending) if luck.is_multiple_of(2) => {
                pending.answer(SaslStep::Challenge(Bytes::from_static(b"?")))
            }
            Request::Sasl(pending) => pending.answer(SaslStep::Authenticated(authenticated)),
            Request::Folders(pending) => {
                let subscriptions = vec![vec!["INBOX".into()], vec!["a".into(), "b".into()]];
                let at = Some(self.modseq());
                pending.answer(Ok(Arc::new(FolderList { folders: vec![self.folder()], subscriptions, at })))
            }
            Request::View(pending) => pending.answer(Ok(self.view())),
            Request::Items(pending) => {
                let page = self.page(&pending.query.uids);
                pending.answer(Ok(page))
            }
            Request::ReadBody(pending) => {
                let from = usize::try_from(pending.query.offset).unwrap_or(usize::MAX);
                let octets = MESSAGE.get(from..).unwrap_or_default();
                let octets = octets.get(..pending.query.max).unwrap_or(octets);
                pending.answer(if luck.is_multiple_of(13) { Ok(Bytes::new()) } else { Ok(Bytes::from_static(octets)) })
            }
            Request::Changes(pending) if luck.is_multiple_of(5) => pending.answer(Err(Refusal::Gap)),
            Request::Changes(pending) => {
                let since = pending.query.options.since;
                pending.answer(Ok(self.changes(since)))
            }
            Request::Search(pending) => {
                let uids = pending.query.uids.clone();
                let next =
                    if luck.is_multiple_of(3) { uids.ranges().next_back().map(|range| *range.end()) } else { None };
                pending.answer(Ok(Found { uids, next }))
            }
            Request::SetFlags(pending) => {
                let page = self.page(&pending.query.uids);
                pending.answer(Ok(FlagsSet { page, conflicts: UidSet::new(), upto: self.modseq() }))
            }
            Request::Copy(pending) => {
                let answer = self.transferred(&pending.query.uids);
                pending.answer(Ok(answer))
            }
            Request::Move(pending) => {
                let answer = self.transferred(&pending.query.uids);
                pending.answer(Ok(answer))
            }
            Request::Expunge(pending) => {
                let uids = pending.query.uids.clone();
                self.uids = self.uids.iter().filter(|uid| !uids.contains(*uid)).collect();
                pending.answer(Ok(Expunged { uids, upto: self.modseq() }))
            }
            Request::AppendCommit(pending) => {
                let uids = std::iter::once(Uid::MIN.plus(50)).collect();
                pending.answer(Ok(Appended { uid_validity: UidValidity::MIN, uids, upto: self.modseq() }))
            }
            Request::AppendOpen(pending) => pending.answer(Ok(())),
            Request::AppendChunk(pending) => pending.answer(Ok(())),
            Request::CreateFolder(pending) => pending.answer(Ok(self.folder())),
            Request::RenameFolder(pending) => pending.answer(Ok(self.folder())),
            Request::RenameInbox(pending) => pending.answer(Ok(self.folder())),
            Request::DeleteFolder(pending) => pending.answer(Ok(())),
            Request::Subscribe(pending) => pending.answer(Ok(())),
            Request::Locate(pending) => pending.answer(Ok(self.located(luck))),
            Request::Shares(pending) => {
                let share = |owner, luck| Share { owner, located: self.located(luck) };
                let shares = [share(Owner::User("b@c".into()), luck), share(Owner::Shared, luck / 2)];
                pending.answer(Ok(shares.into()))
            }
            Request::GetQuota(pending) => pending.answer(Ok(quota(luck))),
            Request::SetQuota(pending) => pending.answer(Ok(quota(luck))),
            Request::DeletedOctets(pending) => pending.answer(Ok(vec![(self.folder, luck as u64)])),
            Request::Acl(pending) => {
                let rights = Rights::from_bits_truncate(u16::try_from(luck % 2048).unwrap_or(0));
                pending.answer(Ok(vec![Identified { identifier: "-b@c \"".into(), rights }]))
            }
            Request::ChangeAcl(pending) => pending.answer(Ok(())),
            Request::Identify(pending) if luck.is_multiple_of(2) => pending.answer(Ok(IdentifierOf::Owner)),
            Request::Identify(pending) => pending.answer(Ok(IdentifierOf::Other)),
            Request::Metadata(pending) => {
                let subject = pending.query.subjects.first().copied().unwrap_or(Subject::Server);
                let named = pending.query.wanted.iter().filter_map(|wanted| Some((wanted.scope, wanted.name.clone()?)));
                let value = Bytes::from_static(if luck.is_multiple_of(2) { b"a\0b" } else { b"a\r\n\"b" });
                let entries = named.map(|(scope, name)| Entry { subject, scope, name, value: value.clone() });
                let entries = entries.collect();
                pending.answer(Ok(entries))
            }
            Request::SetMetadata(pending) if luck.is_multiple_of(3) => {
                pending.answer(Err(MetadataRefusal::TooLarge(luck as u64)))
            }
            Request::SetMetadata(pending) => pending.answer(Ok(())),
            request @ Request::AppendAbandon(_) => request.decline(),
        }
    }

    fn located(&self, luck: usize) -> Located {
        let rights = Rights::from_bits_truncate(u16::try_from(luck % 2048).unwrap_or(0));
        Located { account: self.account, allowed: Allowed::Shared(vec![(self.folder, rights | Rights::LOOKUP)]) }
    }

    fn transferred(&self, uids: &UidSet) -> Transferred {
        Transferred { uid_validity: UidValidity::MIN, from: uids.clone(), to: uids.clone(), upto: self.modseq() }
    }
}

fn quota(luck: usize) -> Quota {
    let luck = luck as u64;
    let some = |bit: u64| (luck & bit != 0).then_some(luck);
    let limits = QuotaLimits::none().with_storage(some(1)).with_messages(some(2)).with_folders(some(4));
    Quota::new(limits, QuotaUsage::new(luck, luck / 2, 1))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn replay(target: &str, run: fn(&[u8])) {
        replay_every(1, target, run);
    }

    /// Changes only every so many octets of a seed: for targets that play whole sessions over many seeds.
    fn replay_every(step: usize, target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
        let mut seeds = 0;
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            println!("replaying {}", path.display());
            let seed = std::fs::read(&path).unwrap();
            run(&seed);
            // A seed cut or changed anywhere is a seed too.
            for at in (0..seed.len()).step_by(step) {
                run(&seed[..at]);
                for flip in [0x01, 0x20, 0x80] {
                    let mut other = seed.clone();
                    other[at] ^= flip;
                    run(&other);
                }
            }
            seeds += 1;
        }
        assert!(seeds >= 5, "{target}: {seeds} seeds");
    }

    #[test]
    fn imap_command_seeds_replay() {
        replay("imap_command", super::imap_command);
    }

    #[test]
    fn imap_response_seeds_replay() {
        replay("imap_response", super::imap_response);
    }

    #[test]
    fn imap_envelope_seeds_replay() {
        replay("imap_envelope", super::imap_envelope);
    }

    #[test]
    fn imap_body_structure_seeds_replay() {
        replay("imap_body_structure", super::imap_body_structure);
    }

    #[test]
    fn imap_client_seeds_replay() {
        replay_every(29, "imap_client", super::imap_client);
    }

    #[test]
    fn imap_mailbox_name_seeds_replay() {
        replay("imap_mailbox_name", super::imap_mailbox_name);
    }

    #[test]
    fn imap_url_seeds_replay() {
        replay("imap_url", super::imap_url);
    }

    #[test]
    fn imap_server_seeds_replay() {
        replay("imap_server", super::imap_server);
    }
}
