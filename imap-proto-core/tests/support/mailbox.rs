//! A server over the reference store: questions get their true answers unless a test says otherwise.

#![allow(dead_code, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic here is a failing test")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use imap_proto_core::request::{AppendChunk, Authenticated, LoginFailure, Refusal, SaslStep};
use imap_proto_core::store::{Fulfiller, Limits, Sharing};
use imap_proto_core::{Answered, Config, Event, News, Request, Server};
use mailstore_trait::acl::{AclChange, AclStore, Grantee, Rights, RightsChange};
use mailstore_trait::batch::{AddItem, Batch, Content, Op};
use mailstore_trait::directory::{Directory, Principal, Resolution};
use mailstore_trait::flags::{FlagChange, FlagSet, Keyword, SystemFlags};
use mailstore_trait::folder::{Folder, Role};
use mailstore_trait::id::{AccountId, BatchId, Uid};
use mailstore_trait::item::Projection;
use mailstore_trait::metadata::MetadataLimits;
use mailstore_trait::quota::{QuotaLimits, QuotaStore};
use mailstore_trait::sasl::Mechanism;
use mailstore_trait::session::{LayerInfo, Output, Peer, Session};
use mailstore_trait::store::{MailStore, UploadOptions};
use mailstore_trait::testkit::directory::MemDirectory;
use mailstore_trait::testkit::driven::{Asked, epoch};
use mailstore_trait::testkit::environment::{START, TestEnvironment};
use mailstore_trait::testkit::memory::MemStore;
use mailstore_trait::testkit::transcript::escape;
use mailstore_trait::testkit::transcript::{Adapter, Header};
use mailstore_trait::uid_set::UidSet;

/// Runs a future of the reference store, which never waits.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the reference store waits"),
    }
}

/// A store, one account in it, and who answers for it.
pub(crate) struct World {
    pub(crate) store: MemStore,
    directory: Arc<MemDirectory>,
    environment: Arc<TestEnvironment>,
    pub(crate) account: AccountId,
    pub(crate) fulfiller: Fulfiller,
    batches: u8,
}

impl World {
    /// An account `tim@example.org` with the usual folders.
    pub(crate) fn new() -> World {
        let directory = Arc::new(MemDirectory::new());
        directory.add("tim@example.org", "tanstaafl").unwrap();
        for other in ["fred@example.org", "root@example.org", "team@example.org"] {
            directory.add(other, "tanstaafl").unwrap();
        }
        World::with_directory(directory)
    }

    /// The same without deriving the verifier of the password again, which takes its time.
    pub(crate) fn renew(&self) -> World {
        World::with_directory(self.directory.clone())
    }

    /// The same for tests that never ask for a password.
    pub(crate) fn new_trusting() -> World {
        World::with_directory(Arc::new(MemDirectory::new()))
    }

    fn with_directory(directory: Arc<MemDirectory>) -> World {
        let store = MemStore::new();
        let account = AccountId::new(1).unwrap();
        now(store.provision(account, &[(Role::Sent, "Sent"), (Role::Trash, "Trash")])).unwrap();
        let environment = Arc::new(TestEnvironment::new(1));
        let (fulfiller, batches) = (Self::fulfiller_of(&store, &directory, &environment), 0);
        World { store, directory, environment, account, fulfiller, batches }
    }

    fn fulfiller_of(store: &MemStore, directory: &Arc<MemDirectory>, environment: &Arc<TestEnvironment>) -> Fulfiller {
        Fulfiller::new(Arc::new(store.clone()), directory.clone(), environment.clone(), &peer(false))
    }

    /// Another client of the same account.
    pub(crate) fn another(&self) -> Fulfiller {
        Self::fulfiller_of(&self.store, &self.directory, &self.environment)
    }

    pub(crate) fn folder(&self, name: &str) -> Folder {
        let list = now(self.store.folders(self.account)).unwrap();
        let path: Vec<&str> = name.split('/').collect();
        list.by_path(&path).unwrap_or_else(|| panic!("no folder {name}")).clone()
    }

    fn commit(&mut self, op: Op) {
        self.commit_for(self.account, op);
    }

    fn commit_for(&mut self, account: AccountId, op: Op) {
        self.batches += 1;
        let batch = Batch::new(BatchId([self.batches; 16]), account, vec![op]);
        now(self.store.commit(batch)).unwrap();
    }

