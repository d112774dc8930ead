//! Quotas: asked inside the commit, so that nobody gets past them by being two.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::fixture::{Fixture, message, uids};
use super::{Rig, Verdict};
use crate::batch::Op;
use crate::error::{CommitError, OpError, QuotaError};
use crate::flags::{FlagChange, FlagSet, SystemFlags};
use crate::quota::{Quota, QuotaLimits, QuotaUsage};
use crate::uid_set::UidSet;

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

/// Messages and folders have limits of their own, all of them asked inside the commit; what is lowered below what there is
/// refuses additions and nothing else.
///
/// The bug: a quota counted octets only. A loop in somebody's rules made two million empty messages, all of them within
/// it, and the mailbox could not be opened any more.
pub fn messages_and_folders_have_limits(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let Some(quotas) = store.store.as_quota() else { return Verdict::Unproved("the store keeps no quotas") };
    let set = |limits| store.wait(quotas.set_quota(fixture.account, limits)).expect("a quota can be set");
    let size = message("a").len() as u64;
    let limits = QuotaLimits::none().with_messages(Some(2)).with_folders(Some(2));
    assert_eq!(set(limits), Quota::new(limits, QuotaUsage::new(0, 0, 1)), "the inbox counts");
    store.add(fixture.inbox, "a");
    store.add(fixture.inbox, "b");
    let add = store.adding(fixture.inbox, "c", FlagSet::new());
    assert_eq!(store.refused(add.clone()), OpError::OverQuota);
    assert_eq!(store.refused(Op::Copy { from: fixture.inbox, uids: uids([1]), to: fixture.inbox }), OpError::OverQuota);
    let other = store.folder(None, "Other").id;
    let one_more = Op::CreateFolder { parent: None, name: "More".into(), role: None };
    assert_eq!(store.refused(one_more.clone()), OpError::OverQuota);
    let expected = Quota::new(limits, QuotaUsage::new(2 * size, 2, 2));
    assert_eq!(store.wait(quotas.quota(fixture.account)).expect("the account is there"), expected);
    // Lowered below what there is: nothing goes, and what takes nothing still works.
    let lowered = QuotaLimits::none().with_messages(Some(1)).with_storage(Some(1)).with_folders(Some(1));
    assert_eq!(set(lowered).usage, expected.usage);
    assert_eq!(store.state().quota, Some(1), "one limit, told in two places");
    store.op(Op::Move { from: fixture.inbox, uids: uids([1]), to: other });
    assert_eq!(store.refused(add.clone()), OpError::OverQuota);
    assert_eq!(set(QuotaLimits::none()).limits, QuotaLimits::none());
    store.ops(vec![add, one_more]);
    assert!(matches!(store.wait(quotas.quota(super::fixture::account(77))), Err(QuotaError::NotFound)));
    assert!(matches!(
        store.wait(quotas.set_quota(super::fixture::account(77), QuotaLimits::none())),
        Err(QuotaError::NotFound)
    ));
    Verdict::Proved
}

/// What an EXPUNGE would give back is told by folder and follows every change of `\Deleted`.
///
/// The bug: people over their quota were told that emptying a folder would free nothing, for the sum was taken when the
/// messages came.
pub fn deleted_octets_are_what_an_expunge_frees(rig: &dyn Rig) -> Verdict {
    let fixture = Fixture::new(rig);
    let store = fixture.here();
    let Some(quotas) = store.store.as_quota() else { return Verdict::Unproved("the store keeps no quotas") };
    let deleted = || store.wait(quotas.deleted_octets(fixture.account)).expect("the account is there");
    store.fill(3);
    let size = message("message 0").len() as u64;
    assert_eq!(deleted(), []);
    let flag = || SystemFlags::DELETED.into();
    store.set_flags(uids([1, 2]), FlagChange::Add(flag()), None);
    assert_eq!(deleted(), [(fixture.inbox, 2 * size)]);
    store.set_flags(uids([1]), FlagChange::Remove(flag()), None);
    assert_eq!(deleted(), [(fixture.inbox, size)]);
    let other = store.folder(None, "Other").id;
    store.op(Op::Copy { from: fixture.inbox, uids: uids([2]), to: other });
    assert_eq!(deleted(), [(fixture.inbox, size), (other, size)]);
    store.remove(fixture.inbox, UidSet::all(), true);
    store.op(Op::DeleteFolder { folder: other });
    assert_eq!(deleted(), []);
    Verdict::Proved
}
