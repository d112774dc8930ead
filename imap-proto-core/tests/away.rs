//! A client that comes and goes ends with the mailbox the store has: no removal and no flag is lost on it, whether the
//! store remembers what happened or not (RFC 7162 §3.2).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic here is a failing test")]

#[path = "support/mailbox.rs"]
mod mailbox;

use std::collections::BTreeMap;
use std::sync::Arc;

use imap_proto_core::Server;
use mailbox::{World, config, message_named, now, peer, play};
use mailstore_trait::flags::{FlagSet, SystemFlags};
use mailstore_trait::item::{ItemsOptions, Projection};
use mailstore_trait::store::{MailStore, ViewOptions};
use mailstore_trait::uid_set::UidSet;
use proptest::prelude::*;

/// What the client keeps between connections, by UID.
#[derive(Debug, Default)]
struct Cache {
    uid_validity: u32,
    highest: u64,
    flagged: BTreeMap<u32, bool>,
}

fn numbers(set: &str) -> Vec<u32> {
    let range = |range: &str| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        first.parse().unwrap()..=last.parse::<u32>().unwrap()
    };
    set.split(',').flat_map(range).collect()
}

fn between<'a>(line: &'a str, from: &str, to: char) -> Option<&'a str> {
    line.split_once(from)?.1.split(to).next()
}