    /// Other people, who share: fred (account 2), root (3), who sets quotas, and team (4), whose mailboxes are the shared
    /// namespace.
    pub(crate) fn share(&mut self) {
        for number in 2..=4 {
            now(self.store.provision(AccountId::new(number).unwrap(), &[])).unwrap();
        }
        let root: &[AccountId] = &[AccountId::new(3).unwrap()];
        let sharing = Sharing::new(self.directory.clone()).with_shared(AccountId::new(4)).with_administrators(root);
        self.fulfiller = self.another().with_sharing(sharing);
    }

    /// Something in the account of somebody else: `fred make Work`, `fred grant Work tim@example.org lr`,
    /// `fred deliver Work one`.
    fn of_others(&mut self, number: u64, words: &[&str]) -> Result<(), String> {
        let account = AccountId::new(number).unwrap();
        let list = now(self.store.folders(account)).unwrap();
        let folder = |name: &str| {
            let path: Vec<&str> = name.split('/').collect();
            list.by_path(&path).unwrap_or_else(|| panic!("no folder {name}")).id
        };
        match words {
            ["make", name] => {
                let (parent, name) = match name.rsplit_once('/') {
                    Some((parent, name)) => (Some(folder(parent)), name),
                    None => (None, *name),
                };
                self.commit_for(account, Op::CreateFolder { parent, name: name.into(), role: None });
            }
            ["deliver", name, message] => {
                let folder = folder(name);
                let mut upload = now(self.store.upload(UploadOptions::new(1 << 30))).unwrap();
                now(upload.write(message_named(message).into())).unwrap();
                let content = Content::Staged(now(upload.finish()).unwrap());
                let flags = FlagSet::new();
                self.commit_for(
                    account,
                    Op::Add(AddItem { folder, content, flags, internal_date: START.at_offset(60) }),
                );
            }
            ["grant", name, who, rights] => {
                let negative = who.starts_with('-');
                let grantee = match now(self.directory.resolve(who.trim_start_matches('-'))) {
                    Ok(Resolution::Mailboxes(principals)) => Grantee::Account(principals[0].account),
                    _ => Grantee::Anyone,
                };
                let rights = RightsChange::Replace(Rights::parse(rights.as_bytes()).unwrap());
                let change = AclChange::new(grantee, rights);
                let change = if negative { change.negative() } else { change };
                now(self.store.change_acl(account, folder(name), change)).unwrap();
            }
            _ => return Err(format!("nobody can {words:?}")),
        }
        Ok(())
    }

    /// Puts a message into a folder, as delivery does.
    pub(crate) fn deliver(&mut self, folder: &str, octets: &[u8], flags: FlagSet) {
        let folder = self.folder(folder).id;
        let mut upload = now(self.store.upload(UploadOptions::new(1 << 30))).unwrap();
        now(upload.write(Bytes::copy_from_slice(octets))).unwrap();
        let content = Content::Staged(now(upload.finish()).unwrap());
        self.commit(Op::Add(AddItem { folder, content, flags, internal_date: START.at_offset(60) }));
    }

    /// Somebody else does something: `deliver FOLDER N`, `flag FOLDER UIDS +\Flag`, `remove FOLDER UIDS`,
    /// `delete FOLDER`, `forget`.
    pub(crate) fn act(&mut self, text: &str) -> Result<News, String> {
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["deliver", folder, message] => {
                let octets = message_named(message);
                self.deliver(folder, &octets, FlagSet::new());
            }
            ["flag", folder, uids, change] => {
                let (add, flag) = (change.starts_with('+'), &change[1..]);
                let mut flags = FlagSet::new();
                match (SystemFlags::by_name(flag), Keyword::new(flag)) {
                    (Some(flag), _) => flags.system = flag,
                    (None, Some(keyword)) => flags.insert(keyword),
                    _ => return Err(format!("{flag} is no flag")),
                }
                let change = if add { FlagChange::Add(flags) } else { FlagChange::Remove(flags) };
                let (folder, uids) = (self.folder(folder).id, uid_set(uids));
                self.commit(Op::SetFlags { folder, uids, change, unchanged_since: None });
            }
            ["remove", folder, uids] => {
                let folder = self.folder(folder).id;
                self.commit(Op::Remove { folder, uids: uid_set(uids), only_deleted: false });
            }
            ["delete", folder] => {
                let folder = self.folder(folder).id;
                self.commit(Op::DeleteFolder { folder });
            }
            ["forget"] => {
                self.store.advance(Duration::from_secs(3600));
                now(self.store.forget_removals(self.account, Duration::ZERO)).unwrap();
            }
            ["hint"] => {}
            ["quota", limits @ ..] => {
                let limit = |at: usize| limits.get(at).and_then(|limit| limit.parse().ok());
                let limits = QuotaLimits::none().with_storage(limit(0)).with_messages(limit(1)).with_folders(limit(2));
                now(QuotaStore::set_quota(&self.store, self.account, limits)).unwrap();
            }
            ["fred", words @ ..] => {
                self.of_others(2, words)?;
                return Ok(self.hint_of(2));
            }
            ["team", words @ ..] => {
                self.of_others(4, words)?;
                return Ok(self.hint_of(4));
            }
            _ => return Err(format!("nobody can {text}")),
        }
        Ok(self.hint())
    }

    pub(crate) fn hint(&self) -> News {
        self.hint_of(self.account.value())
    }

    fn hint_of(&self, number: u64) -> News {
        let account = AccountId::new(number).unwrap();
        let upto = now(self.store.account(account)).unwrap().at;
        News::Hint { account, upto }
    }
}

