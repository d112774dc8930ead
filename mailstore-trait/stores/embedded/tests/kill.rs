//! kill -9 at random moments under load: what was acknowledged is there, whole and once; the rest is there or not.
//!
//! The test starts itself again as children that deliver, flag, move and expunge from several tasks, saying on standard
//! output what they try and what was acknowledged. The parent kills them, opens the store, and compares. In every
//! third round two children write to the store at once. A mirror that follows `changes()` from kill to kill must
//! always equal what the folders hold: a number that was given out and came to nothing would show there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod common;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use mailstore_embedded::{Config, Store};
use mailstore_trait::batch::{AccountOps, Batch, Content, Op};
use mailstore_trait::change::{ChangeKind, ChangesOptions};
use mailstore_trait::flags::{FlagChange, FlagSet, SystemFlags};
use mailstore_trait::id::{EmailId, FolderId, ModSeq};
use mailstore_trait::item::ItemsOptions;
use mailstore_trait::store::{MailStore, ViewOptions};
use mailstore_trait::uid_set::UidSet;

const CHILD: &str = "MAILSTORE_KILL_CHILD";
const WORKERS: u64 = 6;
const OTHER: u64 = 2;

#[test]
fn kill_nine_loses_nothing() {
    match std::env::var(CHILD) {
        Ok(role) => child(&role),
        Err(_) => kills(12),
    }
}

#[test]
#[ignore = "needs about a minute: sixty kills"]
fn sixty_kills_lose_nothing() {
    kills(60);
}

/// A small generator, so that a failure can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The message of a token: most are small, some are large enough for a file.
fn message(token: &str) -> Vec<u8> {
    let mut dice = Dice(
        token
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3))
            | 1,
    );
    let size = if dice.throw(8) == 0 { 40_000 + dice.throw(60_000) } else { 200 + dice.throw(6000) };
    let mut octets = format!("Subject: {token}\r\n\r\n").into_bytes();
    while octets.len() < usize::try_from(size).unwrap() {
        octets.extend_from_slice(format!("{:016x}\r\n", dice.throw(u64::MAX)).as_bytes());
    }
    octets
}

fn config() -> Config {
    let mut config = Config::default();
    config.maintenance_interval = Duration::from_millis(50);
    config.grace = Duration::from_millis(100);
    config
}

async fn folders(store: &Store) -> (FolderId, FolderId, FolderId) {
    let list = store.folders(account(ME)).await.unwrap();
    let archive = list.by_path(&["archive"]).unwrap().id;
    (list.inbox().unwrap().id, archive, inbox(store, OTHER).await.id)
}

// ---- the child ----

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn child(role: &str) {
    let (folder, name) = role.rsplit_once('\n').unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(folder, config()).unwrap();
        let mut tasks = Vec::new();
        for worker in 0..WORKERS {
            tasks.push(tokio::spawn(work(store.clone(), format!("{name}.{worker}"), worker)));
        }
        say("ready");
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn work(store: Store, name: String, worker: u64) {
    let (inbox, archive, other) = folders(&store).await;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (worker + 1) ^ name.len() as u64);
    let mut mine: Vec<(String, FolderId, mailstore_trait::id::Uid)> = Vec::new();
    for n in 0.. {
        let token = format!("{name}.{n}");
        let both = dice.throw(5) == 0;
        let verb = if both { "both" } else { "deliver" };
        let staged = stage(&store, &message(&token)).await;
        let op = |folder| add(folder, Content::Staged(staged.clone()), FlagSet::new());
        let mut batch = Batch::new(batch_id(), account(ME), vec![op(inbox)]);
        if both {
            batch.accounts.push(AccountOps { account: account(OTHER), ops: vec![op(other)] });
        }
        say(&format!("try {name} {verb} {token}"));
        let done = store.commit(batch).await.unwrap();
        let uid = added(&done.accounts[0].outcomes[0]).uid;
        say(&format!("ack {name} {verb} {token} {} {}", uid.value(), done.accounts[0].upto));
        mine.push((token, inbox, uid));
        for _ in 0..dice.throw(3) {
            if mine.is_empty() {
                break;
            }
            let at = usize::try_from(dice.throw(mine.len() as u64)).unwrap();
            let (token, folder, uid) = mine[at].clone();
            let uids: UidSet = [uid].into_iter().collect();
            let (verb, op) = match dice.throw(3) {
                0 => {
                    let change = FlagChange::Add((SystemFlags::SEEN | SystemFlags::FLAGGED).into());
                    ("flag", Op::SetFlags { folder, uids, change, unchanged_since: None })
                }
                1 if folder == inbox => ("move", Op::Move { from: inbox, uids, to: archive }),
                _ => ("expunge", Op::Remove { folder, uids, only_deleted: false }),
            };
            say(&format!("try {name} {verb} {token}"));
            let done = commit(&store, ME, vec![op]).await;
            let mut new = 0;
            match (verb, &done.accounts[0].outcomes[0]) {
                ("move", mailstore_trait::batch::OpOutcome::Transferred { to, .. }) => {
                    let uid = to.iter().next().unwrap();
                    new = uid.value();
                    mine[at] = (token.clone(), archive, uid);
                }
                ("expunge", _) => drop(mine.remove(at)),
                _ => {}
            }
            say(&format!("ack {name} {verb} {token} {new} {}", done.accounts[0].upto));
        }
    }
}

