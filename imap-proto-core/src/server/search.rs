//! SEARCH, SORT and THREAD, and their UID forms (RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 4731, RFC 5032, RFC 5256, RFC 5267,
//! RFC 7162 §3.1.5, RFC 9394).
//!
//! The session turns everything that only it knows into UIDs (message numbers, recency) and asks for matches in bounded
//! steps; results are UIDs until they are written. What is to be put in order is asked for page by page.
//!
//! ```text
//!  Looking ─▶ … ─▶ Arranging ─▶ … ─▶ Weighing ─▶ … ─▶ Telling ─▶ … ─▶ tagged answer
//!                  (SORT, THREAD)    (MODSEQ)          in pieces
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `keys` | from a command's keys to a filter |
//! | `results` | results in their order, and how they are written |

mod keys;
mod results;

use std::sync::Arc;

use bytes::BufMut;
use mailstore_trait::id::{ModSeq, Uid};
use mailstore_trait::item::{ItemPage, ItemsOptions, Projection};
use mailstore_trait::query::{Algorithm, Filter, Sorter, Threader, TooMany};
use mailstore_trait::session::CloseReason;
use mailstore_trait::uid_set::UidSet;

use super::state::{Core, Flow, Step, finish};
use super::store::refused;
use crate::command::{Criteria, Name, PartialRange, SearchArguments, SearchReturn};
use crate::request::{self, Answer, Found};
use crate::response::{self, Quoted, Reply};
use crate::view::{Context, View};
use keys::{Lasting, Selected, filter};
use results::{Numbers, Results, Threads, number_of};

/// Which command it is.
#[derive(Debug)]
pub(super) enum Wish {
    Search,
    Sort(Criteria),
    Thread(Algorithm),
}

/// A search that runs.
#[derive(Debug)]
pub(super) struct Search {
    uid: bool,
    word: &'static str,
    returns: Option<SearchReturn>,
    partial: Option<PartialRange>,
    filter: Arc<Filter>,
    /// What an UPDATE goes on looking for: as `filter`, but for messages to come.
    lasting: Option<Arc<Filter>>,
    found: UidSet,
    arrangement: Option<Arrangement>,
    results: Results,
    /// Whether the highest mod-sequence of the results is wanted.
    weighs: bool,
    modseq: Option<ModSeq>,
    stage: Stage,
    answer: Option<Answer>,
}

/// What puts results in order.
#[derive(Debug)]
enum Arrangement {
    Order(Sorter),
    Threads(Threader),
}

/// What is being done, with the messages still to be looked at.
#[derive(Debug)]
enum Stage {
    Looking(UidSet),
    Arranging(UidSet),
    Weighing(UidSet),
    Telling(Telling),
}

#[derive(Debug)]
enum Telling {
    /// `* SEARCH`, `* SORT`: all numbers in one response.
    Old(Numbers),
    /// `* ESEARCH`: the set of ALL or PARTIAL, and what closes it.
    Extended(Numbers, &'static str),
    Threads(Threads),
}

impl Search {
    pub(super) fn start(core: &mut Core, wish: Wish, uid: bool, arguments: &SearchArguments<'_>) -> Step {
        match Search::begin(core, wish, uid, arguments) {
            Ok(mut search) => match search.limit(core) {
                Ok(()) => Step::Go(Flow::Search(Box::new(search))),
                Err(reply) => search.fail(core, reply),
            },
            Err(reply) => {
                // RFC 5182 §2.1: a search that fails saves nothing. One that is not understood did not begin.
                let saves = arguments.returns.is_some_and(|returns| returns.contains(SearchReturn::SAVE));
                if let Some(view) = core.view.as_mut().filter(|_| saves && reply.status == response::Status::No) {
                    view.save(UidSet::new());
                }
                finish(reply)
            }
        }
    }

    /// RFC 9738 §3.1, §3.3: it is the messages that are looked at that count; an order can't be made of some of them.
    fn limit(&mut self, core: &mut Core) -> Result<(), Reply> {
        let Stage::Looking(left) = &mut self.stage else { return Ok(()) };
        if self.arrangement.is_some() {
            return core.permits_messages(left.len());
        }
        *left = core.limited(std::mem::take(left));
        Ok(())
    }

