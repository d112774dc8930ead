//! What goes on beside the sessions: telling and hearing news, and removing what nobody needs any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mailstore_trait::id::{AccountId, ModSeq};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, NoTls};

use crate::call::{call, sql};
use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::rows::{change, number};
use crate::write::upkeep;

const CHANNEL: &str = "mailstore";
/// PostgreSQL takes less than 8,000 octets in one notice.
const MAX_PAYLOAD: usize = 7000;
/// How long to wait for our own notice that shows whether notices come through.
const PROBE: Duration = Duration::from_secs(5);
/// How often to try to listen again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

type Stopped = watch::Receiver<bool>;

pub(crate) fn start(env: &Arc<Env>, address: tokio_postgres::Config, stopped: &Stopped) -> Vec<JoinHandle<()>> {
    let listening = Arc::new(AtomicBool::new(false));
    let mut tasks = vec![
        tokio::spawn(until(stopped.clone(), tell(Arc::clone(env)))),
        tokio::spawn(until(stopped.clone(), poll(Arc::clone(env), Arc::clone(&listening)))),
    ];
    if env.config.listen {
        tasks.push(tokio::spawn(until(stopped.clone(), hear(Arc::clone(env), address, listening))));
    }
    if !env.config.maintenance_interval.is_zero() {
        tasks.push(tokio::spawn(until(stopped.clone(), tidy(Arc::clone(env)))));
    }
    tasks
}

async fn until(mut stopped: Stopped, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// Tells other machines what was committed here, together what gathered for a moment.
async fn tell(env: Arc<Env>) {
    loop {
        env.hints.ready().await;
        tokio::time::sleep(env.config.notify_interval).await;
        for payload in payloads(&env.hints.take_outbox()) {
            // Lost notices cost latency only: the others poll too.
            if let Err(fault) = env.link.ask(call!("SELECT pg_notify($1, $2)", CHANNEL, payload)).await {
                tracing::warn!(?fault, "other machines could not be told of changes");
            }
        }
    }
}

/// `account:change` with spaces between, as many as a notice holds.
fn payloads(news: &[(AccountId, ModSeq)]) -> Vec<String> {
    let mut payloads: Vec<String> = Vec::new();
    for (account, upto) in news {
        let one = format!("{account}:{upto}");
        match payloads.last_mut().filter(|last| last.len() + one.len() < MAX_PAYLOAD) {
            Some(last) => {
                last.push(' ');
                last.push_str(&one);
            }
            None => payloads.push(one),
        }
    }
    payloads
}

fn parse(payload: &str) -> impl Iterator<Item = (AccountId, ModSeq)> {
    payload.split(' ').filter_map(|one| {
        let (account, upto) = one.split_once(':')?;
        Some((AccountId::new(account.parse().ok()?)?, ModSeq::new(upto.parse().ok()?)?))
    })
}

/// Listens, for as long as the connection holds, and then again.
async fn hear(env: Arc<Env>, address: tokio_postgres::Config, listening: Arc<AtomicBool>) {
    loop {
        if let Err(fault) = listen(&env, &address, &listening).await {
            tracing::debug!(?fault, "not listening; changes of other machines are found by polling");
        }
        listening.store(false, Ordering::Release);
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn listen(env: &Env, address: &tokio_postgres::Config, listening: &AtomicBool) -> Result<()> {
    let (client, mut connection) = address.connect(NoTls).await?;
    let (send, mut receive) = mpsc::unbounded_channel();
    let driven = async move {
        loop {
            match std::future::poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(notice))) => {
                    let _ = send.send(notice.payload().to_owned());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Fault::from(error),
                None => return Fault::lost("the connection was closed"),
            }
        }
    };
    let heard = async {
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        // A pooler answers LISTEN and forgets it. Whether notices come through is seen from one of our own.
        let mut probe = [0; 8];
        getrandom::fill(&mut probe).map_err(|error| Fault::unavailable(error.to_string()))?;
        let probe = format!("probe-{:016x}", u64::from_le_bytes(probe));
        env.link.ask(call!("SELECT pg_notify($1, $2)", CHANNEL, probe.clone())).await?;
        let mut probed = tokio::time::timeout(PROBE, async {
            while let Some(payload) = receive.recv().await {
                if payload == probe {
                    return Ok(());
                }
                parse(&payload).for_each(|(account, upto)| env.hints.heard(account, upto));
            }
            Err(Fault::lost("the connection was closed"))
        })
        .await;
        match &mut probed {
            Ok(Ok(())) => {}
            _ => return Err(Fault::unavailable("notices do not come through")),
        }
        // What was committed before we listened is not told again.
        look(env).await?;
        listening.store(true, Ordering::Release);
        while let Some(payload) = receive.recv().await {
            parse(&payload).for_each(|(account, upto)| env.hints.heard(account, upto));
        }
        Err(Fault::lost("the connection was closed"))
    };
    tokio::select! {
        fault = driven => Err(fault),
        outcome = heard => outcome,
    }
}

/// Finds out what nobody told.
async fn poll(env: Arc<Env>, listening: Arc<AtomicBool>) {
    loop {
        let listening = listening.load(Ordering::Acquire);
        let interval = if listening { env.config.listening_poll_interval } else { env.config.poll_interval };
        tokio::time::sleep(interval.min(env.config.listening_poll_interval)).await;
        if let Err(fault) = look(&env).await {
            tracing::warn!(?fault, "changes of other machines can't be looked for");
        }
    }
}

/// Accounts asked about at once.
const LOOK: usize = 1000;

async fn look(env: &Env) -> Result<()> {
    for accounts in env.hints.watched().chunks(LOOK) {
        let numbers: Vec<i64> = accounts.iter().map(|account| sql(account.value())).collect();
        let call = call!("SELECT id, at FROM mailstore.account WHERE id = ANY($1)", numbers);
        for row in &env.link.ask(call).await? {
            if let Some(account) = AccountId::new(number(row, 0)?) {
                env.hints.heard(account, change(row, 1)?);
            }
        }
    }
    Ok(())
}

async fn tidy(env: Arc<Env>) {
    loop {
        tokio::time::sleep(env.config.maintenance_interval).await;
        if let Err(fault) = upkeep::tidy(&env).await {
            tracing::warn!(?fault, "what is no longer needed could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_hold_what_fits_and_noise_is_passed_over() {
        let news: Vec<_> =
            (1..=2000).map(|n| (AccountId::new(n).unwrap(), ModSeq::new(n + (1 << 40)).unwrap())).collect();
        let payloads = payloads(&news);
        assert!(payloads.len() > 1 && payloads.iter().all(|payload| payload.len() < 8000));
        assert_eq!(payloads.iter().flat_map(|payload| parse(payload)).collect::<Vec<_>>(), news);
        assert_eq!(parse("probe-1 x:y 1: :2 0:1 3:0 4:281474976710656 7:8").count(), 1);
    }
}