pub(crate) fn uid_set(text: &str) -> UidSet {
    let mut set = UidSet::new();
    for range in text.split(',') {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let uid = |text: &str| Uid::new(text.parse().unwrap()).unwrap();
        set.insert_range(uid(first)..=uid(last));
    }
    set
}

/// Messages by name.
pub(crate) fn message_named(name: &str) -> Vec<u8> {
    match name {
        "one" => b"From: Ann <ann@example.org>\r\nTo: tim@example.org\r\nSubject: first\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\nworld\r\n".to_vec(),
        "two" => b"From: Bob <bob@example.org>\r\nSubject: second\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\npreamble\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nplain part\r\n--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: 7bit\r\n\r\n<p>html part</p>\r\n--b--\r\n".to_vec(),
        "three" => b"Subject: third\r\n\r\n\r\n".to_vec(),
        "encoded" => b"Subject: encoded\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nVGhpcyBpcw0KIHRleHQ=\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: BASE64\r\n\r\nAGJpbmFyeQBvY3RldHMBAgME\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=\r\n=C3=9Fe\r\n--b\r\nContent-Transfer-Encoding: x-own\r\n\r\nabc\r\n--b--\r\n".to_vec(),
        "international" => "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nFrom: =?iso-8859-1?Q?J=FCrgen?= <j@example.org>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nViele Grüße\r\n".as_bytes().to_vec(),
        "nul" => b"Subject: a\0b\r\n\r\nc\0d\r\n".to_vec(),
        "empty" => b"\r\n".to_vec(),
        // A conversation, and two that are not in it.
        "minutes" => dated("zoe@example.org (Zoe)", "Minutes", 10, "Message-ID: <root@x>\r\nTo: Tim <tim@x>\r\n"),
        "reply" => dated("Bob <b@example.org>", "Re: Minutes", 12, "Message-ID: <reply@x>\r\nIn-Reply-To: <root@x>\r\n"),
        "branch" => dated("\"alice\" <x@example.org>", "Re: minutes", 11, "Message-ID: <b@x>\r\nReferences: <root@x>\r\n"),
        "leaf" => dated("=?utf-8?q?=C3=89ric?= <c@example.org>", "Re: Minutes", 13, "References: <root@x> <reply@x>\r\nCc: w@x\r\n"),
        "agenda" => dated("m@example.org", "[list] agenda", 9, "X-Filler: of some length, so that it is larger than others are here\r\nCc: v@x\r\n"),
        "forward" => dated("m@example.net", "Fwd: Agenda", 14, "References: <gone@x>\r\n"),
        "big" => {
            let mut octets = b"Subject: big\r\nX-Long: folded\r\n\tvalue\r\n\r\n".to_vec();
            while octets.len() < 400 {
                octets.extend_from_slice(b"01234567890123456789012345678901234567\r\n");
            }
            octets
        }
        other => panic!("no message {other}"),
    }
}

/// A message of November 2026.
fn dated(from: &str, subject: &str, day: u32, more: &str) -> Vec<u8> {
    format!("From: {from}\r\nSubject: {subject}\r\nDate: {day} Nov 2026 10:00:00 +0000\r\n{more}\r\nhello\r\n")
        .into_bytes()
}

