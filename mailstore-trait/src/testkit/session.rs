//! The four tests every session must pass.
//!
//! 1. [`every_split`]: however the input is cut, the session says, asks and tells the same.
//! 2. [`window_is_kept`]: it never holds more unread input than its window, whoever is silent.
//! 3. [`worst_answers`]: each question refused, answered late, twice, by a stale answer, or never, ends well.
//! 4. [`silence_ends`]: silence of the peer, of the store, or of both, and a peer that drains nothing, end at a deadline.
//!
//! Each takes a [`Subject`]: how to make the session and answer its questions when all goes well. Sessions are made
//! hundreds of times; keep scripts to what a peer would say in one short conversation, and write several.

#![allow(clippy::indexing_slicing, reason = "a panic here is a failing test")]

use std::fmt::Debug;
use std::time::Duration;

use bytes::BufMut;

use crate::session::{CloseReason, LayerInfo, Output, Session};
use crate::testkit::driven::{Asked, Driven, epoch};
use crate::testkit::random::Random;
use crate::testkit::transcript::escape;

/// Answers a question.
type Answering<'a, S> = Box<dyn Fn(<S as Session>::Request) -> <S as Session>::Answered + 'a>;
/// Says what a question is.
type Asking<'a, S> = Box<dyn Fn(&<S as Session>::Request) -> Asked + 'a>;

/// A session and how its questions are answered.
pub struct Subject<'a, S: Session> {
    make: Box<dyn Fn() -> S + 'a>,
    answer: Answering<'a, S>,
    decline: Answering<'a, S>,
    asked: Asking<'a, S>,
}

impl<S: Session> Debug for Subject<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subject")
    }
}

impl<'a, S: Session> Subject<'a, S> {
    /// A subject. `make` is called for every play and resets whatever `answer` keeps; `answer` is how questions are
    /// answered when all goes well, `decline` is `Request::decline`; `asked` says what a question is.
    pub fn new(
        make: impl Fn() -> S + 'a,
        answer: impl Fn(S::Request) -> S::Answered + 'a,
        decline: impl Fn(S::Request) -> S::Answered + 'a,
        asked: impl Fn(&S::Request) -> Asked + 'a,
    ) -> Subject<'a, S> {
        Subject { make: Box::new(make), answer: Box::new(answer), decline: Box::new(decline), asked: Box::new(asked) }
    }
}

/// What a session did in one play.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    sent: Vec<u8>,
    /// Questions, layers and, by their `Debug` form, events.
    asked: Vec<Asked>,
    events: Vec<String>,
    questions: usize,
    closed: Option<CloseReason>,
}

impl Heard {
    fn ask(&mut self, asked: Asked) {
        match (self.asked.last_mut(), &asked) {
            (Some(Asked::Piece(before, gathered)), Asked::Piece(name, octets)) if before == name => {
                *gathered = [gathered.as_ref(), octets.as_ref()].concat().into();
            }
            _ => self.asked.push(asked),
        }
    }

    fn assert_same(&self, other: &Heard, what: &str) {
        let show = |heard: &Heard| {
            let sent = escape::render(&heard.sent).replace("\\r\\n", "\\r\\n\n    ");
            format!("    {sent}\n  asked {:?}\n  told {:?}\n  closed {:?}", heard.asked, heard.events, heard.closed)
        };
        let same = self.sent == other.sent
            && self.asked == other.asked
            && self.events == other.events
            && self.closed == other.closed;
        assert!(same, "{what} the session does otherwise\nexpected:\n{}\nfound:\n{}", show(self), show(other));
    }
}

/// What becomes of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    Declined,
    /// Answered when this many of the session's deadlines have come.
    Late(usize),
    Never,
}

/// When a second answer to a question comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// Right behind the first.
    AtOnce,
    /// While the next question is out.
    Stale,
}

/// How one play goes.
#[derive(Clone, Copy)]
struct Plan<'p> {
    script: &'p [u8],
    /// The peer ends its stream behind the script.
    ends: bool,
    /// The peer drains this many sent octets and no more.
    drains: usize,
    fate: &'p dyn Fn(usize) -> Fate,
    /// How long to wait for the end.
    within: Duration,
}