// ---- the parent ----

#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    archived: bool,
    flagged: bool,
    gone: bool,
    twin: bool,
}

#[derive(Default)]
struct Parent {
    /// What must be there.
    known: BTreeMap<String, Known>,
    /// What each worker was at when it died.
    doubt: HashMap<String, (String, String)>,
    tokens: HashMap<EmailId, String>,
    /// The highest UID that was acknowledged, by folder.
    highest_uid: HashMap<bool, u32>,
    upto: u64,
    acknowledged: usize,
    cursor: Option<ModSeq>,
    mirror: HashSet<(FolderId, u32)>,
}

fn spawn(folder: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["kill_nine_loses_nothing", "--exact", "--nocapture"])
        .env(CHILD, format!("{}\n{name}", folder.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn kills(rounds: u64) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(folder.path(), config()).unwrap();
        for number in [ME, OTHER] {
            store.provision(account(number), &[]).await.unwrap();
        }
        one(&store, Op::CreateFolder { parent: None, name: "archive".into(), role: None }).await;
        store.close().await;
    });
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let mut dice = Dice(u64::try_from(seed & 0xffff_ffff).unwrap() | 1);
    let mut parent = Parent::default();
    for round in 0..rounds {
        let children = if round % 3 == 2 { 2 } else { 1 };
        let mut running: Vec<_> = (0..children).map(|n| spawn(folder.path(), &format!("{round}-{n}"))).collect();
        let readers: Vec<_> = running
            .iter_mut()
            .map(|child| {
                let out = child.stdout.take().unwrap();
                let (ready, is_ready) = std::sync::mpsc::channel();
                let lines = std::thread::spawn(move || {
                    let mut lines = Vec::new();
                    for line in BufReader::new(out).lines().map_while(Result::ok) {
                        if line == "ready" {
                            ready.send(()).unwrap();
                        }
                        lines.push(line);
                    }
                    lines
                });
                is_ready.recv_timeout(Duration::from_secs(60)).expect("the child did not come up");
                lines
            })
            .collect();
        for child in &mut running {
            std::thread::sleep(Duration::from_millis(5 + dice.throw(250)));
            // SIGKILL on Unix, TerminateProcess on Windows: no destructor runs.
            child.kill().unwrap();
            child.wait().unwrap();
        }
        for lines in readers {
            parent.hear(&lines.join().unwrap());
        }
        let began = Instant::now();
        runtime.block_on(parent.verify(folder.path(), round + 1 == rounds));
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    assert!(parent.acknowledged > usize::try_from(rounds).unwrap() * 5, "too little happened to prove anything");
    println!("{rounds} kills, {} acknowledged, {} messages left", parent.acknowledged, parent.mirror.len());
}