pub(crate) fn peer(tls: bool) -> Peer {
    let address = "192.0.2.1:4711".parse().unwrap();
    if tls { Peer::with_tls(address, LayerInfo::new()) } else { Peer::new(address) }
}

pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.greeting = "imap.example.org ready".into();
    config.id = vec![("name".into(), "transcript".into())];
    config.allow_cleartext = true;
    config.mechanisms = vec![Mechanism::parse(b"SCRAM-SHA-256").unwrap(), Mechanism::Plain];
    config
}

/// Feeds lines and answers truly until the session waits; returns what it said. Any password is right.
pub(crate) fn play(server: &mut Server, fulfiller: &mut Fulfiller, mut input: &[u8]) -> Vec<u8> {
    let start = epoch();
    let mut said = Vec::new();
    loop {
        match server.poll_output(start, 0) {
            Output::Send(octets) => said.extend_from_slice(&octets),
            Output::Request(request) => server.resume(trust(fulfiller, request)),
            Output::Wait(wait) if input.is_empty() || !wait.input => return said,
            Output::Wait(_) => {
                let taken = server.handle_input(input);
                input = &input[taken..];
            }
            Output::Event(_) => {}
            Output::Layer(_) => server.layered(Ok(LayerInfo::new())),
            Output::Close(_) => return said,
        }
    }
}

/// The true answer, but that any login is right: deriving keys takes its time.
pub(crate) fn trust(fulfiller: &mut Fulfiller, request: Request) -> Answered {
    let mut authenticated = |user: &str| {
        let number = ["fred@example.org", "root@example.org"].iter().position(|known| *known == user);
        let account = AccountId::new(number.map_or(1, |at| at as u64 + 2)).unwrap();
        let principal = Principal { account, address: user.to_owned(), aliases: Vec::new(), display_name: None };
        let abilities = fulfiller.act_as(&principal);
        Authenticated::new(account, user.to_owned(), MemStore::CAPS.max_message, MemStore::CAPS.max_ops)
            .with_abilities(abilities)
    };
    match request {
        Request::Login(pending) => {
            let authenticated = authenticated(&pending.query.user);
            pending.answer(Ok(authenticated))
        }
        Request::Sasl(pending) => pending.answer(SaslStep::Authenticated(authenticated("somebody"))),
        request => now(fulfiller.answer(request)),
    }
}

/// The adapter of transcripts.
pub(crate) struct Mailboxes {
    world: World,
}

impl Default for Mailboxes {
    fn default() -> Mailboxes {
        Mailboxes { world: World::new() }
    }
}

impl Adapter for Mailboxes {
    type Session = Server;

    fn session(&mut self, header: &Header) -> Server {
        assert_eq!(header.value("session"), Some("imap-server"));
        self.world = self.world.renew();
        let mut config = config();
        config.allow_cleartext = header.value("cleartext") != Some("off");
        let on = |key: &str| header.value(key) == Some("on");
        config.starttls = on("starttls");
        config.compress = on("compress");
        config.unauthenticate = on("unauthenticate");
        config.login_referrals = on("referrals");
        if let Some(disabled) = header.value("disabled") {
            config.disabled = disabled.split(',').map(str::to_owned).collect();
        }
        let limits = &mut config.limits;
        let size = |key: &str, limit: &mut usize| {
            if let Some(value) = header.number(key) {
                *limit = usize::try_from(value).unwrap();
            }
        };
        size("line", &mut limits.line);
        size("literals", &mut limits.literals);
        size("low-water", &mut limits.low_water);
        size("read", &mut limits.read);
        size("batch", &mut limits.batch);
        size("rows", &mut limits.rows);
        size("appends", &mut limits.appends);
        let number = |key: &str| header.number(key).map(|value| u32::try_from(value).unwrap());
        limits.messages = number("message-limit");
        limits.saves = number("save-limit");
        limits.uid_batch = header.number("uid-batch").map_or(limits.uid_batch, |value| u32::try_from(value).unwrap());
        size("contexts", &mut limits.contexts);
        size("context-results", &mut limits.context_results);
        size("ordered", &mut limits.order.messages);
        limits.inline = header.number("inline").unwrap_or(limits.inline);
        if let Some(message) = header.number("message") {
            limits.message = message;
        }
        if let Some(discard) = header.number("discard") {
            limits.discard = discard;
        }
        if header.value("people") == Some("on") {
            self.world.share();
        }
        if let Some((entries, octets)) = header.value("annotations").and_then(|limits| limits.split_once(' ')) {
            let mut limits = Limits::default();
            limits.metadata = MetadataLimits::new(octets.parse().unwrap(), entries.parse().unwrap());
            self.world.fulfiller = self.world.another().with_limits(limits);
        }
        for act in header.value("before").into_iter().flat_map(|acts| acts.split("; ")) {
            self.world.act(act).unwrap();
        }
        for name in header.value("messages").unwrap_or("one two three").split(' ').filter(|name| *name != "none") {
            self.world.deliver("INBOX", &message_named(name), FlagSet::new());
        }
        let mut server = Server::new(Arc::new(config), &peer(header.value("tls") == Some("on")));
        let script: &[u8] = match header.value("state").unwrap_or("start") {
            "start" => return server,
            "authenticated" => b"- LOGIN tim@example.org tanstaafl\r\n",
            "root" => b"- LOGIN root@example.org tanstaafl\r\n",
            "selected" => b"- LOGIN tim@example.org tanstaafl\r\n- SELECT INBOX\r\n",
            "examined" => b"- LOGIN tim@example.org tanstaafl\r\n- EXAMINE INBOX\r\n",
            other => panic!("no state {other}"),
        };
        play(&mut server, &mut self.world.fulfiller, script);
        server
    }

