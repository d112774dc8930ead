//! The conformance kit: one function for each promise of the storage contract, against any backend.
//!
//! A backend implements [`Rig`] and calls [`run`] in a test of its own:
//!
//! ```no_run
//! use mailstore_trait::testkit::{conformance, memory::MemRig};
//!
//! let report = conformance::run(&MemRig::new());
//! assert!(report.unproved.is_empty());
//! ```
//!
//! Each promise begins with fresh data, panics when it is broken, and tells in its documentation which bug of the past
//! it is there for. What a rig has no means for (a second process, a clock that moves) is reported as unproved, never
//! as passed. The kit needs no runtime: it runs futures through [`Rig::block_on`], several at once from threads.

#![allow(clippy::indexing_slicing, clippy::expect_used, reason = "a panic here is a broken promise")]

pub mod acl;
pub mod batches;
pub mod changes;
pub mod contents;
pub mod durability;
pub mod fixture;
pub mod flags;
pub mod folders;
pub mod hints;
pub mod identity;
pub mod leases;
pub mod metadata;
pub mod model;
pub mod order;
pub mod queue;
pub mod quota;
pub mod search;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use crate::future::BoxFuture;
use crate::id::AccountId;
use crate::store::MailStore;

/// Makes stores of one kind, each over data of its own.
pub trait Rig: Sync {
    /// Data that nobody has written to.
    fn fresh(&self) -> Box<dyn Data + '_>;

    /// Runs a future to its end; called from several threads at once. Stores with a runtime run it there.
    fn block_on(&self, work: BoxFuture<'_, ()>) {
        super::block_on(work);
    }
}

/// One store's data and what can be done to it from outside. What a backend cannot have done to it, it leaves as it
/// is here, and the promises that need it stay unproved.
pub trait Data: Sync {
    /// Opens the data; a second call opens it again, sharing whatever handles of one process share.
    fn open(&self) -> Arc<dyn MailStore>;

    /// Opens the data as another process or machine would. `None` when only one may have it open.
    fn open_elsewhere(&self) -> Option<Arc<dyn MailStore>> {
        None
    }

    /// Kills the store without warning, as a power cut would, and opens the data again. Other handles may fail from then
    /// on. `None` when that can't be done.
    fn crash(&self, store: Arc<dyn MailStore>) -> Option<Arc<dyn MailStore>> {
        drop(store);
        None
    }

    /// Moves the clock the store reads. Says whether there is one that can be moved.
    fn advance(&self, by: Duration) -> bool {
        let _ = by;
        false
    }

    /// Gives an account a quota in octets. Says whether there are quotas.
    fn set_quota(&self, account: AccountId, quota: u64) -> bool {
        let _ = (account, quota);
        false
    }
}

/// What came of a promise that was not broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Proved,
    /// The rig has no means for this.
    Unproved(&'static str),
}

/// A promise: panics when it is broken.
pub type Promise = fn(&dyn Rig) -> Verdict;

macro_rules! promises {
    ($($module:ident :: $name:ident),* $(,)?) => {
        /// Every promise, by name.
        pub const PROMISES: &[(&str, Promise)] = &[$((stringify!($name), $module::$name)),*];
    };
}