impl Parent {
    fn hear(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["try", worker, verb, token] => {
                    self.doubt.insert(worker.into(), (verb.into(), token.into()));
                }
                ["ack", worker, verb, token, uid, upto] => {
                    self.doubt.remove(worker);
                    self.acknowledged += 1;
                    self.upto = self.upto.max(upto.parse().unwrap());
                    let uid: u32 = uid.parse().unwrap();
                    if uid > 0 {
                        let highest = self.highest_uid.entry(verb == "move").or_default();
                        *highest = uid.max(*highest);
                    }
                    let known = self.known.entry(token.into()).or_default();
                    apply(known, verb);
                }
                _ => {}
            }
        }
    }

    async fn verify(&mut self, folder: &Path, last: bool) {
        let store = Store::open(folder, config()).unwrap();
        assert_sound(&store).await;
        let (inbox, archive, other) = folders(&store).await;
        let state = store.account(account(ME)).await.unwrap();
        assert!(state.at.value() >= self.upto, "acknowledged change {} is lost: at {}", self.upto, state.at);
        if last {
            self.tokens.clear();
        }
        let mut found: BTreeMap<String, Known> = BTreeMap::new();
        let mut listed = HashSet::new();
        for (place, number) in [(inbox, ME), (archive, ME), (other, OTHER)] {
            let view = store.view(account(number), place, ViewOptions::default()).await.unwrap();
            let mut options = ItemsOptions::default();
            options.max_rows = usize::MAX;
            let page = store.items(account(number), place, &UidSet::all(), options).await.unwrap();
            assert_eq!(page.rows().len(), view.uids.len() as usize);
            for row in page.rows() {
                let token = match self.tokens.get(&row.email) {
                    Some(token) => token.clone(),
                    None => {
                        let octets = read_all(&store, number, row.email, 50_000).await;
                        let text = String::from_utf8(octets[9..60.min(octets.len())].to_vec()).unwrap();
                        let token = text.split("\r\n").next().unwrap().to_owned();
                        assert!(octets == message(&token), "{token} is not whole");
                        self.tokens.insert(row.email, token.clone());
                        token
                    }
                };
                if number == OTHER {
                    let known = found.entry(token).or_insert(Known { gone: true, ..Known::default() });
                    assert!(!std::mem::replace(&mut known.twin, true), "twice in the other account");
                    continue;
                }
                listed.insert((place, row.uid.value()));
                let flagged = match row.flags {
                    flags if flags.is_empty() => false,
                    flags => {
                        assert_eq!(flags, SystemFlags::SEEN | SystemFlags::FLAGGED, "half a flag change of {token}");
                        true
                    }
                };
                let here = Known { archived: number == ME && place == archive, flagged, ..Known::default() };
                assert_eq!(found.insert(token.clone(), here), None, "{token} is there twice");
            }
            if number == ME {
                let highest = self.highest_uid.get(&(number == ME && place == archive)).copied().unwrap_or(0);
                assert!(view.folder.uid_next.value() > highest, "UIDs up to {highest} were given before");
            }
        }
        self.settle(&found);
        let expected: BTreeMap<_, _> = self
            .known
            .iter()
            .filter(|(_, known)| !known.gone || known.twin)
            .map(|(token, known)| {
                let mut known = known.clone();
                if known.gone {
                    (known.archived, known.flagged) = (false, false);
                }
                (token.clone(), known)
            })
            .collect();
        let differ: Vec<_> = expected
            .keys()
            .chain(found.keys())
            .filter(|token| expected.get(*token) != found.get(*token))
            .map(|token| (token, expected.get(token), found.get(token)))
            .collect();
        assert!(differ.is_empty(), "expected and found: {differ:?}");
        self.follow(&store).await;
        assert_eq!(self.mirror, listed, "whoever follows the changes sees another mailbox");
        store.close().await;
    }

    /// What was in doubt was done or not; from here on it is known.
    fn settle(&mut self, found: &BTreeMap<String, Known>) {
        for (_, (verb, token)) in std::mem::take(&mut self.doubt) {
            let seen = found.get(&token);
            let delivers = verb == "deliver" || verb == "both";
            match self.known.get(&token).cloned() {
                None => {
                    assert!(delivers, "{token}: {verb} before it was delivered");
                    if seen.is_some() {
                        let mut known = Known::default();
                        apply(&mut known, &verb);
                        self.known.insert(token, known);
                    }
                }
                Some(mut known) => {
                    apply(&mut known, &verb);
                    let done = match seen {
                        None => known.gone,
                        Some(seen) if known.gone => seen.gone,
                        Some(seen) => *seen == known,
                    };
                    if done {
                        self.known.insert(token, known);
                    }
                }
            }
        }
    }

    async fn follow(&mut self, store: &Store) {
        let mut cursor = self.cursor.unwrap_or(ModSeq::FIRST);
        loop {
            let options = ChangesOptions::since(cursor).at_most(700);
            let page = store.changes(account(ME), options).await.unwrap();
            for record in &page.records {
                assert!(record.change > cursor);
                cursor = record.change;
                let Some((_, uid)) = record.item else { continue };
                let place = (record.folder, uid.value());
                if record.kind.contains(ChangeKind::REMOVED) {
                    self.mirror.remove(&place);
                } else {
                    self.mirror.insert(place);
                }
            }
            cursor = page.upto;
            if !page.more {
                break;
            }
        }
        self.cursor = Some(cursor);
    }
}

fn apply(known: &mut Known, verb: &str) {
    match verb {
        "deliver" => {}
        "both" => known.twin = true,
        "flag" => known.flagged = true,
        "move" => known.archived = true,
        "expunge" => known.gone = true,
        other => panic!("{other}"),
    }
}
