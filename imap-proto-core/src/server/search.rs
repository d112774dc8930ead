//! SEARCH and UID SEARCH (RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 4731, RFC 5032, RFC 7162 §3.1.5).
//!
//! The session turns everything that only it knows into UIDs (message numbers, recency) and asks for matches in bounded
//! steps; results are UIDs until they are written.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use mailstore_trait::flags::{Keyword, SystemFlags};
use mailstore_trait::id::{ModSeq, Uid};
use mailstore_trait::item::{ItemsOptions, Projection};
use mailstore_trait::query::{Builder, Combine, Days, Filter, FilterError, Test};
use mailstore_trait::session::CloseReason;
use mailstore_trait::uid_set::UidSet;

use super::condstore::modseq;
use super::state::{Core, Flow, Step, finish};
use super::store::refused;
use crate::command::{Name, SearchArguments, SearchKey, SearchReturn, SearchToken, When};
use crate::request::{self, Answer, Found};
use crate::response::{self, Quoted, Reply};
use crate::view::View;

/// A search that runs.
#[derive(Debug)]
pub(super) struct Search {
    uid: bool,
    returns: Option<SearchReturn>,
    filter: Arc<Filter>,
    /// Messages still to be looked at.
    left: UidSet,
    found: UidSet,
    /// Results whose highest mod-sequence is to be found; `None` when that is not wanted.
    weigh: Option<UidSet>,
    modseq: Option<ModSeq>,
    /// Results written so far, of the old response.
    written: Option<UidSet>,
    answer: Option<Answer>,
}

impl Search {
    pub(super) fn start(core: &mut Core, uid: bool, arguments: SearchArguments<'_>) -> Step {
        let saves = arguments.returns.is_some_and(|returns| returns.contains(SearchReturn::SAVE));
        let Core { view: Some(view), config, name, .. } = core else {
            return finish(Reply::bad("No mailbox is selected"));
        };
        if !arguments.charset_known {
            if saves {
                view.save(UidSet::new());
            }
            // RFC 9051 §7.1, BADCHARSET: with the charsets that are known.
            return finish(Reply::no("BADCHARSET (US-ASCII UTF-8)", "Unknown charset"));
        }
        // RFC 7162 §3.2.10.2: no removal is told while numbers are in use, in UID SEARCH neither.
        if arguments.has_numbers() {
            *name = Name::Search;
        }
        let weighs = arguments.has_modseq();
        let mut builder = Builder::new(config.limits.search);
        for token in arguments.tokens {
            let added = match token {
                SearchToken::Open(combine) => builder.open(combine),
                SearchToken::Close => builder.close(),
                SearchToken::Key(key) => match add(&mut builder, view, key) {
                    Ok(added) => added,
                    Err(reply) => return finish(reply),
                },
            };
            if added.is_err() {
                if saves {
                    view.save(UidSet::new());
                }
                return finish(Reply::no("LIMIT", "The search is too large"));
            }
        }
        let Ok(filter) = builder.finish() else { return finish(Reply::bad("Syntax error")) };
        let left = view.present(&view.uids().intersection(&filter.bounds()));
        Step::Go(Flow::Search(Box::new(Search {
            uid,
            returns: arguments.returns,
            filter: Arc::new(filter),
            left,
            found: UidSet::new(),
            weigh: weighs.then(UidSet::all),
            modseq: None,
            written: None,
            answer: None,
        })))
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        match self.answer.take() {
            Some(Answer::Search(Ok(found))) => self.step(&found),
            Some(Answer::Items(Ok(page))) => {
                self.modseq = self.modseq.max(page.rows().iter().map(|row| row.change).max());
                self.weigh = self.weigh.take().map(|left| after(&left, page.next));
            }
            Some(Answer::Search(Err(refusal)) | Answer::Items(Err(refusal))) => {
                // RFC 5182 §2.1: a search that fails saves nothing.
                if let Some(view) = core.view.as_mut().filter(|_| self.wishes(SearchReturn::SAVE)) {
                    view.save(UidSet::new());
                }
                return finish(refused(refusal));
            }
            Some(_) => {
                core.close(CloseReason::Unanswered);
                return Step::Flush;
            }
            None => {}
        }
        let (Some(account), Some(view)) = (core.account(), core.view.as_ref()) else {
            return finish(Reply::bad("No mailbox is selected"));
        };
        let folder = view.folder();
        if self.left.is_empty() {
            let uids = self.weighed();
            if uids.is_empty() {
                return self.tell(core);
            }
            let mut options = ItemsOptions::new(Projection::empty());
            options.max_rows = core.config.limits.rows;
            return core.ask(request::Items { account, folder, uids, options });
        }
        core.ask(request::Search { account, folder, uids: self.left.clone(), filter: Arc::clone(&self.filter) })
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        self.answer = Some(answer);
    }

