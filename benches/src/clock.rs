//! Processor time, which other programs on the machine do not add to.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time this thread has used.
#[must_use]
pub fn thread() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// Processor time all threads of this process have used.
#[must_use]
pub fn process() -> Duration {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).expect("processor time is not negative");
    let nanos = u32::try_from(time.tv_nsec).expect("nanoseconds are below 10^9");
    Duration::new(seconds, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time_on_both_clocks_and_sleep_on_none() {
        let (thread, process) = (super::thread(), super::process());
        let mut sum = 0_u64;
        while super::thread() - thread < Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(super::process() - process >= Duration::from_millis(4));
        let thread = super::thread();
        std::thread::sleep(Duration::from_millis(60));
        assert!(super::thread() - thread < Duration::from_millis(30));
    }
}
