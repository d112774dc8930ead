//! The full-text index: it never misses a message, and it comes along.

use std::time::Duration;

use super::fixture::{Fixture, Handle, uids};
use super::{Rig, Verdict};
use crate::batch::{Content, Op};
use crate::date::Timestamp;
use crate::flags::{FlagSet, SystemFlags};
use crate::id::{FolderId, Uid};
use crate::query::message::MessageSearch;
use crate::query::{Budget, Filter, Search, Test, search_step};
use crate::search::{Candidates, SearchStore};
use crate::uid_set::UidSet;

/// How often an index is looked at until it has come along.
const PATIENCE: usize = 400;

const MAILS: [&str; 7] = [
    "From: \"Smith, Jo\" <jo@example.org>\r\nSubject: minutes of may\r\n\r\nthe quick brown fox\r\n",
    "From: a@example.org\r\nSubject: =?utf-8?q?Caf=C3=A9?= list\r\nX-Odd: peculiar\r\n\r\n\r\n",
    "Subject: encoded\r\nContent-Transfer-Encoding: base64\r\n\r\nYSBmb3ggaW4gZGlzZ3Vpc2U=\r\n",
    "Subject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>brown</p>\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner fox\r\n\r\nquick\r\n--b--\r\n",
    "Subject: \r\n\r\nStra\u{df}e, \u{3b1}\u{3b2}\u{3b3}, \u{65e5}\u{672c}\u{8a9e}\r\n",
    "To: undisclosed:;\r\n\r\nab\r\n",
    "Subject: quotes \"and\" 'all' (that) * OR NOT AND\r\n\r\nfox\0fox -- %_ \r\n",
];

const NEEDLES: [&str; 22] = [
    "fox",
    "FOX",
    "ox in dis",
    "quick brown",
    "rown f",
    "minutes",
    "m",
    "of",
    "cafe",
    "caf\u{e9}",
    "strasse",
    "\u{391}\u{392}",
    "\u{65e5}\u{672c}",
    "peculiar",
    "smith, jo <jo",
    "inner fox",
    "\"and\" 'all'",
    ") * OR NOT",
    "fox\0fox",
    "-- %_",
    "nowhere to be found",
    "",
];

fn filters() -> Vec<Filter> {
    let mut filters = Vec::new();
    for needle in NEEDLES {
        filters.push(Test::body(needle).into());
        filters.push(Test::text(needle).into());
        filters.extend(["Subject", "From", "X-Odd"].map(|name| Test::header(name, needle).into()));
    }
    let seen = || Filter::from(Test::Flags(SystemFlags::SEEN));
    filters.push(Filter::not(Test::body("fox")));
    filters.push(Filter::all([Filter::not(Test::body("fox")), Test::text("brown").into()]));
    filters.push(Filter::any([Test::body("brown").into(), Test::header("Subject", "minutes").into()]));
    filters.push(Filter::any([Test::body("brown").into(), seen()]));
    filters.push(Filter::all([Test::body("fox").into(), seen()]));
    filters
}

/// What the filter wants, found by reading everything.
fn wanted(store: &Handle<'_, '_>, folder: FolderId, filter: &Filter) -> UidSet {
    let search = Search::new(filter.clone(), Timestamp::default());
    let mut wanted = UidSet::new();
    for (row, flags) in store.rows(folder) {
        let content = store.content(row.email, 1 << 20).expect("a message that is there can be read");
        let answers = filter.tests().map(|test| match test {
            Test::Flags(want) => Some(flags.system.contains(*want)),
            Test::Body(pattern) | Test::Text(pattern) if pattern.is_empty() => Some(true),
            _ => None,
        });
        let mut run = MessageSearch::new(&search, answers.collect(), content.len() as u64);
        while let Some(octets) = run.wants() {
            let at = |offset| usize::try_from(offset).expect("a small message").min(content.len());
            run.feed(&search, &content[at(octets.start)..at(octets.end)]);
        }
        if run.decided(&search) == Some(true) {
            wanted.insert(row.uid);
        }
    }
    wanted
}

fn candidates(
    store: &Handle<'_, '_>,
    index: &dyn SearchStore,
    folder: FolderId,
    filter: &Filter,
) -> Option<Candidates> {
    store.wait(index.candidates(store.fixture.account, folder, filter)).expect("the folder is there")
}

