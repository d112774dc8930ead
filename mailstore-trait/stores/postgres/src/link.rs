//! Connections, single questions, and transactions whose statements travel together.
//!
//! A *flight* is a row of statements sent before the first of them is answered: a transaction of ten statements in two
//! flights costs two round trips. `BEGIN` flies with the first one, `COMMIT` with the last one.
//!
//! ```text
//!            flight            land
//!   (new) ──────────▶ open ──────────▶ over      dropped while open and idle: ROLLBACK, not waited for
//!     │                 │                        dropped while waiting for an answer: the connection is given up
//!     └──── drop ───────┴──── drop ──▶ over
//! ```
//!
//! Nothing outlives a transaction (no session settings, no prepared statements unless configured), so that every
//! transaction may meet another server process behind a pooler.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError, TimeoutType};
use futures_util::FutureExt;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use crate::call::Call;
use crate::config::Config;
use crate::fault::{Fault, Result};

/// The longest pause before a transaction is begun anew.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 'a>>;

/// The way to the database.
pub(crate) struct Link {
    pool: Pool,
    prepared: bool,
    patience: Duration,
    begin_write: String,
    retries: u32,
}

const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

impl Link {
    pub(crate) fn new(pool: Pool, config: &Config) -> Link {
        let begin_write = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}",
            config.lock_timeout.as_millis(),
            config.idle_timeout.as_millis(),
        );
        Link {
            pool,
            prepared: config.prepared_statements,
            patience: config.answer_timeout,
            begin_write,
            retries: config.retries,
        }
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }

    pub(crate) fn retries(&self) -> u32 {
        self.retries
    }

    async fn lend(&self) -> Result<Lent> {
        let object = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => Fault::from(error),
            PoolError::Timeout(TimeoutType::Wait) => Fault::Busy,
            PoolError::Closed => Fault::unavailable("the store was closed"),
            other => Fault::lost(other),
        })?;
        Ok(Lent { object: Some(object), waiting: false, prepared: self.prepared, patience: self.patience })
    }

    /// A transaction that writes. Each statement sees what was committed before it began.
    pub(crate) async fn write(&self) -> Result<Tx<'_>> {
        Ok(Tx { lent: self.lend().await?, begin: &self.begin_write, state: State::New })
    }

    /// A transaction that reads from one snapshot.
    pub(crate) async fn read(&self) -> Result<Tx<'_>> {
        Ok(Tx { lent: self.lend().await?, begin: BEGIN_READ, state: State::New })
    }

    /// One statement on its own. It is sent again when the connection breaks, so it must be harmless to repeat.
    pub(crate) async fn ask(&self, call: Call) -> Result<Vec<Row>> {
        let mut attempt = 0;
        loop {
            let outcome = async {
                let mut answers = self.lend().await?.fly(None, std::slice::from_ref(&call), None).await?;
                Ok::<_, Fault>(answers.pop().unwrap_or_default())
            };
            match outcome.await {
                Err(fault) if fault.is_passing() && attempt < self.retries => self.pause(&mut attempt).await,
                other => return other,
            }
        }
    }

    /// Does a whole transaction, and again when it fails in passing; it must be harmless to repeat.
    pub(crate) async fn again<'a, T>(
        &self,
        work: impl Fn() -> Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>> + Send + Sync,
    ) -> Result<T> {
        let mut attempt = 0;
        loop {
            match work().await {
                Err(fault) if fault.is_passing() && attempt < self.retries => self.pause(&mut attempt).await,
                other => return other,
            }
        }
    }

    /// Waits before the next attempt: 10 ms and twice as much each time, less a random part.
    pub(crate) async fn pause(&self, attempt: &mut u32) {
        let longest = Duration::from_millis(10).saturating_mul(1 << (*attempt).min(10)).min(LONGEST_PAUSE);
        let mut random = [0; 1];
        let part = getrandom::fill(&mut random).map_or(0, |()| u32::from(random[0]));
        *attempt += 1;
        tokio::time::sleep(longest - longest * part / 512).await;
    }
}

/// A connection out of the pool. Given up, not given back, when it is dropped with an answer outstanding.
struct Lent {
    object: Option<Object>,
    waiting: bool,
    prepared: bool,
    patience: Duration,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.waiting
            && let Some(object) = self.object.take()
        {
            drop(Object::take(object));
        }
    }
}

impl Lent {
    /// Sends `before`, the calls and `after`, and waits for all answers.
    ///
    /// `after` is held back when a call could not even be sent.
    async fn fly(&mut self, before: Option<&str>, calls: &[Call], after: Option<Landing<'_>>) -> Result<Vec<Vec<Row>>> {
        let patience = self.patience;
        self.waiting = true;
        let outcome = match tokio::time::timeout(patience, self.fly_patiently(before, calls, after)).await {
            Ok(outcome) => outcome,
            // Dropped with the answer outstanding, the connection is not used again.
            Err(late) => return Err(Fault::lost(late)),
        };
        // Nor is one that broke.
        self.waiting = matches!(outcome, Err(Fault::Lost(_)));
        outcome
    }