    /// Results that are still to be asked for their mod-sequence (RFC 7162 §3.1.6, RFC 4731 §3.2).
    fn weighed(&mut self) -> UidSet {
        let Some(left) = &mut self.weigh else { return UidSet::new() };
        if *left == UidSet::all() {
            let returns = self.returns.unwrap_or(SearchReturn::ALL);
            *left = wanted(returns, &self.found);
        }
        left.clone()
    }

    fn wishes(&self, wish: SearchReturn) -> bool {
        self.returns.is_some_and(|returns| returns.contains(wish))
    }

    fn step(&mut self, found: &Found) {
        // What was not asked for is not found, whatever the answer says.
        let matches = self.left.intersection(&found.uids);
        matches.ranges().for_each(|range| self.found.insert_range(range));
        self.left = after(&self.left, found.next);
    }

    fn tell(&mut self, core: &mut Core) -> Step {
        let done = Reply::ok(if self.uid { "UID SEARCH completed" } else { "SEARCH completed" });
        let Some(returns) = self.returns else { return self.tell_old(core, done) };
        let Core { view: Some(view), outbox, tag, .. } = core else { return finish(done) };
        if returns.contains(SearchReturn::SAVE) {
            view.save(wanted(returns, &self.found));
            // RFC 5182 §2.1: SAVE alone is not answered.
            if returns == SearchReturn::SAVE {
                return finish(done);
            }
        }
        let out = outbox.text();
        write_extended(returns, self.uid, &self.found, view, tag, out);
        if let Some(modseq) = self.modseq {
            out.put_slice(b" MODSEQ ");
            response::number(modseq.value(), out);
        }
        out.put_slice(b"\r\n");
        finish(done)
    }

    /// RFC 3501 §7.2.5: all numbers in one response, written in pieces.
    fn tell_old(&mut self, core: &mut Core, done: Reply) -> Step {
        if !core.has_room() {
            return Step::Drain;
        }
        let begun = self.written.is_some();
        let left = self.written.get_or_insert_with(|| self.found.clone());
        let rest = left.split_off(4096);
        let now = std::mem::replace(left, rest);
        let last = self.written.as_ref().is_none_or(UidSet::is_empty);
        let Core { view: Some(view), outbox, .. } = core else { return finish(done) };
        let out = outbox.text();
        if !begun {
            out.put_slice(b"* SEARCH");
        }
        for uid in now.iter() {
            if let Some(number) = number_of(uid, self.uid, view) {
                out.put_u8(b' ');
                response::number(u64::from(number), out);
            }
        }
        if last {
            if let Some(modseq) = self.modseq {
                out.put_slice(b" (MODSEQ ");
                response::number(modseq.value(), out);
                out.put_u8(b')');
            }
            out.put_slice(b"\r\n");
            return finish(done);
        }
        Step::Flush
    }
}

