//! One session in virtual time, without a stream.
//!
//! [`Driven`] does what a driver does (reads only when told to, polls until `Wait`, sleeps until the deadline) and
//! checks at every step what the contract promises: a session that says it reads has room, a deadline lies ahead, and
//! polling comes to an end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};

use crate::session::{CloseReason, LayerError, LayerInfo, Output, Session, Wait};

/// Outputs without a `Wait` after which a session counts as one that never waits.
const POLLS: u32 = 1_000_000;

/// What a question is, for people and for comparisons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A question that is the same however the input was split.
    Whole(String),
    /// A piece of a body under this name: pieces in a row are one question to whoever compares.
    Piece(String, Bytes),
}

/// An instant to count from. The only clock reading in the kit: there is no other way to make an [`Instant`].
#[allow(clippy::disallowed_methods, reason = "its value is never looked at")]
#[must_use]
pub fn epoch() -> Instant {
    Instant::now()
}

/// A session and what its driver knows.
#[derive(Debug)]
pub struct Driven<S: Session> {
    /// The session.
    pub session: S,
    /// Octets the peer sent that the session has not taken.
    pub input: VecDeque<u8>,
    /// Whether the peer ends after `input`.
    pub ending: bool,
    /// Octets sent that the peer has not drained.
    pub unsent: usize,
    now: Instant,
    wait: Option<Wait>,
    ended: bool,
    closed: Option<CloseReason>,
    polls: u32,
}

impl<S: Session> Driven<S> {
    /// A session that begins now.
    pub fn new(session: S, now: Instant) -> Driven<S> {
        Driven {
            session,
            input: VecDeque::new(),
            ending: false,
            unsent: 0,
            now,
            wait: None,
            ended: false,
            closed: None,
            polls: 0,
        }
    }

    /// The session's time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Why the session ended, once it has.
    pub fn closed(&self) -> Option<CloseReason> {
        self.closed
    }

    /// What the session waits for; `None` before the first `Wait` and after the end.
    pub fn wait(&self) -> Option<Wait> {
        self.wait
    }

    /// Polls once.
    ///
    /// # Panics
    /// When the session breaks the contract, and when it is polled after its end.
    pub fn poll(&mut self) -> Output<S::Request, S::Event> {
        assert!(self.closed.is_none(), "a session that has closed is not polled");
        self.polls += 1;
        assert!(self.polls < POLLS, "the session gave {POLLS} outputs and no Wait");
        let output = self.session.poll_output(self.now, self.unsent);
        self.wait = None;
        match &output {
            Output::Wait(wait) => {
                self.polls = 0;
                self.wait = Some(*wait);
                let room = self.session.input_buf().remaining_mut();
                assert!(
                    !wait.input || room > 0,
                    "Wait says input, but there is no room: a read of 0 looks like the end"
                );
                assert!(
                    wait.deadline.is_none_or(|at| at > self.now),
                    "Wait names a deadline that has passed: the driver would spin"
                );
                assert!(!(wait.input && self.ended), "Wait says input after the end of the stream");
            }
            Output::Close(reason) => self.closed = Some(*reason),
            _ => {}
        }
        output
    }

    /// Hands the session at most `max` octets of its input, or the end of it, if it waits for input. Says whether it did.
    pub fn feed(&mut self, max: usize) -> bool {
        if !self.wait.is_some_and(|wait| wait.input) || self.ended {
            return false;
        }
        if self.input.is_empty() {
            if self.ending {
                self.ended = true;
                self.session.handle_eof();
            }
            return self.ending;
        }
        let mut taken = 0;
        while taken < max && !self.input.is_empty() {
            let mut buf = self.session.input_buf();
            let (front, _) = self.input.as_slices();
            let room = buf.remaining_mut().min(front.len()).min(max - taken);
            if room == 0 {
                break;
            }
            buf.put_slice(front.get(..room).unwrap_or_default());
            self.input.drain(..room);
            taken += room;
        }
        taken > 0
    }

    /// Tells the session that writing failed: what was not fed yet never comes.
    pub fn reset(&mut self) {
        self.input.clear();
        (self.ending, self.ended, self.unsent) = (true, true, 0);
        self.session.handle_reset();
    }

    /// Continues the session with an answer.
    pub fn resume(&mut self, answered: S::Answered) {
        self.session.resume(answered);
    }

    /// Tells the session how the layer it asked for went.
    pub fn layered(&mut self, done: Result<LayerInfo, LayerError>) {
        self.session.layered(done);
    }

    /// Lets time pass up to `limit`, but not beyond the deadline the session waits for. Says whether that deadline came.
    pub fn sleep_until(&mut self, limit: Instant) -> bool {
        let deadline = self.wait.and_then(|wait| wait.deadline).filter(|at| *at <= limit);
        self.now = deadline.unwrap_or(limit).max(self.now);
        deadline.is_some()
    }

    /// Lets time pass without anybody looking.
    pub fn skip(&mut self, by: Duration) {
        self.now += by;
    }
}
