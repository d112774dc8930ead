//! Quotas: asked inside the commit, so that nobody gets past them by being two.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::fixture::{Fixture, message, uids};
use super::{Rig, Verdict};
use crate::batch::Op;
use crate::error::{CommitError, OpError};
use crate::flags::FlagSet;

/// Additions and copies over the quota are refused; moves and removals are not.
///
/// The bug: an account over its quota could not move mail to the trash, and so could never get below it.
pub fn quotas_hold_inside_the_commit(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let size = message("a").len() as u64;
    if !fixture.data.set_quota(fixture.account, 2 * size) {
        return Verdict::Unproved("the rig sets no quotas");
    }
    assert_eq!(store.state().quota, Some(2 * size));
    store.add(fixture.inbox, "a");
    store.add(fixture.inbox, "b");
    let add = store.adding(fixture.inbox, "c", FlagSet::new());
    assert_eq!(store.refused(add.clone()), OpError::OverQuota);
    let other = store.folder(None, "Other").id;
    let copy = Op::Copy { from: fixture.inbox, uids: uids([1]), to: other };
    assert_eq!(store.refused(copy), OpError::OverQuota, "each place counts");
    store.op(Op::Move { from: fixture.inbox, uids: uids([1]), to: other });
    match store.try_ops(vec![Op::Remove { folder: other, uids: uids([1]), only_deleted: false }, add]) {
        Ok(_) => {}
        Err(error) => panic!("room made in a batch is there for the rest of it: {error}"),
    }
    assert_eq!(store.state().octets, 2 * size);
    Verdict::Proved
}

/// Many at once get exactly as much as fits.
///
/// The bug: the quota was asked before the upload. Twenty APPENDs at once all passed, and the account was nineteen
/// messages over.
pub fn parallel_additions_keep_the_quota(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let size = message("0").len() as u64;
    if !fixture.data.set_quota(fixture.account, 5 * size) {
        return Verdict::Unproved("the rig sets no quotas");
    }
    let added = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (fixture, added) = (&fixture, &added);
            scope.spawn(move || {
                let store = fixture.here();
                for _ in 0..3 {
                    let add = store.adding(fixture.inbox, &writer.to_string(), FlagSet::new());
                    match store.try_ops(vec![add]) {
                        Ok(_) => added.fetch_add(1, Ordering::SeqCst),
                        Err(CommitError::Operation { error: OpError::OverQuota, .. }) => 0,
                        Err(error) => panic!("over quota or not, but not {error}"),
                    };
                }
            });
        }
    });
    assert_eq!(added.into_inner(), 5, "five of twelve fit");
    assert_eq!(fixture.here().state().octets, 5 * size);
    Verdict::Proved
}
