//! Hints: never early, in the end always.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;

use super::fixture::{Fixture, account, wait};
use super::{Rig, Verdict};
use crate::future::BoxStream;
use crate::hints::Hint;

/// How long a hint may take before the kit calls it lost: well over any polling interval.
const PATIENCE: u32 = 1500;

/// What lies ready in a stream.
fn ready(stream: &mut BoxStream<'static, Hint>) -> Option<Hint> {
    match Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(hint) => hint,
        Poll::Pending => None,
    }
}

/// The next hint. Polls rather than waits, so that a hint that never comes is a failure and not a test that hangs.
fn next(rig: &dyn Rig, stream: &mut BoxStream<'static, Hint>) -> Hint {
    for _ in 0..PATIENCE {
        // Inside the rig, for streams that need its runtime.
        if let Some(hint) = wait(rig, async { ready(stream) }) {
            return hint;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no hint came");
}

/// A hint comes after what it tells of can be read, names a batch end, and is for its own account only.
///
/// The bug: hints sent before the commit. IDLE woke, looked, found nothing, and the mail showed with the next one.
pub fn hints_come_after_the_commit(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let second = account(2);
    wait(rig, store.store.provision(second, &[])).expect("a second account");
    let mut mine = wait(rig, async { store.store.hints().watch(fixture.account) });
    let mut other = wait(rig, async { store.store.hints().watch(second) });
    let mut told = store.state().at;
    for _ in 0..10 {
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| fixture.here().fill(3));
            loop {
                let hint = next(rig, &mut mine);
                assert_eq!(hint.account, fixture.account);
                let at = store.state().at;
                assert!(hint.upto <= at, "a hint of {} when {at} was all there was", hint.upto);
                assert_eq!((hint.upto.value() - told.value()) % 3, 0, "a hint names a batch end");
                if hint.upto.value() >= told.value() + 3 {
                    break;
                }
            }
            writer.join().expect("no writer fails");
        });
        told = store.state().at;
    }
    // Its own beginning may still be told.
    let began = wait(rig, store.store.account(second)).expect("it is there").at;
    if let Some(hint) = wait(rig, async { ready(&mut other) }) {
        assert!(hint.account == second && hint.upto <= began, "the other account heard of this one: {hint:?}");
    }
    Verdict::Proved
}

/// Who does not read is told the newest at last, and costs no memory.
///
/// The bug: one hint a message for a phone in a tunnel; the list grew until the server was out of memory.
pub fn a_slow_watcher_gets_the_newest(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let mut slow = wait(rig, async { store.store.hints().watch(fixture.account) });
    for number in 0..100 {
        store.add(fixture.inbox, &number.to_string());
    }
    let at = store.state().at;
    let mut taken = 0;
    while next(rig, &mut slow).upto < at {
        taken += 1;
        assert!(taken < 100, "hints coalesce");
    }
    drop(slow);
    store.add(fixture.inbox, "after the watch was dropped");
    Verdict::Proved
}