    fn asked(&mut self, request: &Request) -> Asked {
        asked(request)
    }

    fn answer(&mut self, request: Request, text: &str) -> Result<Answered, String> {
        answer(&mut self.world.fulfiller, request, text)
    }

    fn usual(&mut self, _request: &Request) -> Option<String> {
        Some("ok".to_owned())
    }

    fn event(&mut self, event: &Event) -> Option<String> {
        Some(format!("{event:?}"))
    }

    fn news(&mut self, text: &str) -> Result<News, String> {
        self.world.act(text)
    }
}

/// A question in a few words.
pub(crate) fn asked(request: &Request) -> Asked {
    let set = |uids: &UidSet| {
        let ranges = uids.ranges().map(|range| match (range.start().value(), range.end().value()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}:{last}"),
        });
        ranges.collect::<Vec<_>>().join(",")
    };
    Asked::Whole(match request {
        Request::AppendChunk(pending) => {
            let AppendChunk { octets } = &pending.query;
            return Asked::Piece("AppendChunk".into(), octets.clone());
        }
        Request::Login(pending) => format!("Login {}", pending.query.user),
        Request::Sasl(pending) => {
            let query = &pending.query;
            let start = query.start.as_ref().map(|start| format!(" {}", start.mechanism)).unwrap_or_default();
            let octets = query.octets.as_ref().map(|octets| format!(" \"{}\"", escape::render(octets.expose())));
            format!("Sasl{start}{}", octets.unwrap_or_default())
        }
        Request::View(pending) if pending.query.claim_recent => "View claiming".into(),
        Request::Items(pending) => {
            let projection = pending.query.options.projection;
            let names: Vec<&str> = projection.iter_names().map(|(name, _)| name).collect();
            format!("Items {} {}", set(&pending.query.uids), names.join("|")).trim_end().to_owned()
        }
        Request::ReadBody(pending) => format!("ReadBody {}+{}", pending.query.offset, pending.query.max),
        Request::Search(pending) => format!("Search {}", set(&pending.query.uids)),
        Request::SetFlags(pending) => {
            let (word, flags) = match &pending.query.change {
                FlagChange::Add(flags) => ("add", flags),
                FlagChange::Remove(flags) => ("remove", flags),
                FlagChange::Replace(flags) => ("replace", flags),
            };
            let since = if pending.query.unchanged_since.is_some() { " unless changed" } else { "" };
            format!("SetFlags {} {word} {:?} {:?}{since}", set(&pending.query.uids), flags.system, flags.keywords())
        }
        Request::Copy(pending) => format!("Copy {}", set(&pending.query.uids)),
        Request::Move(pending) => format!("Move {}", set(&pending.query.uids)),
        Request::Expunge(pending) => format!("Expunge {}", set(&pending.query.uids)),
        Request::AppendOpen(pending) => match pending.query.size {
            Some(size) => format!("AppendOpen {size}"),
            None => "AppendOpen parts".into(),
        },
        Request::AppendCommit(pending) if pending.query.messages.len() > 1 || pending.query.replaces.is_some() => {
            let replaces = pending.query.replaces.map(|replaced| format!(" replacing {}", replaced.uid.value()));
            format!("AppendCommit {}{}", pending.query.messages.len(), replaces.unwrap_or_default())
        }
        Request::CreateFolder(pending) => {
            format!("CreateFolder {} {:?}", pending.query.path.join("/"), pending.query.role)
        }
        Request::RenameFolder(pending) => format!("RenameFolder {}", pending.query.path.join("/")),
        Request::RenameInbox(pending) => format!("RenameInbox {}", pending.query.path.join("/")),
        Request::Subscribe(pending) => {
            format!("Subscribe {} {}", pending.query.path.join("/"), pending.query.subscribed)
        }
        other => other.name().to_owned(),
    })
}

