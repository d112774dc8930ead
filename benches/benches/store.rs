//! The embedded store: `cargo bench -p benches --bench store -- [--quick] [FILTER]`
//!
//! Writes beneath the target folder of cargo, or beneath `BENCH_DIR`: a figure about syncs is a figure about that disk.

use std::path::Path;
use std::time::Duration;

use benches::corpus;
use benches::race::{self, Options, Race, median};
use benches::store::{Cost, Office, append_and_sync};
use bytes::Bytes;
use mailstore_trait::item::Projection;

/// Writers at once, in the rows that have many.
const WRITERS: u64 = 16;

fn main() {
    let options = Options::from_args();
    let folder = std::env::var("BENCH_DIR").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
    let folder = tempfile::tempdir_in(&folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    deliveries(&options, folder.path());
    rows(&options, folder.path());
}

/// Who delivers in a race.
enum Lane {
    /// One file, one sync a message.
    Append,
    /// This many writers into this store.
    Store(usize, Office),
}

fn deliveries(options: &Options, folder: &Path) {
    if !options.wants("store deliveries 4 KB") {
        return;
    }
    let (rounds, time) = if options.quick { (1, 20) } else { (9, 400) };
    let time = Duration::from_millis(time);
    let message = Bytes::from(corpus::text_message(4096));
    let office = |name, max_batch| Office::open(&folder.join(name), WRITERS, max_batch);
    let lanes = [
        ("append and sync a file", Lane::Append),
        ("1 writer, group commit off", Lane::Store(1, office("a", 1))),
        ("1 writer, group commit on", Lane::Store(1, office("b", 128))),
        ("16 writers, group commit off", Lane::Store(16, office("c", 1))),
        ("16 writers, group commit on", Lane::Store(16, office("d", 128))),
    ];
    let mut costs: Vec<Vec<Cost>> = lanes.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((_, lane), costs) in lanes.iter().zip(&mut costs) {
            costs.push(match lane {
                Lane::Append => append_and_sync(folder, &message, time),
                Lane::Store(writers, office) => office.deliver(*writers, &message, time),
            });
        }
    }
    println!("| store deliveries 4 KB        | messages/s | syncs/message | CPU/message | times append |");
    println!("|---|---|---|---|---|");
    let appended: Vec<f64> = costs.first().map(|costs| costs.iter().map(Cost::rate).collect()).unwrap_or_default();
    for ((name, _), costs) in lanes.iter().zip(costs) {
        let of = |what: fn(&Cost) -> f64| median(costs.iter().map(what).collect());
        let ratio = median(costs.iter().zip(&appended).map(|(cost, appended)| cost.rate() / appended).collect());
        println!(
            "| {name:<28} | {:>10.0} | {:>13.2} | {:>11} | {ratio:>12.2} |",
            of(Cost::rate),
            of(|cost| cost.syncs / cost.messages),
            race::told_time(of(|cost| cost.cpu / cost.messages)),
        );
    }
}

fn rows(options: &Options, folder: &Path) {
    let names = ["store page of 1,000 rows", "store view"];
    if !names.iter().any(|name| options.wants(name)) {
        return;
    }
    let message = Bytes::from(corpus::text_message(4096));
    let (large, small) = (Office::open(&folder.join("large"), 1, 128), Office::open(&folder.join("small"), 1, 128));
    large.fill(if options.quick { 10_000 } else { 100_000 }, &message);
    small.fill(1_000, &message);
    race::head(options);
    let structure = Projection::SKELETON | Projection::DATES;
    let summary = Projection::SUMMARY;
    Race::new("store page of 1,000 rows", 1, 0)
        .of_all_threads()
        .with("flags, of 100,000", || large.page(5001, 1000, Projection::empty()))
        .with("flags, of 1,000", || small.page(1, 1000, Projection::empty()))
        .with("structure and dates, of 100,000", || large.page(5001, 1000, structure))
        .with("summary, of 100,000", || large.page(5001, 1000, summary))
        .run(options);
    Race::new("store view", 1, 0)
        .of_all_threads()
        .with("of 100,000 messages", || large.view())
        .with("of 1,000 messages", || small.view())
        .run(options);
}