promises! {
    order::numbers_are_contiguous,
    order::no_holes_under_concurrency,
    order::counts_agree_with_rows,
    batches::all_or_nothing,
    batches::per_operation,
    batches::later_operations_see_earlier_ones,
    batches::batches_are_visible_whole,
    batches::a_repeated_batch_returns_the_first_result,
    batches::repeats_are_known_for_seven_days,
    batches::batches_have_bounds,
    changes::changes_tell_the_newest_state,
    changes::removals_are_told,
    changes::pages_add_up,
    changes::below_the_floor_is_a_gap,
    changes::what_stays_as_it_is_takes_no_number,
    changes::an_empty_account_takes_operations_on_nothing,
    changes::highest_modseq_counts_removals,
    identity::uids_and_items_are_never_reused,
    identity::uid_validity_rises_when_a_name_is_made_again,
    identity::copies_pair_and_share_the_email,
    identity::moves_pair_and_leave_removals,
    identity::everything_moves,
    identity::recent_messages_are_claimed_once,
    flags::changes_of_flags_are_deltas,
    flags::unchanged_since_leaves_conflicts,
    flags::seen_is_told_apart,
    flags::keywords_ignore_case,
    folders::folders_form_a_tree,
    folders::the_inbox_stays,
    folders::a_deleted_parent_stays_as_a_name,
    folders::roles_are_unique,
    folders::names_are_bounded,
    folders::subscriptions_outlive_folders,
    folders::provisioning_happens_once,
    folders::assertions_guard_batches,
    contents::small_contents_come_back,
    contents::large_contents_come_back_in_pieces,
    contents::prefixes_belong_to_one_item,
    contents::skeletons_are_those_of_the_octets,
    contents::uploads_are_bounded,
    contents::dropped_uploads_leave_nothing,
    contents::removed_messages_stay_readable_for_a_while,
    contents::pages_are_bounded,
    contents::accounts_are_apart,
    quota::quotas_hold_inside_the_commit,
    quota::parallel_additions_keep_the_quota,
    quota::messages_and_folders_have_limits,
    quota::deleted_octets_are_what_an_expunge_frees,
    acl::entries_are_changed_one_by_one,
    acl::lists_go_with_their_folders,
    acl::shares_are_found,
    acl::changes_of_lists_are_told_and_survive,
    metadata::entries_are_set_together,
    metadata::private_entries_are_private,
    metadata::wanted_entries_are_picked,
    metadata::entries_are_bounded,
    metadata::entries_go_with_their_folder,
    search::an_index_misses_nothing,
    search::an_index_comes_along,
    leases::a_lease_has_one_holder,
    leases::leases_run_out,
    leases::fences_keep_old_holders_out,
    queue::entries_are_leased_once,
    queue::queue_leases_run_out,
    queue::queue_and_mail_are_one_batch,
    queue::the_schedule_is_kept,
    queue::entries_can_be_looked_at_and_discarded,
    queue::queue_leases_are_renewed,
    queue::entries_are_held_and_released,
    hints::hints_come_after_the_commit,
    hints::a_slow_watcher_gets_the_newest,
    durability::acknowledged_batches_survive,
    durability::unanswered_batches_are_whole_or_absent,
    durability::handles_see_each_other,
    durability::processes_see_each_other,
    model::random_operations_agree_with_the_reference,
}

/// What a backend keeps.
#[derive(Debug, Default)]
pub struct Report {
    /// Promises that hold.
    pub proved: Vec<&'static str>,
    /// Promises the rig has no means for, and why.
    pub unproved: Vec<(&'static str, &'static str)>,
    /// Promises that are broken, and how.
    pub broken: Vec<(&'static str, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} promises proved", self.proved.len())?;
        self.unproved.iter().try_for_each(|(name, why)| writeln!(f, "unproved: {name}: {why}"))?;
        self.broken.iter().try_for_each(|(name, how)| writeln!(f, "broken: {name}: {how}"))
    }
}

/// Tries every promise and prints what is unproved.
///
/// # Panics
/// When a promise is broken, with all that are.
pub fn run(rig: &dyn Rig) -> Report {
    let report = check(rig, |_| true);
    println!("{report}");
    assert!(report.broken.is_empty(), "{report}");
    report
}

/// Tries the promises with these names; panics never.
pub fn check(rig: &dyn Rig, wanted: impl Fn(&str) -> bool) -> Report {
    let mut report = Report::default();
    for (name, promise) in PROMISES.iter().filter(|(name, _)| wanted(name)) {
        match std::panic::catch_unwind(AssertUnwindSafe(|| promise(rig))) {
            Ok(Verdict::Proved) => report.proved.push(name),
            Ok(Verdict::Unproved(why)) => report.unproved.push((name, why)),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                report.broken.push((name, text.unwrap_or_else(|| "a panic without words".to_owned())));
            }
        }
    }
    report
}

#[cfg(test)]
mod mutants;