/// What a result is about: of MIN and MAX alone, these (RFC 4731 §3.2, RFC 5182 §2.4).
fn wanted(returns: SearchReturn, found: &UidSet) -> UidSet {
    let ends = SearchReturn::MIN | SearchReturn::MAX;
    if returns.intersects(SearchReturn::ALL | SearchReturn::COUNT) || !returns.intersects(ends) {
        return found.clone();
    }
    let (first, last) = (found.ranges().next(), found.ranges().next_back());
    let first = first.filter(|_| returns.contains(SearchReturn::MIN)).map(|range| *range.start());
    let last = last.filter(|_| returns.contains(SearchReturn::MAX)).map(|range| *range.end());
    first.into_iter().chain(last).collect()
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

fn number_of(uid: Uid, as_uid: bool, view: &View) -> Option<u32> {
    if as_uid { Some(uid.value()) } else { view.seq(uid).map(mailstore_trait::id::SeqNum::value) }
}

/// RFC 4731 §3.1, §3.2: the ESEARCH response without its end; of an empty result only COUNT is told.
fn write_extended(returns: SearchReturn, as_uid: bool, found: &UidSet, view: &View, tag: &[u8], out: &mut BytesMut) {
    out.put_slice(b"* ESEARCH (TAG ");
    response::string(tag, Quoted::Ascii, out);
    out.put_u8(b')');
    if as_uid {
        out.put_slice(b" UID");
    }
    let first = found.ranges().next().and_then(|range| number_of(*range.start(), as_uid, view));
    let last = found.ranges().next_back().and_then(|range| number_of(*range.end(), as_uid, view));
    for (wish, word, number) in [(SearchReturn::MIN, " MIN ", first), (SearchReturn::MAX, " MAX ", last)] {
        if let Some(number) = number.filter(|_| returns.contains(wish)) {
            out.put_slice(word.as_bytes());
            response::number(u64::from(number), out);
        }
    }
    if returns.contains(SearchReturn::COUNT) {
        out.put_slice(b" COUNT ");
        response::number(found.len(), out);
    }
    if returns.contains(SearchReturn::ALL) && !found.is_empty() {
        out.put_slice(b" ALL ");
        if as_uid {
            response::set(found, out);
        } else {
            let numbers = found.iter().filter_map(|uid| number_of(uid, false, view)).filter_map(Uid::new);
            response::set(&numbers.collect(), out);
        }
    }
}

type Added = Result<(), FilterError>;

/// Adds a key to the filter; the answer when it can't be.
fn add(builder: &mut Builder, view: &View, key: SearchKey<'_>) -> Result<Added, Reply> {
    Ok(match key {
        SearchKey::All => builder.test(Test::All),
        SearchKey::Flag(flag, set) => add_if(builder, Test::Flags(flag), set),
        SearchKey::Keyword(word, set) => match std::str::from_utf8(word).ok().and_then(Keyword::new) {
            Some(keyword) => add_if(builder, Test::Keyword(keyword), set),
            // A word that can't be a keyword is on no message.
            None => add_if(builder, Test::All, !set),
        },
        SearchKey::Recent => builder.test(Test::Uids(view.recent().clone())),
        SearchKey::Old => add_if(builder, Test::Uids(view.recent().clone()), false),
        SearchKey::New => new(builder, view),
        SearchKey::Header(name, text) => builder.test(Test::header(&name, &text)),
        SearchKey::Body(text) => builder.test(Test::body(&text)),
        SearchKey::Text(text) => builder.test(Test::text(&text)),
        SearchKey::Larger(octets) => builder.test(Test::Larger(octets)),
        SearchKey::Smaller(octets) => builder.test(Test::Smaller(octets)),
        SearchKey::Date(of, when, day) => {
            let days = match when {
                When::Before => Days::before(day),
                When::On => Days::on(day),
                When::Since => Days::since(day),
            };
            builder.test(Test::Day(of, days))
        }
        SearchKey::Younger(seconds, younger) => {
            let date = mailstore_trait::query::DateOf::Internal;
            add_if(builder, Test::Younger(date, seconds), younger)
        }
        SearchKey::SaveDateSupported => builder.test(Test::All),
        // What was never given out is on no message.
        SearchKey::Email(None) | SearchKey::Thread(None) => add_if(builder, Test::All, false),
        SearchKey::Email(Some(email)) => builder.test(Test::Email(email)),
        SearchKey::Thread(Some(thread)) => builder.test(Test::Thread(thread)),
        SearchKey::ModSeq(value) => builder.test(Test::ModSeq(modseq(value))),
        SearchKey::Uid(set) => builder.test(Test::Uids(view.resolve(true, &set).unwrap_or_default())),
        SearchKey::Sequence(set) => match view.resolve(false, &set) {
            Some(uids) => builder.test(Test::Uids(uids)),
            None => return Err(Reply::bad("No such message")),
        },
    })
}

/// The test, or its opposite.
fn add_if(builder: &mut Builder, test: Test, holds: bool) -> Added {
    if !holds {
        builder.open(Combine::Not)?;
    }
    builder.test(test)
}

/// RFC 3501 §6.4.4, NEW: `(RECENT UNSEEN)`.
fn new(builder: &mut Builder, view: &View) -> Added {
    builder.open(Combine::And)?;
    builder.test(Test::Uids(view.recent().clone()))?;
    add_if(builder, Test::Flags(SystemFlags::SEEN), false)?;
    builder.close()
}
