//! Measures the store: what group commit is worth, and whether anything grows with the number of messages.
//!
//! ```text
//! cargo run --release -p mailstore-embedded --example measure -- group [FOLDER]
//! cargo run --release -p mailstore-embedded --example measure -- growth [FOLDER [MESSAGES]]
//! ```
//! Absolute numbers are the disk's; ratios of one run and syncs for each message are the store's.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailstore_embedded::{Config, Store};
use mailstore_trait::batch::{AddItem, Batch, Content, Op};
use mailstore_trait::change::ChangesOptions;
use mailstore_trait::date::DateTime;
use mailstore_trait::flags::{FlagChange, FlagSet, SystemFlags};
use mailstore_trait::id::{AccountId, BatchId, FolderId, ModSeq, Uid};
use mailstore_trait::item::{ItemsOptions, Projection};
use mailstore_trait::store::{MailStore, UploadOptions, ViewOptions};
use mailstore_trait::uid_set::UidSet;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const WRITERS: u64 = 16;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = match arguments.get(1) {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match arguments.first().map(String::as_str) {
        Some("group") => runtime.block_on(group(folder.path())),
        Some("growth") => {
            let messages = arguments.get(2).map_or(Ok(100_000), |messages| messages.parse())?;
            runtime.block_on(growth(folder.path(), messages))
        }
        _ => Err("group or growth?".into()),
    }
}

fn id() -> Outcome<BatchId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| error.to_string())?;
    Ok(BatchId(id))
}

fn message(size: usize) -> Bytes {
    let mut octets = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: measured\r\n\r\n".to_vec();
    while octets.len() < size {
        octets.extend_from_slice(b"The quick brown fox jumps over the lazy dog and over again.\r\n");
    }
    octets.into()
}

async fn deliver(store: &Store, account: AccountId, folder: FolderId, octets: &Bytes) -> Outcome {
    let mut upload = store.upload(UploadOptions::new(u64::MAX)).await?;
    upload.write(octets.clone()).await?;
    let content = Content::Staged(upload.finish().await?);
    let add = AddItem { folder, content, flags: FlagSet::new(), internal_date: DateTime::default() };
    store.commit(Batch::new(id()?, account, vec![Op::Add(add)])).await?;
    Ok(())
}

async fn account(store: &Store, number: u64) -> Outcome<(AccountId, FolderId)> {
    let account = AccountId::new(number).ok_or("a number")?;
    store.provision(account, &[]).await?;
    let inbox = store.folders(account).await?.inbox().ok_or("an inbox")?.id;
    Ok((account, inbox))
}

