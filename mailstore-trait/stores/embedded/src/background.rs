//! What goes on beside the sessions: news from other processes, and what nobody needs any more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mailstore_trait::id::ModSeq;
use rusqlite::{Connection, OptionalExtension};

use crate::committer::Committer;
use crate::env::{Env, sql};
use crate::fault::Result;
use crate::write::account::unsigned;
use crate::write::{Tx, upkeep};
use crate::{schema, search};

/// Files looked up in one transaction.
const SLICE: usize = 500;

/// Ends the threads here.
#[derive(Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    pub(crate) fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits this long; `false` when it is time to end.
    pub(crate) fn sleep(&self, duration: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(stopped, duration, |stopped| !*stopped);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

pub(crate) fn start(
    env: &Arc<Env>,
    committer: Option<&Arc<Committer>>,
    stop: &Arc<Stop>,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let mut threads = vec![std::thread::Builder::new().name("mailstore-hints".into()).spawn({
        let (env, stop) = (Arc::clone(env), Arc::clone(stop));
        move || listen(&env, &stop)
    })?];
    if let Some(committer) = committer {
        threads.push(std::thread::Builder::new().name("mailstore-tidy".into()).spawn({
            // The store's end must not wait for this thread, so it holds nothing of it between its rounds.
            let (env, committer, stop) = (Arc::clone(env), Arc::downgrade(committer), Arc::clone(stop));
            move || tidy_for_ever(&env, &committer, &stop)
        })?);
        if env.config.search_index {
            threads.push(std::thread::Builder::new().name("mailstore-index".into()).spawn({
                let (env, committer, stop) = (Arc::clone(env), Arc::downgrade(committer), Arc::clone(stop));
                move || search::worker::run(&env, &committer, &stop)
            })?);
        }
    }
    Ok(threads)
}

/// Tells watchers of what other processes did.
fn listen(env: &Env, stop: &Stop) {
    let mut connection = None;
    let mut seen = Seen::default();
    while stop.sleep(env.config.hint_interval) {
        if connection.is_none() {
            connection = schema::open_reader(&env.database, &env.config).ok();
        }
        let Some(open) = &connection else { continue };
        if let Err(fault) = look(env, open, &mut seen) {
            tracing::warn!(?fault, "news from other processes can't be read");
            connection = None;
        }
    }
}

#[derive(Default)]
struct Seen {
    version: i64,
    foreign: u64,
}

/// Looks whether somebody else moved accounts on: a pragma when nothing was committed at all, a number when all that
/// was committed is our own.
///
/// Others are noticed here while our committer is idle, and by the committer when it next takes the lock.
fn look(env: &Env, connection: &Connection, seen: &mut Seen) -> Result<()> {
    let version: i64 = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
    let foreign = env.foreign.load(Ordering::Acquire);
    if version == seen.version && foreign == seen.foreign {
        return Ok(());
    }
    if foreign != seen.foreign || others(env, connection)? {
        let mut find = connection.prepare_cached("SELECT at FROM account WHERE id = ?1")?;
        for account in env.hints.watched() {
            let at: Option<i64> = find.query_row([sql(account.value())], |row| row.get(0)).optional()?;
            if let Some(at) = at.and_then(|at| ModSeq::new(unsigned(at))) {
                env.hints.publish(account, at);
            }
        }
    }
    *seen = Seen { version, foreign };
    Ok(())
}

/// Whether the count of moves says that others moved accounts on.
///
/// A commit of our own can be seen for an instant before it is counted as ours; so this looks more than once.
fn others(env: &Env, connection: &Connection) -> Result<bool> {
    for _ in 0..3 {
        let own = env.moves.load(Ordering::Acquire);
        let moves: i64 = connection.prepare_cached("SELECT moves FROM store")?.query_row([], |row| row.get(0))?;
        if moves == own {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(true)
}

fn tidy_for_ever(env: &Env, committer: &Weak<Committer>, stop: &Stop) {
    let mut orphans_due = Instant::now();
    while stop.sleep(env.config.maintenance_interval) {
        let Some(committer) = committer.upgrade() else { return };
        let outcome = rows(&committer).and_then(|()| {
            if Instant::now() >= orphans_due {
                orphans_due = Instant::now() + env.config.orphan_interval;
                files(env, &committer)?;
            }
            Ok(())
        });
        if let Err(fault) = outcome {
            tracing::warn!(?fault, "what is no longer needed could not be removed");
        }
    }
}

/// Everything there is to tidy up. Blocks.
pub(crate) fn tidy(env: &Env, committer: &Committer) -> Result<()> {
    rows(committer)?;
    files(env, committer)
}

fn rows(committer: &Committer) -> Result<()> {
    for slice in [upkeep::deleted_folders, upkeep::dead_emails, upkeep::old_results] {
        while committer.write_blocking(slice as fn(&mut Tx<'_>) -> Result<upkeep::More>)? {}
    }
    Ok(())
}

fn files(env: &Env, committer: &Committer) -> Result<()> {
    let (temporary, placed) = env.blobs.old_files(env.config.orphan_grace)?;
    temporary.iter().for_each(|path| env.blobs.remove_temporary(path));
    for names in placed.chunks(SLICE) {
        let names = names.to_vec();
        committer.write_blocking(move |tx| upkeep::orphans(tx, &names))?;
    }
    Ok(())
}