/// `ok` for the store's own answer, `decline`, or the name of a refusal.
pub(crate) fn answer(fulfiller: &mut Fulfiller, request: Request, text: &str) -> Result<Answered, String> {
    // Somebody who is sent to another server, or has not every capability.
    let request = match request {
        Request::Login(pending) if text == "elsewhere" => {
            return Ok(pending.answer(Err(LoginFailure::Elsewhere("imap://tim@imap2.example.org/".into()))));
        }
        Request::Login(pending) if text == "referred" || text.starts_with("without ") => {
            let account = AccountId::new(1).unwrap();
            let mut authenticated = Authenticated::new(account, pending.query.user.clone(), 1 << 20, 1000);
            match text.strip_prefix("without ") {
                Some(names) => authenticated.disabled = names.split(',').map(str::to_owned).collect(),
                None => authenticated.referral = Some("imap://tim@imap2.example.org/".into()),
            }
            return Ok(pending.answer(Ok(authenticated)));
        }
        request => request,
    };
    // A page of a store that keeps no summaries.
    let request = match request {
        Request::Items(mut pending) if text == "bare" => {
            pending.query.options.projection.remove(Projection::SUMMARY);
            return Ok(now(fulfiller.answer(Request::Items(pending))));
        }
        request => request,
    };
    if text == "ok" {
        return Ok(now(fulfiller.answer(request)));
    }
    let refusal = match text {
        "NotFound" => Refusal::NotFound,
        "Gap" => Refusal::Gap,
        "OverQuota" => Refusal::OverQuota,
        "Busy" => Refusal::Busy,
        "Unavailable" | "decline" | "short" => Refusal::Unavailable,
        other => return Err(format!("no answer {other}")),
    };
    Ok(match request {
        Request::Login(pending) => pending.answer(Err(LoginFailure::Unavailable)),
        Request::Sasl(pending) => pending.answer(SaslStep::Failed(LoginFailure::Unavailable)),
        Request::ReadBody(pending) if text == "short" => pending.answer(Ok(Bytes::new())),
        Request::Folders(pending) => pending.answer(Err(refusal)),
        Request::View(pending) => pending.answer(Err(refusal)),
        Request::Items(pending) => pending.answer(Err(refusal)),
        Request::ReadBody(pending) => pending.answer(Err(refusal)),
        Request::Changes(pending) => pending.answer(Err(refusal)),
        Request::Search(pending) => pending.answer(Err(refusal)),
        Request::SetFlags(pending) => pending.answer(Err(refusal)),
        Request::Copy(pending) => pending.answer(Err(refusal)),
        Request::Move(pending) => pending.answer(Err(refusal)),
        Request::Expunge(pending) => pending.answer(Err(refusal)),
        Request::AppendOpen(pending) => pending.answer(Err(refusal)),
        Request::AppendChunk(pending) => pending.answer(Err(refusal)),
        Request::AppendCommit(pending) => pending.answer(Err(refusal)),
        Request::CreateFolder(pending) => pending.answer(Err(refusal)),
        Request::RenameFolder(pending) => pending.answer(Err(refusal)),
        Request::RenameInbox(pending) => pending.answer(Err(refusal)),
        Request::DeleteFolder(pending) => pending.answer(Err(refusal)),
        Request::Subscribe(pending) => pending.answer(Err(refusal)),
        request => request.decline(),
    })
}