/// Deliveries a second of 16 writers with 10 KB each, group commit on and off by turns.
async fn group(folder: &Path) -> Outcome {
    let octets = message(10_000);
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..6 {
        let grouped = round % 2 == 0;
        let mut config = Config::default();
        config.max_batch = if grouped { Config::default().max_batch } else { 1 };
        let store = Store::open(folder.join(format!("store{round}")), config)?;
        let mut places = Vec::new();
        for number in 1..=WRITERS {
            places.push(account(&store, number).await?);
        }
        let before = store.stats();
        let began = Instant::now();
        let tasks: Vec<_> = places
            .into_iter()
            .map(|(account, inbox)| {
                let (store, octets) = (store.clone(), octets.clone());
                tokio::spawn(async move {
                    let mut delivered = 0_u32;
                    while began.elapsed() < Duration::from_secs(2) {
                        deliver(&store, account, inbox, &octets).await?;
                        delivered += 1;
                    }
                    Ok::<_, Box<dyn Error + Send + Sync>>(delivered)
                })
            })
            .collect();
        let mut delivered = 0;
        for task in tasks {
            delivered += task.await??;
        }
        let rate = f64::from(delivered) / began.elapsed().as_secs_f64();
        let stats = store.stats();
        let syncs = (stats.transactions - before.transactions) as f64 / f64::from(delivered);
        let label = if grouped { "on " } else { "off" };
        println!("group commit {label}: {rate:7.0} deliveries/s, {syncs:.3} transactions a delivery");
        if let Some(rates) = rates.get_mut(usize::from(!grouped)) {
            rates.push(rate);
        }
        store.close().await;
    }
    let [on, off] = rates.map(median);
    println!("median on/off: {:.2}", on / off);
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What single operations cost while a folder grows.
async fn growth(folder: &Path, messages: u32) -> Outcome {
    let store = Store::open(folder, Config::default())?;
    let (me, inbox) = account(&store, 1).await?;
    let octets = message(2000);
    let mut upload = store.upload(UploadOptions::new(u64::MAX)).await?;
    upload.write(message(2000)).await?;
    let staged = upload.finish().await?;
    println!(
        "messages   deliver  changes  view(warm)  view(cold)  page 1000  flag one  flag 1000 expunge one   database"
    );
    let mut have = 0;
    let mut next = 1000;
    while next <= messages {
        while have < next {
            let add = || AddItem {
                folder: inbox,
                // A prefix makes each a message of its own, as deliveries are.
                content: Content::Prefixed(Bytes::from_static(b"Return-Path: <a@example.org>\r\n"), staged.clone()),
                flags: SystemFlags::SEEN.into(),
                internal_date: DateTime::default(),
            };
            let many = (next - have).min(1000);
            let ops = (0..many).map(|_| Op::Add(add())).collect();
            store.commit(Batch::new(id()?, me, ops)).await?;
            have += many;
        }
        let mut times: Vec<f64> = Vec::new();
        times.push(time(50, async || deliver(&store, me, inbox, &octets).await).await?);
        have += 50;
        let at = store.account(me).await?.at;
        let since = ModSeq::new(at.value() - 10).ok_or("a change")?;
        let changes = ChangesOptions::since(since).in_folder(inbox);
        times.push(
            time(50, async || {
                store.changes(me, changes).await?;
                Ok(())
            })
            .await?,
        );
        times.push(
            time(50, async || {
                store.view(me, inbox, ViewOptions::default()).await?;
                Ok(())
            })
            .await?,
        );
        let cold = Store::open(folder, Config::default())?;
        cold.account(me).await?;
        times.push(
            time(1, async || {
                cold.view(me, inbox, ViewOptions::default()).await?;
                Ok(())
            })
            .await?,
        );
        cold.close().await;
        let middle = have / 2;
        let range = |from: u32, many: u32| -> Outcome<UidSet> {
            let mut set = UidSet::new();
            let uid = |value| Uid::new(value).ok_or("a UID");
            set.insert_range(uid(from)?..=uid(from + many - 1)?);
            Ok(set)
        };
        let (one, thousand) = (range(middle, 1)?, range(1, 1000)?);
        let options = ItemsOptions::new(Projection::DATES);
        times.push(
            time(20, async || {
                store.items(me, inbox, &thousand, options).await?;
                Ok(())
            })
            .await?,
        );
        let mut flagged = false;
        let mut flag = async |uids: &UidSet| {
            flagged = !flagged;
            let flags = FlagSet::from(SystemFlags::FLAGGED);
            let change = if flagged { FlagChange::Add(flags) } else { FlagChange::Remove(flags) };
            let op = Op::SetFlags { folder: inbox, uids: uids.clone(), change, unchanged_since: None };
            store.commit(Batch::new(id()?, me, vec![op])).await?;
            Ok(())
        };
        times.push(time(20, async || flag(&one).await).await?);
        times.push(time(6, async || flag(&thousand).await).await?);
        let mut last = have;
        times.push(
            time(10, async || {
                last -= 1;
                let op = Op::Remove { folder: inbox, uids: range(last, 1)?, only_deleted: false };
                store.commit(Batch::new(id()?, me, vec![op])).await?;
                Ok(())
            })
            .await?,
        );
        let size = std::fs::metadata(folder.join("mail.sqlite"))?.len() / 1024 / 1024;
        let times: Vec<String> = times.iter().map(|time| format!("{time:9.3}")).collect();
        println!("{next:8} {} {size:7} MiB", times.join(" "));
        next *= 10;
    }
    store.close().await;
    Ok(())
}

/// The median of so many runs, in milliseconds.
async fn time(runs: u32, mut run: impl AsyncFnMut() -> Outcome) -> Outcome<f64> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let began = Instant::now();
        run().await?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(median(times))
}
