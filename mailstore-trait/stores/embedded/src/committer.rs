//! The one thread that writes: it commits together what queued while the last sync ran.
//!
//! ```text
//! take what waits (at most max_batch) -> BEGIN IMMEDIATE
//!   each: SAVEPOINT -> apply -> RELEASE, or ROLLBACK TO when it is refused
//! COMMIT (one sync) -> hints -> answer everybody
//! ```
//! A refused batch does not hurt its neighbours. When SQLite gives up the whole transaction in the middle, the work
//! it gave up on is answered and the rest is done again; when there is no room for all, each is tried by itself.
//! No answer leaves before the sync, and a group goes without one only when nobody in it needs it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::stats::count;
use crate::write::{Effects, Tx};

/// Something to be written. It may be applied more than once; only the last time counts.
pub(crate) trait Work: Send {
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()>;
    /// Whether it has to outlive a loss of power.
    fn is_durable(&self) -> bool {
        true
    }
    fn answer(self: Box<Self>, outcome: Result<()>);
}

pub(crate) struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    max_waiting: usize,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Work>>,
    closed: bool,
}

impl Committer {
    pub(crate) fn start(connection: Connection, env: Arc<Env>) -> std::io::Result<Committer> {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new() });
        let max_waiting = env.config.max_waiting;
        let thread = std::thread::Builder::new().name("mailstore-commit".into()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                let end = End(shared);
                Writer { connection, env, syncs: true }.serve(&end.0);
            }
        })?;
        Ok(Committer { shared, thread: Mutex::new(Some(thread)), max_waiting })
    }

    /// Queues work; its answer comes through [`Work::answer`].
    pub(crate) fn submit(&self, work: Box<dyn Work>) {
        let mut state = self.shared.lock();
        if state.closed {
            drop(state);
            return work.answer(Err(Fault::unavailable("the store was closed")));
        }
        if state.waiting.len() >= self.max_waiting {
            drop(state);
            return work.answer(Err(Fault::Busy));
        }
        state.waiting.push_back(work);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Does `run` inside a transaction and answers once it is durable.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.begin(run, true).await.unwrap_or_else(|_| Err(Fault::unavailable("the store was closed")))
    }

    /// The same, answered once other processes can read it. What is durable later makes it durable too.
    pub(crate) async fn write_unsynced<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.begin(run, false).await.unwrap_or_else(|_| Err(Fault::unavailable("the store was closed")))
    }

    /// The same for a thread that may block.
    pub(crate) fn write_blocking<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.begin(run, true).blocking_recv().unwrap_or_else(|_| Err(Fault::unavailable("the store was closed")))
    }

    /// The same as [`write_unsynced`](Committer::write_unsynced) for a thread that may block.
    pub(crate) fn write_unsynced_blocking<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.begin(run, false).blocking_recv().unwrap_or_else(|_| Err(Fault::unavailable("the store was closed")))
    }

    fn begin<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
        durable: bool,
    ) -> oneshot::Receiver<Result<T>> {
        let (reply, answer) = oneshot::channel();
        self.submit(Box::new(Call { run, value: None, durable, reply }));
        answer
    }

    /// Lets what waits be written and takes no more.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }

    /// Waits until everything is written. Blocks; for a thread that may.
    pub(crate) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.close();
    }
}

struct Call<T, F> {
    run: F,
    value: Option<T>,
    durable: bool,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&mut Tx<'_>) -> Result<T> + Send> Work for Call<T, F> {
    fn apply(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        self.value = Some((self.run)(tx)?);
        Ok(())
    }

    fn is_durable(&self) -> bool {
        self.durable
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        let Call { value, reply, .. } = *self;
        let missing = || Fault::unavailable("the write was not run");
        let _ = reply.send(outcome.and_then(|()| value.ok_or_else(missing)));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that waits, up to `max`; nothing when the store is closed and all is written.
    fn take(&self, max: usize) -> Vec<Box<dyn Work>> {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.closed {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let many = state.waiting.len().min(max.max(1));
        state.waiting.drain(..many).collect()
    }
}

/// However the thread ends, nobody waits for it for ever.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        for work in waiting {
            work.answer(Err(Fault::unavailable("the store was closed")));
        }
    }
}

struct Writer {
    connection: Connection,
    env: Arc<Env>,
    /// Whether transactions end in a sync at present.
    syncs: bool,
}

