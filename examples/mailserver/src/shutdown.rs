//! One signal for everybody to end, and a count of who has not ended yet.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// Ends everything that holds a [`Shutdown`].
#[derive(Debug)]
pub(crate) struct Trigger {
    signal: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
}

/// Told when to end; counted until dropped.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    signal: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

/// A trigger and what it ends.
pub(crate) fn channel() -> (Trigger, Shutdown) {
    let (signal, listening) = watch::channel(false);
    let (alive, ended) = mpsc::channel(1);
    (Trigger { signal, ended }, Shutdown { signal: listening, _alive: alive })
}

impl Trigger {
    /// Tells everybody to end and waits until all have, at most for `grace`; whether they had.
    pub(crate) async fn end(mut self, grace: Duration) -> bool {
        let _ = self.signal.send(true);
        tokio::time::timeout(grace, self.ended.recv()).await.is_ok()
    }
}

impl Shutdown {
    /// Waits until it is time to end.
    pub(crate) async fn signalled(&mut self) {
        // The sender is gone only when the program ends anyway.
        let _ = self.signal.wait_for(|end| *end).await;
    }

    /// The same as something a driver polls.
    pub(crate) fn poller(&self) -> Poller {
        let mut signal = self.signal.clone();
        Poller(Box::pin(async move {
            let _ = signal.wait_for(|end| *end).await;
        }))
    }
}

/// Ready once it is time to end.
pub(crate) struct Poller(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Poller {
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_is_told_and_waited_for() {
        let (trigger, mut shutdown) = channel();
        let task = tokio::spawn(async move { shutdown.signalled().await });
        assert!(trigger.end(Duration::from_secs(5)).await);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn those_that_do_not_end_are_not_waited_for_for_ever() {
        let (trigger, shutdown) = channel();
        assert!(!trigger.end(Duration::from_millis(10)).await);
        drop(shutdown);
    }
}
