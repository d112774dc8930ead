//! What proves sessions and stores: reference pieces that are deterministic, and tests that run against anybody's code.
//!
//! | module | what it holds |
//! |---|---|
//! | [`transcript`] | conversations as text files, played at every split and re-blessed with `BLESS=1` |
//! | [`session`] | the four tests every [`Session`](crate::session::Session) must pass |
//! | [`pipe`] | a client and a server joined in virtual time |
//! | [`driven`] | one session in virtual time: what the three above are made of |
//! | [`compliance`] | that `COMPLIANCE.toml`, citations and tests of a crate agree |
//! | [`conformance`] | every promise of the storage contract, for any backend |
//! | [`memory`], [`directory`] | the reference store, and who may use it |
//! | [`environment`], [`random`] | a clock that is set and randomness that repeats |
//!
//! Code here panics: a panic is how a test says no.

pub mod compliance;
pub mod conformance;
pub mod directory;
pub mod driven;
pub mod environment;

pub mod memory;
pub mod pipe;
pub mod random;
pub mod session;

pub mod transcript;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

#[cfg(test)]
mod parley;

/// Wakes a parked thread.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread, for stores that need no runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