/// How one try at a group ended.
enum Attempt {
    /// Committed; what became of each.
    Done(Vec<Result<()>>, Effects),
    /// The transaction was given up while this one was applied.
    Lost(usize, Fault),
    /// The transaction did not begin or did not commit.
    Failed(Fault),
}

impl Writer {
    fn serve(mut self, shared: &Shared) {
        loop {
            let group = shared.take(self.env.config.max_batch);
            if group.is_empty() {
                break;
            }
            self.write(group);
        }
        // Leaves a database that opens without recovery; others may still have it open, which is no harm.
        let _ = self.connection.pragma_query(None, "wal_checkpoint", |_| Ok(()));
    }

    fn write(&mut self, mut group: Vec<Box<dyn Work>>) {
        while !group.is_empty() {
            match self.attempt(&mut group) {
                Attempt::Done(outcomes, effects) => return self.finish(group, outcomes, effects),
                Attempt::Lost(at, fault) => self.fail(group.remove(at), fault),
                // One large batch must not take the small ones down with it.
                Attempt::Failed(Fault::Full) if group.len() > 1 => {
                    return group.into_iter().for_each(|work| self.write(vec![work]));
                }
                Attempt::Failed(fault) => {
                    return group.into_iter().for_each(|work| self.fail(work, fault.clone()));
                }
            }
        }
    }

    fn attempt(&mut self, group: &mut [Box<dyn Work>]) -> Attempt {
        if let Err(fault) = self.sync_if(group.iter().any(|work| work.is_durable())) {
            return Attempt::Failed(self.explain(fault));
        }
        if let Err(fault) = self.run("BEGIN IMMEDIATE") {
            return Attempt::Failed(self.explain(fault));
        }
        let mut tx = match Tx::begin(&self.connection, &self.env) {
            Ok(tx) => tx,
            Err(fault) => {
                let _ = self.run("ROLLBACK");
                return Attempt::Failed(fault);
            }
        };
        let mut outcomes = Vec::with_capacity(group.len());
        for (at, work) in group.iter_mut().enumerate() {
            let outcome = tx.isolated(|tx| work.apply(tx));
            if self.connection.is_autocommit() {
                let fault = outcome.err().unwrap_or_else(|| Fault::unavailable("the transaction was given up"));
                return Attempt::Lost(at, self.explain(fault));
            }
            outcomes.push(outcome);
        }
        let ended = tx.end();
        let effects = match ended {
            Ok(effects) => effects,
            Err(fault) => {
                let _ = self.run("ROLLBACK");
                return Attempt::Failed(self.explain(fault));
            }
        };
        let committed = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if let Err(error) = committed {
            let fault = self.explain(Fault::of_commit(error));
            if !self.connection.is_autocommit() {
                let _ = self.run("ROLLBACK");
            }
            return Attempt::Failed(fault);
        }
        Attempt::Done(outcomes, effects)
    }

    fn sync_if(&mut self, syncs: bool) -> Result<()> {
        if self.syncs != syncs {
            self.connection.pragma_update(None, "synchronous", if syncs { "FULL" } else { "NORMAL" })?;
            self.syncs = syncs;
        }
        Ok(())
    }

    fn run(&self, statement: &str) -> Result<()> {
        self.connection.prepare_cached(statement)?.execute([])?;
        Ok(())
    }

    /// SQLite says only "I/O error" for some full and some read-only disks; asking the disk tells more.
    fn explain(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Unavailable(_) | Fault::Unknown(_) => match self.env.blobs.probe() {
                Err(found @ (Fault::Full | Fault::ReadOnly)) if matches!(fault, Fault::Unavailable(_)) => found,
                _ => fault,
            },
            other => other,
        }
    }

    fn finish(&self, group: Vec<Box<dyn Work>>, outcomes: Vec<Result<()>>, effects: Effects) {
        count(&self.env.counters.transactions, 1);
        self.env.left_moves(effects.moves);
        for blob in effects.unlink {
            self.env.blobs.unlink(blob);
        }
        // All of it can be read by now. Told before it is answered, so that who begins to watch after an answer hears
        // of later commits only.
        for (account, at) in effects.moved {
            self.env.hints.publish(account, at);
        }
        for (work, outcome) in group.into_iter().zip(outcomes) {
            count(if outcome.is_ok() { &self.env.counters.writes } else { &self.env.counters.failed }, 1);
            work.answer(outcome);
        }
    }

    fn fail(&self, work: Box<dyn Work>, fault: Fault) {
        count(&self.env.counters.failed, 1);
        work.answer(Err(fault));
    }
}
