//! A few threads with something of their own each (a connection), and work waiting for them.
//!
//! Threads start when there is work and nobody idle, and stay. The answers are plain futures, so any executor will do.
//! The thread that worked last is woken first: what it has (a connection's pages) is the warmest.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use tokio::sync::oneshot;

use crate::fault::{Fault, Result};

type Task<S> = Box<dyn FnOnce(Result<&mut S>) + Send>;
type Make<S> = Box<dyn Fn() -> Result<S> + Send + Sync>;

pub(crate) struct Pool<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    name: &'static str,
    make: Make<S>,
    max_threads: usize,
    max_waiting: usize,
    state: Mutex<State<S>>,
    /// Rung whenever a thread has ended.
    ended: Condvar,
}

struct State<S> {
    tasks: VecDeque<Task<S>>,
    threads: usize,
    /// Those that wait for work, the one that worked last at the end.
    idle: Vec<Thread>,
    closed: bool,
}

impl<S: 'static> Pool<S> {
    pub(crate) fn new(name: &'static str, max_threads: usize, max_waiting: usize, make: Make<S>) -> Pool<S> {
        let state = State { tasks: VecDeque::new(), threads: 0, idle: Vec::new(), closed: false };
        let shared = Shared {
            name,
            make,
            max_threads: max_threads.max(1),
            max_waiting,
            state: Mutex::new(state),
            ended: Condvar::new(),
        };
        Pool { shared: Arc::new(shared) }
    }

    /// Runs `work` on one of the threads. Dropping the future leaves the work to end by itself.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.submit(Box::new(move |state| {
            // Nobody listening any more: the question need not be answered.
            if !reply.is_closed() {
                let _ = reply.send(state.and_then(work));
            }
        }))?;
        answer.await.unwrap_or_else(|_| Err(Fault::unavailable("the store was closed")))
    }

    fn submit(&self, task: Task<S>) -> Result<()> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(Fault::unavailable("the store was closed"));
        }
        if state.tasks.len() >= self.shared.max_waiting {
            return Err(Fault::Busy);
        }
        state.tasks.push_back(task);
        // One that is taken off the list wakes to look for work, and so finds this or another's.
        let woken = state.idle.pop();
        if woken.is_none() && state.threads < self.shared.max_threads {
            let shared = Arc::clone(&self.shared);
            let spawned = std::thread::Builder::new().name(self.shared.name.into()).spawn(move || shared.serve());
            match spawned {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    state.tasks.pop_back();
                    return Err(Fault::unavailable(error));
                }
                Err(_) => {}
            }
        }
        drop(state);
        if let Some(thread) = woken {
            thread.unpark();
        }
        Ok(())
    }

    /// Lets the waiting work end and takes no more.
    pub(crate) fn close(&self) {
        self.shared.close();
    }

    /// Waits until the threads are gone. Blocks; for a thread that may.
    pub(crate) fn join(&self) {
        let mut state = self.shared.lock();
        while state.threads > 0 {
            state = self.shared.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.idle.drain(..).for_each(|thread| thread.unpark());
    }

    fn serve(&self) {
        let _leave = Leave(self);
        let mut own = None;
        while let Some(task) = self.next() {
            if own.is_none() {
                match (self.make)() {
                    Ok(made) => own = Some(made),
                    Err(fault) => {
                        task(Err(fault));
                        continue;
                    }
                }
            }
            if let Some(own) = own.as_mut() {
                task(Ok(own));
            }
        }
    }

    fn next(&self) -> Option<Task<S>> {
        let this = std::thread::current();
        loop {
            let mut state = self.lock();
            // It may have woken for no reason, and be on the list still.
            state.idle.retain(|thread| thread.id() != this.id());
            if let Some(task) = state.tasks.pop_front() {
                return Some(task);
            }
            if state.closed {
                return None;
            }
            state.idle.push(this.clone());
            drop(state);
            std::thread::park();
        }
    }
}

/// Counts a thread out however it ends.
struct Leave<'a, S>(&'a Shared<S>);

impl<S> Drop for Leave<'_, S> {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    /// A long question must not hold up the short ones behind it.
    #[tokio::test]
    async fn a_long_task_holds_up_nobody() {
        let pool = Arc::new(Pool::new("test", 2, 10, Box::new(|| Ok(()))));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let long = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(move |()| held.recv().map_err(|_| Fault::NotFound)).await }
        });
        for n in 0..10 {
            assert_eq!(pool.run(move |()| Ok(n)).await.unwrap(), n);
        }
        release.send(()).unwrap();
        long.await.unwrap().unwrap();
        pool.close();
        pool.join();
        assert!(matches!(pool.run(|()| Ok(())).await, Err(Fault::Unavailable(_))));
    }

    #[tokio::test]
    async fn too_much_work_is_refused_as_busy() {
        let pool = Arc::new(Pool::new("test", 1, 1, Box::new(|| Ok(()))));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (begun, begin) = oneshot::channel();
        let first = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.run(move |()| {
                    let _ = begun.send(());
                    held.recv().map_err(|_| Fault::NotFound)
                })
                .await
            }
        });
        begin.await.unwrap();
        let mut second = Box::pin(pool.run(|()| Ok(())));
        // Polled once it waits in the queue, and fills it.
        assert!(std::future::poll_fn(|context| Poll::Ready(second.as_mut().poll(context).is_pending())).await);
        assert!(matches!(pool.run(|()| Ok(())).await, Err(Fault::Busy)));
        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        second.await.unwrap();
    }
}