    fn begin(core: &mut Core, wish: Wish, uid: bool, arguments: &SearchArguments<'_>) -> Result<Search, Reply> {
        let rev2 = core.is_rev2();
        let Core { view: Some(view), config, name, tag, .. } = core else {
            return Err(Reply::bad("No mailbox is selected"));
        };
        if !arguments.charset_known {
            // RFC 9051 §7.1, BADCHARSET: with the charsets that are known.
            return Err(Reply::no("BADCHARSET (US-ASCII UTF-8)", "Unknown charset"));
        }
        let returns = arguments.returns.unwrap_or(SearchReturn::empty());
        let updates = returns.contains(SearchReturn::UPDATE);
        // RFC 5267 §4.3: updates are told apart by their tag.
        if updates && view.context(tag).is_some() {
            return Err(Reply::bad("Tag reuse"));
        }
        // RFC 7162 §3.2.10.2: no removal is told while numbers are in use, in UID SEARCH neither.
        if arguments.has_numbers() {
            *name = Name::Search;
        }
        let limits = config.limits;
        let wanted = filter(&Selected(view), limits.search, arguments)?;
        let lasting = if updates { Some(Arc::new(filter(&Lasting(view), limits.search, arguments)?)) } else { None };
        let left = view.present(&view.uids().intersection(&wanted.bounds()));
        // RFC 9051 §6.4.4: SEARCH is always answered with ESEARCH, as if by RETURN (ALL).
        let always = (rev2 && matches!(wish, Wish::Search)).then_some(SearchReturn::ALL);
        let (word, arrangement) = match wish {
            Wish::Search => ("SEARCH", None),
            Wish::Sort(criteria) => ("SORT", Some(Arrangement::Order(Sorter::new(criteria.as_slice(), limits.order)))),
            Wish::Thread(algorithm) => ("THREAD", Some(Arrangement::Threads(Threader::new(algorithm, limits.order)))),
        };
        Ok(Search {
            uid,
            word,
            returns: arguments.returns.or(always),
            partial: arguments.partial,
            filter: Arc::new(wanted),
            lasting,
            found: UidSet::new(),
            arrangement,
            results: Results::default(),
            weighs: arguments.has_modseq() && word != "THREAD",
            modseq: None,
            stage: Stage::Looking(left),
            answer: None,
        })
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        match (self.answer.take(), &mut self.stage) {
            (None, _) => {}
            (Some(Answer::Search(Ok(found))), Stage::Looking(left)) => {
                *left = step(&mut self.found, left, &found);
            }
            (Some(Answer::Items(Ok(page))), Stage::Arranging(left)) => {
                *left = after(left, page.next);
                if arrange(&mut self.arrangement, &page).is_err() {
                    return self.fail(core, Reply::no("LIMIT", "Too many messages to put in order"));
                }
            }
            (Some(Answer::Items(Ok(page))), Stage::Weighing(left)) => {
                self.modseq = self.modseq.max(page.rows().iter().map(|row| row.change).max());
                *left = after(left, page.next);
            }
            (Some(Answer::Search(Err(refusal)) | Answer::Items(Err(refusal))), _) => {
                return self.fail(core, refused(refusal));
            }
            (Some(_), _) => {
                core.close(CloseReason::Unanswered);
                return Step::Flush;
            }
        }
        loop {
            let (Some(account), Some(view)) = (core.account(), core.view.as_ref()) else {
                return finish(Reply::bad("No mailbox is selected"));
            };
            let folder = view.folder();
            match &mut self.stage {
                Stage::Looking(left) if !left.is_empty() => {
                    let (uids, filter) = (left.clone(), Arc::clone(&self.filter));
                    return core.ask(request::Search { account, folder, uids, filter });
                }
                Stage::Arranging(left) | Stage::Weighing(left) if !left.is_empty() => {
                    let uids = left.clone();
                    let mut options = ItemsOptions::new(self.projection());
                    options.max_rows = core.config.limits.rows;
                    return core.ask(request::Items { account, folder, uids, options });
                }
                Stage::Looking(_) => {
                    let rows = if self.arrangement.is_some() { self.found.clone() } else { UidSet::new() };
                    self.stage = Stage::Arranging(rows);
                }
                Stage::Arranging(_) => {
                    let meant = match self.arranged() {
                        Ok(None) => self.meant(),
                        Ok(Some(threads)) => {
                            self.stage = Stage::Telling(Telling::Threads(threads));
                            core.out().put_slice(b"* THREAD");
                            continue;
                        }
                        Err(TooMany) => {
                            return self.fail(core, Reply::no("LIMIT", "Too many messages to put in order"));
                        }
                    };
                    self.stage = Stage::Weighing(if self.weighs { meant } else { UidSet::new() });
                }
                Stage::Weighing(_) => match self.head(core) {
                    Some(telling) => self.stage = Stage::Telling(telling),
                    None => return finish(self.done()),
                },
                Stage::Telling(_) => return self.tell(core),
            }
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        self.answer = Some(answer);
    }

    /// What rows have to bring now.
    fn projection(&self) -> Projection {
        match (&self.stage, &self.arrangement) {
            (Stage::Arranging(_), Some(Arrangement::Order(sorter))) => sorter.projection(),
            (Stage::Arranging(_), Some(Arrangement::Threads(threader))) => threader.projection(),
            _ => Projection::empty(),
        }
    }

    /// Ends without a result.
    fn fail(&self, core: &mut Core, reply: Reply) -> Step {
        // RFC 5182 §2.1: a search that fails saves nothing.
        if let Some(view) = core.view.as_mut().filter(|_| self.wishes(SearchReturn::SAVE)) {
            view.save(UidSet::new());
        }
        finish(reply)
    }

    fn wishes(&self, wish: SearchReturn) -> bool {
        self.returns.is_some_and(|returns| returns.contains(wish))
    }

    /// Everything was looked at: the results in their order, or as conversations.
    fn arranged(&mut self) -> Result<Option<Threads>, TooMany> {
        match &mut self.arrangement {
            None => self.results = Results::ascending(&self.found),
            Some(Arrangement::Order(sorter)) => {
                sorter.sort();
                self.results = Results::in_order(sorter.uids());
            }
            Some(Arrangement::Threads(_)) => {
                let Some(Arrangement::Threads(threader)) = self.arrangement.take() else { return Ok(None) };
                return Ok(Some(Threads::new(threader.finish()?)));
            }
        }
        Ok(None)
    }

    fn meant(&self) -> UidSet {
        self.results.meant(self.returns.unwrap_or(SearchReturn::ALL), self.partial)
    }

    fn done(&self) -> Reply {
        Reply::ok(match (self.word, self.uid) {
            ("SEARCH", false) => "SEARCH completed",
            ("SEARCH", true) => "UID SEARCH completed",
            ("SORT", false) => "SORT completed",
            ("SORT", true) => "UID SORT completed",
            (_, false) => "THREAD completed",
            (_, true) => "UID THREAD completed",
        })
    }

    /// Begins the response; `None` when there is none.
    fn head(&mut self, core: &mut Core) -> Option<Telling> {
        let Core { view: Some(view), outbox, tag, .. } = core else { return None };
        let Some(returns) = self.returns else {
            let out = outbox.text();
            out.put_slice(b"* ");
            out.put_slice(self.word.as_bytes());
            return Some(Telling::Old(self.results.numbers((!self.uid).then_some(view))));
        };
        if returns.contains(SearchReturn::SAVE) {
            view.save(self.results.meant(returns, self.partial));
            // RFC 5182 §2.1: SAVE alone is not answered.
            if returns == SearchReturn::SAVE {
                return None;
            }
        }
        // RFC 4731 §3.1, §3.2: of an empty result only COUNT is told, and a PARTIAL that it is empty.
        let view = (!self.uid).then_some(&*view);
        let out = outbox.text();
        out.put_slice(b"* ESEARCH (TAG ");
        response::string(tag, Quoted::Ascii, out);
        out.put_u8(b')');
        if self.uid {
            out.put_slice(b" UID");
        }
        Some(write_data(&self.results, returns, self.partial, view, out))
    }

    fn tell(&mut self, core: &mut Core) -> Step {
        if !core.has_room() {
            return Step::Drain;
        }
        let Core { view: Some(view), outbox, .. } = core else { return finish(self.done()) };
        let Stage::Telling(telling) = &mut self.stage else { return finish(self.done()) };
        let out = outbox.text();
        let (more, end) = match telling {
            Telling::Old(numbers) => (numbers.write_each(out), ""),
            Telling::Extended(numbers, end) => (numbers.write_set(out), *end),
            Telling::Threads(threads) => (threads.write((!self.uid).then_some(view), out), ""),
        };
        if more {
            return Step::Flush;
        }
        out.put_slice(end.as_bytes());
        if let Some(modseq) = self.modseq {
            // RFC 7162 §3.1.6, RFC 7162 §3.1.10: in parentheses but for ESEARCH.
            let old = self.returns.is_none();
            out.put_slice(if old { b" (MODSEQ " } else { b" MODSEQ " });
            response::number(modseq.value(), out);
            out.put_slice(if old { b")" } else { b"" });
        }
        out.put_slice(b"\r\n");
        self.keep(core);
        finish(self.done())
    }

    /// RFC 5267 §4.3: from now on the client is told of changes.
    fn keep(&mut self, core: &mut Core) {
        let Some(filter) = self.lasting.take() else { return };
        let Core { view: Some(view), outbox, tag, config, .. } = core else { return };
        let order = match self.arrangement.take() {
            Some(Arrangement::Order(sorter)) => Some(sorter),
            _ => None,
        };
        let limits = &config.limits;
        let sorted = order.as_ref().map_or(0, |order| order.uids().len());
        if view.contexts() >= limits.contexts || sorted > limits.context_results {
            return Context::refuse(tag, "Too many contexts", outbox.text());
        }
        view.keep_context(Context::new(tag, self.uid, filter, self.results.to_set(), order));
    }
}

/// The data of an ESEARCH response up to the set that is its bulk.
fn write_data(
    results: &Results,
    returns: SearchReturn,
    partial: Option<PartialRange>,
    view: Option<&View>,
    out: &mut bytes::BytesMut,
) -> Telling {
    for (wish, word, uid) in [(SearchReturn::MIN, " MIN ", results.min()), (SearchReturn::MAX, " MAX ", results.max())]
    {
        if let Some(number) = uid.filter(|_| returns.contains(wish)).and_then(|uid| number_of(uid, view)) {
            out.put_slice(word.as_bytes());
            response::number(u64::from(number), out);
        }
    }
    if returns.contains(SearchReturn::COUNT) {
        out.put_slice(b" COUNT ");
        response::number(results.len(), out);
    }
    if let Some(range) = partial.filter(|_| returns.contains(SearchReturn::PARTIAL)) {
        let sign: &[u8] = if range.from_end { b"-" } else { b"" };
        for (before, number) in [(&b" PARTIAL ("[..], range.first), (b":", range.last)] {
            out.put_slice(before);
            out.put_slice(sign);
            response::number(u64::from(number), out);
        }
        out.put_u8(b' ');
        let part = results.part(range);
        return Telling::Extended(part.numbers(view), if part.is_empty() { "NIL)" } else { ")" });
    }
    if returns.contains(SearchReturn::ALL) && !results.is_empty() {
        out.put_slice(b" ALL ");
        return Telling::Extended(results.numbers(view), "");
    }
    Telling::Extended(Results::default().numbers(view), "")
}

/// Notes what a step found, and returns what is left to look at.
fn step(all: &mut UidSet, left: &UidSet, found: &Found) -> UidSet {
    // What was not asked for is not found, whatever the answer says.
    left.intersection(&found.uids).ranges().for_each(|range| all.insert_range(range));
    after(left, found.next)
}

fn arrange(arrangement: &mut Option<Arrangement>, page: &ItemPage) -> Result<(), TooMany> {
    page.rows().iter().try_for_each(|row| match arrangement {
        Some(Arrangement::Order(sorter)) => sorter.push(page, row),
        Some(Arrangement::Threads(threader)) => threader.push(page, row),
        None => Ok(()),
    })
}

/// A piece of these messages (RFC 9394 §3.3).
pub(super) fn part(uids: &UidSet, range: PartialRange) -> UidSet {
    Results::ascending(uids).part(range).to_set()
}

/// What is left of a scope behind a step of a search. One that does not move on is the last: it would be asked for ever.
pub(super) fn after(scope: &UidSet, next: Option<Uid>) -> UidSet {
    match next {
        Some(next) if scope.ranges().next().is_some_and(|first| *first.start() < next) => {
            let mut rest = UidSet::new();
            rest.insert_range(next..=Uid::MAX);
            scope.intersection(&rest)
        }
        _ => UidSet::new(),
    }
}

/// CANCELUPDATE (RFC 5267 §4.3.5). Tags without updates are passed over: their updates may have ended by themselves.
pub(super) fn cancel_updates<'a>(core: &mut Core, tags: impl Iterator<Item = &'a [u8]>) -> Step {
    if let Some(view) = &mut core.view {
        tags.for_each(|tag| view.end_context(tag));
    }
    finish(Reply::ok("No further updates"))
}