/// Everything wanted is among the candidates or in the tail, and a search finds exactly that.
fn agree(store: &Handle<'_, '_>, index: &dyn SearchStore, folder: FolderId) {
    for filter in filters() {
        let wanted = wanted(store, folder, &filter);
        if let Some(candidates) = candidates(store, index, folder, &filter) {
            let missed: Vec<Uid> = wanted
                .iter()
                .filter(|uid| !candidates.indexed.contains(*uid) && !candidates.tail.contains(*uid))
                .collect();
            assert!(missed.is_empty(), "{filter:?}: the index misses {missed:?}");
        }
        let search = Search::new(filter.clone(), Timestamp::default());
        let place = (store.fixture.account, folder);
        let all = UidSet::all();
        let step = search_step(&*store.store, place, &search, &all, None, Budget::default(), None);
        let step = store.wait(step).expect("the folder can be searched");
        assert_eq!(step.matched, wanted, "{filter:?}: what a search finds");
    }
}

/// Waits until the index holds all changes there are now.
fn catch_up(store: &Handle<'_, '_>, index: &dyn SearchStore, folder: FolderId) {
    let at = store.state().at;
    let filter = Filter::from(Test::body("fox"));
    for _ in 0..PATIENCE {
        if let Some(candidates) = candidates(store, index, folder, &filter).filter(|found| found.indexed_upto >= at) {
            assert!(candidates.tail.is_empty(), "what is indexed is no tail: {candidates:?}");
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("the index does not come along");
}

/// At any moment, whatever is indexed by then, an index names every message that is wanted.
///
/// The bug: an index of words, asked for a piece of one, and for mail that came a second ago: nothing was found, and
/// people looked for mail they were looking at.
pub fn an_index_misses_nothing(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let Some(index) = fixture.store.as_search() else { return Verdict::Unproved("the store keeps no index") };
    let add = |folder, mail: &str, flags| {
        store.op(store.adding_content(folder, Content::Staged(store.upload(mail.to_owned())), flags))
    };
    let mut seen = FlagSet::new();
    seen.system = SystemFlags::SEEN;
    let other = store.folder(None, "Other").id;
    for (at, mail) in MAILS.iter().enumerate() {
        add(fixture.inbox, mail, if at % 2 == 0 { seen.clone() } else { FlagSet::new() });
        if at == 3 {
            catch_up(&store, index, fixture.inbox);
        }
    }
    agree(&store, index, fixture.inbox);
    agree(&store, index, other);
    catch_up(&store, index, fixture.inbox);
    agree(&store, index, fixture.inbox);
    // Copies and moves are found where they are.
    store.op(Op::Copy { from: fixture.inbox, uids: uids([1, 4]), to: other });
    store.op(Op::Move { from: fixture.inbox, uids: uids([2, 3]), to: other });
    store.remove(fixture.inbox, uids([7]), false);
    agree(&store, index, fixture.inbox);
    agree(&store, index, other);
    catch_up(&store, index, other);
    agree(&store, index, fixture.inbox);
    agree(&store, index, other);
    Verdict::Proved
}

/// What came is indexed soon, without anybody waiting for it; what is indexed narrows a search.
///
/// The bug: the worker died of one odd message, and every search from then on read all mail that came later.
pub fn an_index_comes_along(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let Some(index) = fixture.store.as_search() else { return Verdict::Unproved("the store keeps no index") };
    for mail in MAILS {
        store.op(store.adding_content(fixture.inbox, Content::Staged(store.upload(mail)), FlagSet::new()));
    }
    store.op(store.adding_content(fixture.inbox, Content::Staged(store.upload(vec![0xff; 9000])), FlagSet::new()));
    catch_up(&store, index, fixture.inbox);
    let found = |filter: Filter| candidates(&store, index, fixture.inbox, &filter).expect("a text an index knows");
    assert_eq!(found(Test::body("quick brown").into()).indexed, uids([1]));
    assert!(found(Test::body("nowhere to be found").into()).indexed.is_empty());
    assert_eq!(found(Test::header("Subject", "minutes").into()).indexed, uids([1]));
    // Nobody else's mail, and nothing of folders that are not there.
    let other = store.folder(None, "Other").id;
    catch_up(&store, index, other);
    assert!(
        candidates(&store, index, other, &Test::body("quick brown").into())
            .is_some_and(|found| found.indexed.is_empty())
    );
    store.op(Op::DeleteFolder { folder: other });
    let filter = Filter::from(Test::body("quick"));
    let gone = store.wait(index.candidates(fixture.account, other, &filter));
    assert!(gone.is_err(), "a folder that is not there");
    Verdict::Proved
}