    async fn fly_patiently(
        &mut self,
        before: Option<&str>,
        calls: &[Call],
        after: Option<Landing<'_>>,
    ) -> Result<Vec<Vec<Row>>> {
        let Some(client) = &self.object else { return Err(Fault::unavailable("the connection was given back")) };
        let mut statements = Vec::new();
        if self.prepared {
            for call in calls {
                let kinds: Vec<Type> = call.values.iter().map(|value| value.kind()).collect();
                statements.push(client.prepare_typed_cached(call.statement, &kinds).await?);
            }
        }
        let mut answers: Vec<Answer<'_>> = Vec::with_capacity(calls.len() + 1);
        let begun = before.is_some();
        if let Some(before) = before {
            answers.push(Box::pin(async { client.batch_execute(before).await.map(|()| Vec::new()) }));
        }
        let mut prepared = statements.iter();
        for call in calls {
            match prepared.next() {
                Some(statement) => {
                    let values: Vec<&(dyn ToSql + Sync)> =
                        call.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
                    answers.push(Box::pin(async move { client.query(statement, &values).await }));
                }
                None => {
                    let values: Vec<(&(dyn ToSql + Sync), Type)> =
                        call.values.iter().map(|value| (value as &(dyn ToSql + Sync), value.kind())).collect();
                    answers.push(Box::pin(async move { client.query_typed(call.statement, &values).await }));
                }
            }
        }
        let mut flight = Flight { answers, landed: Vec::new() };
        flight.landed.resize_with(flight.answers.len(), || None);
        // The first poll sends. A call that ends here was never sent, or the connection is gone.
        poll_fn(|context| {
            flight.poll(context);
            Poll::Ready(())
        })
        .await;
        let landing = match after {
            Some(after) if !flight.has_failed() => {
                *after.sent = true;
                Some(client.batch_execute(after.statement))
            }
            Some(_) | None => None,
        };
        // Both are polled by turns, so that the end goes out behind the rest at once.
        let mut landing = std::pin::pin!(async {
            match landing {
                Some(landing) => landing.await,
                None => Ok(()),
            }
        });
        let mut ended = None;
        poll_fn(|context| {
            let all = flight.poll(context);
            if ended.is_none()
                && let Poll::Ready(outcome) = landing.as_mut().poll(context)
            {
                ended = Some(outcome);
            }
            if all && ended.is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let mut rows = Vec::with_capacity(calls.len());
        for landed in flight.landed.into_iter().flatten().skip(usize::from(begun)) {
            rows.push(landed?);
        }
        ended.unwrap_or(Ok(()))?;
        Ok(rows)
    }
}

/// The statement that ends a flight.
struct Landing<'a> {
    statement: &'a str,
    /// Set when it went out.
    sent: &'a mut bool,
}

/// Answers on their way, polled in the order they were sent.
struct Flight<'a> {
    answers: Vec<Answer<'a>>,
    landed: Vec<Option<Result<Vec<Row>, Error>>>,
}

impl Flight<'_> {
    /// Whether all are there.
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> bool {
        let mut all = true;
        for (answer, landed) in self.answers.iter_mut().zip(&mut self.landed) {
            if landed.is_none() {
                match answer.as_mut().poll(context) {
                    Poll::Ready(outcome) => *landed = Some(outcome),
                    Poll::Pending => all = false,
                }
            }
        }
        all
    }

    fn has_failed(&self) -> bool {
        self.landed.iter().any(|landed| matches!(landed, Some(Err(_))))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Over,
}

/// A transaction.
pub(crate) struct Tx<'l> {
    lent: Lent,
    begin: &'l str,
    state: State,
}

/// How a transaction ended that did not commit.
pub(crate) struct NotLanded {
    pub(crate) fault: Fault,
    /// Whether it may have committed all the same.
    pub(crate) perhaps: bool,
}

impl Tx<'_> {
    /// Sends these statements together; the rows of each.
    pub(crate) async fn flight(&mut self, calls: Vec<Call>) -> Result<Vec<Vec<Row>>> {
        let begin = (self.state == State::New).then_some(self.begin);
        self.state = State::Open;
        self.lent.fly(begin, &calls, None).await
    }

    /// Sends one statement; its rows.
    pub(crate) async fn one(&mut self, call: Call) -> Result<Vec<Row>> {
        Ok(self.flight(vec![call]).await?.pop().unwrap_or_default())
    }

    /// Sends these statements and commits. The database commits nothing when one of them failed.
    pub(crate) async fn land(mut self, calls: Vec<Call>) -> Result<Vec<Vec<Row>>, NotLanded> {
        let begin = (self.state == State::New).then_some(self.begin);
        self.state = State::Open;
        let mut sent = false;
        let landing = Landing { statement: "COMMIT", sent: &mut sent };
        match self.lent.fly(begin, &calls, Some(landing)).await {
            Ok(rows) => {
                self.state = State::Over;
                Ok(rows)
            }
            // A statement that the server refused aborts the transaction, and COMMIT behind it only ends it. Without
            // the server's word for it, anything may have happened.
            Err(fault) => Err(NotLanded { perhaps: sent && matches!(fault, Fault::Lost(_)), fault }),
        }
    }

    /// The same where repeating the whole would not be harmless: what may have been done is not begun anew.
    pub(crate) async fn end_once(self, calls: Vec<Call>) -> Result<Vec<Vec<Row>>> {
        self.land(calls).await.map_err(|not| if not.perhaps { Fault::Unknown(not.fault.source()) } else { not.fault })
    }

    /// The same where repeating the whole is harmless.
    pub(crate) async fn end(self, calls: Vec<Call>) -> Result<Vec<Vec<Row>>> {
        self.land(calls).await.map_err(|not| not.fault)
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if self.state != State::Open || self.lent.waiting {
            return;
        }
        if let Some(client) = &self.lent.object {
            // Sent by the first poll; whoever uses the connection next is served behind it.
            let _ = client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}
