//! Leases: one holder, for a while, and nobody who comes late does harm.

use std::time::Duration;

use super::fixture::{Fixture, Handle, batch_id};
use super::{Rig, Verdict};
use crate::batch::Batch;
use crate::error::{CommitError, LeaseError};
use crate::flags::FlagSet;
use crate::leases::{Lease, LeaseScope};

const MINUTE: Duration = Duration::from_secs(60);
const ANN: [u8; 16] = [1; 16];
const BOB: [u8; 16] = [2; 16];

fn acquire(store: &Handle<'_, '_>, owner: [u8; 16]) -> Result<Lease, LeaseError> {
    let scope = LeaseScope::Maildrop(store.fixture.account);
    store.wait(store.store.leases().acquire(&scope, owner, MINUTE))
}

/// A lease has one holder; who gives it back, or never had it, does nobody harm.
///
/// The bug: two POP3 sessions on one maildrop. Each deleted what the other had numbered (RFC 1939 §4).
pub fn a_lease_has_one_holder(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let first = acquire(&store, ANN).expect("nobody holds it");
    assert!(matches!(acquire(&store, BOB), Err(LeaseError::Held)));
    let other = LeaseScope::Worker("index".into());
    let worker = store.wait(store.store.leases().acquire(&other, BOB, MINUTE)).expect("another scope is another lease");
    assert_eq!(worker.scope, other);
    let renewed = store.wait(store.store.leases().renew(&first, 2 * MINUTE)).expect("the holder renews");
    assert!(renewed.expires > first.expires && renewed.token == first.token);
    let again = acquire(&store, ANN).expect("the holder may take it again");
    assert!(again.token >= renewed.token);
    store.wait(store.store.leases().release(&again)).expect("it is given back");
    let second = acquire(&store, BOB).expect("it is free");
    assert!(second.token > again.token, "tokens rise");
    assert!(matches!(store.wait(store.store.leases().renew(&again, MINUTE)), Err(LeaseError::Lost)));
    store.wait(store.store.leases().release(&again)).expect("releasing what is lost is no error");
    assert!(matches!(acquire(&store, ANN), Err(LeaseError::Held)), "and releases nothing");
    let winners = std::thread::scope(|scope| {
        let fixture = &fixture;
        let threads: Vec<_> = (10..18)
            .map(|owner| {
                scope.spawn(move || {
                    let race = LeaseScope::Worker("race".into());
                    let store = fixture.here();
                    store.wait(store.store.leases().acquire(&race, [owner; 16], MINUTE)).is_ok()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread fails")).filter(|won| *won).count()
    });
    assert_eq!(winners, 1, "of eight at once one gets it");
    Verdict::Proved
}

/// A lease runs out when it is not renewed.
///
/// The bug: a session was killed, and its maildrop stayed locked until an administrator came.
pub fn leases_run_out(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let first = acquire(&store, ANN).expect("nobody holds it");
    if !fixture.data.advance(MINUTE / 2) {
        return Verdict::Unproved("the clock can't be moved");
    }
    assert!(matches!(acquire(&store, BOB), Err(LeaseError::Held)), "it has not run out");
    let renewed = store.wait(store.store.leases().renew(&first, MINUTE)).expect("the holder renews");
    fixture.data.advance(MINUTE - Duration::from_secs(5));
    assert!(matches!(acquire(&store, BOB), Err(LeaseError::Held)), "it was renewed");
    fixture.data.advance(Duration::from_secs(10));
    let second = acquire(&store, BOB).expect("it has run out");
    assert!(second.token > renewed.token);
    assert!(matches!(store.wait(store.store.leases().renew(&renewed, MINUTE)), Err(LeaseError::Lost)));
    Verdict::Proved
}

/// A batch with the fence of an older holder is refused, even when that holder believes it still has the lease.
///
/// The bug: a POP3 server was stopped for ten minutes in the middle of QUIT, woke, and deleted by numbers that another
/// session had meanwhile given to other messages.
pub fn fences_keep_old_holders_out(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let first = acquire(&store, ANN).expect("nobody holds it");
    let fenced = |lease: &Lease, text: &str| {
        let ops = vec![store.adding(fixture.inbox, text, FlagSet::new())];
        Batch { fence: Some(lease.fence()), ..Batch::new(batch_id(), fixture.account, ops) }
    };
    let batch = fenced(&first, "while it holds");
    store.commit(batch.clone()).expect("the holder may");
    store.wait(store.store.leases().release(&first)).expect("it is given back");
    let second = acquire(&store, BOB).expect("it is free");
    match store.commit(fenced(&first, "too late")) {
        Err(CommitError::Fenced) => {}
        other => panic!("an older token is refused, not {other:?}"),
    }
    assert_eq!(store.state().messages, 1, "nothing was done");
    store.commit(batch).expect("what was done before stays done, and is told again");
    store.commit(fenced(&second, "the new holder")).expect("the new holder may");
    assert_eq!(store.state().messages, 2);
    Verdict::Proved
}
