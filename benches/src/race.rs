//! Contestants sampled in turn, and the table they end in.
//!
//! A machine drifts: clocks change, neighbours come and go. So the contestants of a race take turns, one short sample
//! each, round after round, on the processor clock of the thread. A time is the median over the rounds; a ratio is the
//! median of the ratios within each round, which drift touches least.

use std::time::Duration;

use crate::clock;

/// Rounds of a race.
const ROUNDS: usize = 61;

/// Processor time one sample takes at least.
const SAMPLE: Duration = Duration::from_millis(3);

/// What was asked for on the command line.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only races whose name contains this.
    pub filter: Option<String>,
    /// Few rounds: to see that a bench runs, not how fast.
    pub quick: bool,
}

impl Options {
    /// From the arguments of this process: `[--quick] [FILTER]`. Other options, cargo's own `--bench` among them, are
    /// passed over.
    #[must_use]
    pub fn from_args() -> Options {
        Options::from_words(std::env::args().skip(1))
    }

    fn from_words(words: impl Iterator<Item = String>) -> Options {
        let mut options = Options::default();
        for word in words {
            match word.as_str() {
                "--quick" => options.quick = true,
                option if option.starts_with('-') => {}
                _ => options.filter = Some(word),
            }
        }
        options
    }

    /// Whether a race of this name was asked for.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
    }
}

/// Contestants that do the same work.
pub struct Race<'a> {
    name: String,
    items: f64,
    octets: f64,
    clock: fn() -> Duration,
    contestants: Vec<(String, Box<dyn FnMut() + 'a>)>,
}

impl std::fmt::Debug for Race<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Race").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Race<'a> {
    /// A race about `items` pieces of work over `octets` octets in each call.
    pub fn new(name: impl Into<String>, items: usize, octets: usize) -> Race<'a> {
        let (items, octets) = (count(items), count(octets));
        Race { name: name.into(), items, octets, clock: clock::thread, contestants: Vec::new() }
    }

    /// Counts the processor time of all threads: for work that others are asked to do.
    #[must_use]
    pub fn of_all_threads(self) -> Race<'a> {
        Race { clock: clock::process, ..self }
    }

    /// Adds a contestant; the first one is the one the others are compared with.
    #[must_use]
    pub fn with<T>(mut self, who: &str, mut work: impl FnMut() -> T + 'a) -> Race<'a> {
        let work = move || {
            std::hint::black_box(work());
        };
        self.contestants.push((who.to_owned(), Box::new(work)));
        self
    }

    /// Runs the race and prints a row for each contestant, when the options want it.
    pub fn run(mut self, options: &Options) {
        if !options.wants(&self.name) {
            return;
        }
        let (rounds, sample) = if options.quick { (3, SAMPLE / 10) } else { (ROUNDS, SAMPLE) };
        let clock = self.clock;
        let mut lanes: Vec<Lane<'_>> =
            self.contestants.iter_mut().map(|(_, work)| Lane::new(work.as_mut(), clock, sample)).collect();
        for _ in 0..rounds {
            lanes.iter_mut().for_each(Lane::sample);
        }
        let first = lanes.first().map(|lane| lane.times.clone()).unwrap_or_default();
        let lanes: Vec<Vec<f64>> = lanes.into_iter().map(|lane| lane.times).collect();
        for ((who, _), times) in self.contestants.iter().zip(lanes) {
            let ratio = median(first.iter().zip(&times).map(|(ours, theirs)| ours / theirs).collect());
            let time = median(times);
            println!(
                "| {:<28} | {who:<38} | {:>9} | {:>9} | {ratio:>6.2} |",
                self.name,
                told_time(time / self.items),
                told_rate(self.octets / time),
            );
        }
    }
}

/// Prints the head of the table the races fill.
pub fn head(options: &Options) {
    println!("| {:<28} | {:<38} | {:>9} | {:>9} | {:>6} |", "race", "who", "time/item", "octets/s", "ours/it");
    println!("|---|---|---|---|---|");
    if options.quick {
        println!("quick: these figures mean nothing");
    }
}

struct Lane<'a> {
    work: &'a mut (dyn FnMut() + 'a),
    clock: fn() -> Duration,
    calls: u32,
    /// Seconds a call, by round.
    times: Vec<f64>,
}

impl<'a> Lane<'a> {
    fn new(work: &'a mut (dyn FnMut() + 'a), clock: fn() -> Duration, sample: Duration) -> Lane<'a> {
        let mut lane = Lane { work, clock, calls: 1, times: Vec::new() };
        loop {
            let time = lane.time();
            if time >= sample {
                return lane;
            }
            lane.calls *= 2;
        }
    }

    fn time(&mut self) -> Duration {
        let begun = (self.clock)();
        for _ in 0..self.calls {
            (self.work)();
        }
        (self.clock)() - begun
    }

    fn sample(&mut self) {
        let time = self.time().as_secs_f64() / f64::from(self.calls);
        self.times.push(time);
    }
}

/// The middle of some figures; 0 of none.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn count(of: usize) -> f64 {
    f64::from(u32::try_from(of).expect("fewer than 2^32"))
}

/// A time in the unit that suits it.
#[must_use]
pub fn told_time(seconds: f64) -> String {
    match seconds {
        short if short < 1e-6 => format!("{:.1} ns", short * 1e9),
        middle if middle < 1e-3 => format!("{:.2} us", middle * 1e6),
        long => format!("{:.2} ms", long * 1e3),
    }
}

fn told_rate(octets: f64) -> String {
    match octets {
        0.0 => "-".into(),
        slow if slow < 1e9 => format!("{:.0} MB/s", slow / 1e6),
        fast => format!("{:.1} GB/s", fast / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_counts() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn options_of_cargo_are_no_filter() {
        let words = |line: &str| Options::from_words(line.split(' ').map(str::to_owned));
        assert!(words("--bench").wants("anything"));
        let options = words("--bench data --quick");
        assert!(options.quick && options.wants("smtp data 64K") && !options.wants("smtp parse"));
    }

    #[test]
    fn units_suit_their_figures() {
        assert_eq!(told_time(12.34e-9), "12.3 ns");
        assert_eq!(told_time(12.34e-6), "12.34 us");
        assert_eq!(told_time(0.01234), "12.34 ms");
        assert_eq!(told_rate(25e9), "25.0 GB/s");
        assert_eq!(told_rate(25e6), "25 MB/s");
    }
}