impl Cache {
    fn hear(&mut self, said: &[u8]) {
        let said = String::from_utf8(said.to_vec()).unwrap();
        let mut told = 0;
        let mut corrected = None;
        for line in said.lines() {
            if let Some(validity) = between(line, "[UIDVALIDITY ", ']') {
                self.uid_validity = validity.parse().unwrap();
            }
            let vanished = line.strip_prefix("* VANISHED ").map(|set| set.trim_start_matches("(EARLIER) "));
            if let Some(vanished) = vanished {
                for uid in numbers(vanished) {
                    // New messages were announced with their number only, so it may be one it never asked for.
                    self.flagged.remove(&uid);
                }
            }
            assert!(!line.ends_with(" EXPUNGE"), "{line}");
            if line.contains(" FETCH (") {
                let uid = between(line, "UID ", ' ').unwrap().parse().unwrap();
                if let Some(flags) = between(line, "FLAGS (", ')') {
                    self.flagged.insert(uid, flags.contains("\\Flagged"));
                }
                told = told.max(between(line, "MODSEQ (", ')').unwrap().parse().unwrap());
            }
            if let Some(highest) = between(line, "[HIGHESTMODSEQ ", ']') {
                corrected = Some(highest.parse().unwrap());
            }
            // RFC 7162 §6: the number that is told counts, else the highest of what was told.
            if !line.starts_with('*') {
                self.highest = corrected.take().unwrap_or(self.highest.max(told));
                told = 0;
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Doing {
    /// Somebody else acts.
    Deliver,
    Flag(u32),
    Unflag(u32),
    Remove(u32),
    Forget,
    /// The client sends something.
    Noop,
    StoreOne(u32),
    FetchOne(u32),
    Expunge(u32),
    /// The connection breaks, and the client comes back.
    Back(u8),
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        3 => Just(Doing::Deliver),
        2 => (1u32..12).prop_map(Doing::Flag),
        1 => (1u32..12).prop_map(Doing::Unflag),
        3 => (1u32..12).prop_map(Doing::Remove),
        1 => Just(Doing::Forget),
        1 => Just(Doing::Noop),
        2 => (1u32..12).prop_map(Doing::StoreOne),
        1 => (1u32..12).prop_map(Doing::FetchOne),
        1 => (1u32..12).prop_map(Doing::Expunge),
        2 => any::<u8>().prop_map(Doing::Back),
    ]
}

/// What the store has.
fn truth(world: &World) -> BTreeMap<u32, bool> {
    let inbox = world.folder("INBOX").id;
    let options = ItemsOptions::new(Projection::empty());
    let page = now(world.store.items(world.account, inbox, &UidSet::all(), options)).unwrap();
    page.rows().iter().map(|row| (row.uid.value(), row.flags.contains(SystemFlags::FLAGGED))).collect()
}

fn back(world: &mut World, cache: &mut Cache, how: u8) -> Server {
    let mut server = Server::new(Arc::new(config()), &peer(false));
    world.fulfiller = world.another();
    let known: Vec<String> = cache.flagged.keys().map(u32::to_string).collect();
    let (validity, highest) = (cache.uid_validity, cache.highest);
    let seqs: Vec<String> = (1..=known.len()).map(|seq| seq.to_string()).collect();
    let parameter = match how % 3 {
        _ if known.is_empty() => format!("{validity} {highest}"),
        0 => format!("{validity} {highest}"),
        1 => format!("{validity} {highest} {}", known.join(",")),
        _ => format!("{validity} {highest} {} ({} {})", known.join(","), seqs.join(","), known.join(",")),
    };
    let select = if validity == 0 { String::new() } else { format!(" (QRESYNC ({parameter}))") };
    let script = format!("a LOGIN tim@example.org x\r\nb ENABLE QRESYNC\r\nc SELECT INBOX{select}\r\n");
    cache.hear(&play(&mut server, &mut world.fulfiller, script.as_bytes()));
    // New messages are the client's to ask for.
    let script = b"d UID FETCH 1:* (FLAGS)\r\n";
    let said = play(&mut server, &mut world.fulfiller, script);
    for line in String::from_utf8(said).unwrap().lines().filter(|line| line.contains(" FETCH (")) {
        let uid = between(line, "UID ", ' ').unwrap().parse().unwrap();
        let flagged = between(line, "FLAGS (", ')').unwrap().contains("\\Flagged");
        let known = cache.flagged.insert(uid, flagged);
        assert!(known.is_none_or(|known| known == flagged), "the flags of {uid} were not told");
    }
    server
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_is_lost_on_a_client_that_was_away(doings in prop::collection::vec(doing(), 1..40)) {
        let mut world = World::new_trusting();
        for _ in 0..5 {
            world.deliver("INBOX", &message_named("three"), FlagSet::new());
        }
        let mut cache = Cache::default();
        let mut server = back(&mut world, &mut cache, 0);
        for doing in doings {
            let command = match doing {
                Doing::Deliver => { let _ = world.act("deliver INBOX three").unwrap(); continue }
                Doing::Flag(uid) => { let _ = world.act(&format!("flag INBOX {uid} +\\Flagged")).unwrap(); continue }
                Doing::Unflag(uid) => { let _ = world.act(&format!("flag INBOX {uid} -\\Flagged")).unwrap(); continue }
                Doing::Remove(uid) => { let _ = world.act(&format!("remove INBOX {uid}")).unwrap(); continue }
                Doing::Forget => { let _ = world.act("forget").unwrap(); continue }
                Doing::Noop => "x NOOP\r\n".to_owned(),
                Doing::StoreOne(uid) => format!("x STORE {uid} +FLAGS.SILENT (\\Seen)\r\n"),
                Doing::FetchOne(uid) => format!("x UID FETCH {uid} (FLAGS MODSEQ)\r\n"),
                Doing::Expunge(uid) => format!("x UID STORE {uid} +FLAGS (\\Deleted)\r\ny UID EXPUNGE {uid}\r\n"),
                Doing::Back(how) => {
                    server = back(&mut world, &mut cache, how);
                    prop_assert_eq!(&cache.flagged, &truth(&world));
                    continue;
                }
            };
            cache.hear(&play(&mut server, &mut world.fulfiller, command.as_bytes()));
        }
        drop(server);
        back(&mut world, &mut cache, 2);
        prop_assert_eq!(&cache.flagged, &truth(&world));
        let view = now(world.store.view(world.account, world.folder("INBOX").id, ViewOptions::default())).unwrap();
        prop_assert_eq!(view.uids.len() as usize, cache.flagged.len());
    }
}