impl<'p> Plan<'p> {
    fn new(script: &'p [u8], within: Duration) -> Plan<'p> {
        Plan { script, ends: true, drains: usize::MAX, fate: &|_| Fate::Answered, within }
    }
}

/// Deadlines of one play after which the session counts as one that never ends.
const WAKES: usize = 20_000;

/// How long [`every_split`] and [`worst_answers`] give the session to end after its peer did, in virtual time.
const PATIENCE: Duration = Duration::from_secs(48 * 3600);

/// At most this many places of a long script are tried.
const PLACES: usize = 300;

impl<S> Subject<'_, S>
where
    S: Session,
    S::Event: Debug,
{
    /// Plays until the session closes; panics when that lies beyond the plan's time.
    ///
    /// `cut` gives the sizes of the pieces the script comes in; `again` is a second answer to one question.
    fn play(
        &self,
        plan: Plan<'_>,
        mut cut: impl FnMut() -> usize,
        mut again: Option<(usize, Again, S::Answered)>,
        what: &str,
    ) -> Heard {
        let start = epoch();
        let mut driven = Driven::new((self.make)(), start);
        driven.input.extend(plan.script);
        driven.ending = plan.ends;
        let mut heard = Heard::default();
        let mut late: Option<(usize, S::Answered)> = None;
        let mut wakes = 0;
        loop {
            match driven.poll() {
                Output::Send(octets) => {
                    heard.sent.extend_from_slice(&octets);
                    driven.unsent = heard.sent.len().saturating_sub(plan.drains);
                }
                Output::Request(request) => {
                    heard.ask((self.asked)(&request));
                    let at = heard.questions;
                    heard.questions += 1;
                    if let Some((_, _, answered)) = again.take_if(|(of, when, _)| *when == Again::Stale && *of < at) {
                        driven.resume(answered);
                    }
                    match (plan.fate)(at) {
                        Fate::Answered => driven.resume((self.answer)(request)),
                        Fate::Declined => driven.resume((self.decline)(request)),
                        Fate::Late(deadlines) => late = Some((wakes + deadlines, (self.answer)(request))),
                        Fate::Never => drop(request),
                    }
                    if let Some((_, _, answered)) = again.take_if(|(of, when, _)| *when == Again::AtOnce && *of == at) {
                        driven.resume(answered);
                    }
                }
                Output::Layer(layer) => {
                    heard.ask(Asked::Whole(format!("{layer:?}")));
                    driven.layered(Ok(LayerInfo::new()));
                }
                Output::Event(event) => heard.events.push(format!("{event:?}")),
                Output::Close(reason) => {
                    heard.closed = Some(reason);
                    return heard;
                }
                Output::Wait(wait) => {
                    if driven.feed(cut()) {
                        continue;
                    }
                    let said = || escape::render(&heard.sent[heard.sent.len().saturating_sub(200)..]);
                    wakes += 1;
                    assert!(wakes < WAKES, "{what}: {WAKES} deadlines and no end, after \"{}\"", said());
                    assert!(wait.deadline.is_some(), "{what}: the session waits for ever, after \"{}\"", said());
                    let woken = driven.sleep_until(start + plan.within);
                    assert!(woken, "{what}: no end within {:?}, after \"{}\"", plan.within, said());
                    if let Some((_, answered)) = late.take_if(|(due, _)| wakes >= *due) {
                        driven.resume(answered);
                    }
                }
            }
        }
    }

    /// The question at this place, from a session of its own: it has the id that the same question has in any other.
    fn question(&self, script: &[u8], place: usize) -> Option<S::Request> {
        let mut driven = Driven::new((self.make)(), epoch());
        driven.input.extend(script);
        driven.ending = true;
        let mut seen = 0;
        loop {
            match driven.poll() {
                Output::Request(request) if seen == place => return Some(request),
                Output::Request(request) => {
                    seen += 1;
                    driven.resume((self.answer)(request));
                }
                Output::Layer(_) => driven.layered(Ok(LayerInfo::new())),
                Output::Wait(_) if !driven.feed(usize::MAX) => return None,
                Output::Close(_) => return None,
                _ => {}
            }
        }
    }
}

/// Fed at every split point, octet by octet and at random splits, the session says, asks and tells the same.
///
/// # Panics
/// When it does not.
pub fn every_split<S: Session<Event: Debug>>(subject: &Subject<'_, S>, script: &[u8]) {
    let plan = Plan::new(script, PATIENCE);
    let whole = subject.play(plan, || usize::MAX, None, "fed at once");
    let octets = subject.play(plan, || 1, None, "octet by octet");
    whole.assert_same(&octets, "octet by octet");
    for at in places(script.len()) {
        let mut first = true;
        let cut = || if std::mem::take(&mut first) { at.max(1) } else { usize::MAX };
        whole.assert_same(&subject.play(plan, cut, None, "split"), &format!("split behind octet {at}"));
    }
    for seed in 0..16 {
        let mut random = Random::new(seed);
        let cut = || 1 + random.below(if seed % 2 == 0 { 5 } else { 100 });
        whole.assert_same(&subject.play(plan, cut, None, "random splits"), &format!("at random splits {seed}"));
    }
}

/// In no state does the session take more unread octets than its window, with or without a question out.
///
/// # Panics
/// When it does.
pub fn window_is_kept<S: Session<Event: Debug>>(subject: &Subject<'_, S>, script: &[u8], window: usize) {
    for at in places(script.len() + 1) {
        let mut driven = Driven::new((subject.make)(), epoch());
        driven.input.extend(&script[..at]);
        let taken = if settle(subject, &mut driven, usize::MAX) { flood(&mut driven, window) } else { 0 };
        assert!(
            taken <= window,
            "behind octet {at} of the script the session takes {taken} octets, its window is {window}"
        );
    }
    for place in 0.. {
        let mut driven = Driven::new((subject.make)(), epoch());
        driven.input.extend(script);
        if !settle(subject, &mut driven, place) {
            break;
        }
        if driven.wait().is_some() && driven.input.is_empty() {
            break; // There were fewer questions.
        }
        let taken = flood(&mut driven, window);
        assert!(taken <= window, "with question {place} out the session takes {taken} octets, its window is {window}");
        // Polling while the question is out may consume nothing that is not bounded either.
        let mut more = 0;
        while let Output::Send(_) | Output::Event(_) = driven.poll() {
            more += flood(&mut driven, window);
        }
        more += flood(&mut driven, window);
        assert!(
            taken + more <= window,
            "with question {place} out and polled the session takes {} octets",
            taken + more
        );
    }
}

/// Feeds octet by octet until the input is used up, or question `place` is out; says whether the session is still open.
fn settle<S: Session<Event: Debug>>(subject: &Subject<'_, S>, driven: &mut Driven<S>, place: usize) -> bool {
    let mut seen = 0;
    loop {
        match driven.poll() {
            Output::Request(_) if seen == place => return true,
            Output::Request(request) => {
                seen += 1;
                driven.resume((subject.answer)(request));
            }
            Output::Layer(_) => driven.layered(Ok(LayerInfo::new())),
            Output::Wait(_) if !driven.feed(1) => return true,
            Output::Close(_) => return false,
            _ => {}
        }
    }
}

/// Sends without polling until the session takes no more, or far too much; answers how many octets it took.
fn flood<S: Session>(driven: &mut Driven<S>, window: usize) -> usize {
    let mut taken = 0;
    while taken <= window {
        let mut buf = driven.session.input_buf();
        let room = buf.remaining_mut().min(window + 1 - taken);
        if room == 0 {
            break;
        }
        buf.put_bytes(b'x', room);
        taken += room;
    }
    taken
}

/// Each question refused, answered late, answered twice, answered again while the next is out, or never answered: the
/// session ends, and second answers change nothing.
///
/// # Panics
/// When it does not end, or takes a stale answer.
pub fn worst_answers<S: Session<Event: Debug>>(subject: &Subject<'_, S>, script: &[u8]) {
    let plan = Plan::new(script, PATIENCE);
    let usual = subject.play(plan, || usize::MAX, None, "answered as usual");
    subject.play(Plan { fate: &|_| Fate::Declined, ..plan }, || usize::MAX, None, "every question refused");
    for place in 0..usual.questions {
        let only = |fate: Fate| move |at: usize| if at == place { fate } else { Fate::Answered };
        for fate in [Fate::Declined, Fate::Late(1), Fate::Late(2), Fate::Late(5), Fate::Never] {
            for ends in [true, false] {
                let what = format!("question {place} {fate:?}");
                subject.play(Plan { fate: &only(fate), ends, ..plan }, || usize::MAX, None, &what);
            }
        }
        for when in [Again::AtOnce, Again::Stale] {
            let what = format!("question {place} answered again {when:?}");
            let Some(request) = subject.question(script, place) else {
                panic!("{what}: the session did not ask again")
            };
            let again = Some((place, when, (subject.decline)(request)));
            usual.assert_same(&subject.play(plan, || usize::MAX, again, &what), &what);
        }
    }
}

/// When the peer, the store, or both fall silent at any point, or the peer drains nothing, the session ends at a
/// deadline, within this time in all.
///
/// # Panics
/// When it does not.
pub fn silence_ends<S: Session<Event: Debug>>(subject: &Subject<'_, S>, script: &[u8], within: Duration) {
    let whole = Plan { ends: false, ..Plan::new(script, within) };
    for at in places(script.len() + 1) {
        let plan = Plan { script: &script[..at], ..whole };
        let heard = subject.play(plan, || usize::MAX, None, &format!("the peer silent behind octet {at}"));
        if let Some(last) = heard.questions.checked_sub(1) {
            let fate = move |question| if question == last { Fate::Never } else { Fate::Answered };
            let what = format!("peer silent behind octet {at}, store silent from question {last}");
            subject.play(Plan { fate: &fate, ..plan }, || usize::MAX, None, &what);
        }
    }
    let usual = subject.play(whole, || usize::MAX, None, "the peer silent at the end");
    for place in 0..usual.questions {
        let fate = move |question| if question == place { Fate::Never } else { Fate::Answered };
        let what = format!("the store silent from question {place}");
        for ends in [true, false] {
            subject.play(Plan { fate: &fate, ends, ..whole }, || usize::MAX, None, &what);
        }
    }
    for drains in places(usual.sent.len()) {
        let what = format!("the peer drains {drains} octets and no more");
        subject.play(Plan { drains, ..whole }, || usize::MAX, None, &what);
    }
}

/// Places from 0 up to, not including, `len`: all, or evenly spread.
fn places(len: usize) -> impl Iterator<Item = usize> {
    (0..len).step_by(len / PLACES + 1)
}

#[cfg(test)]
mod tests;
