use super::*;
use crate::testkit::parley::{self, Fault, Server, WINDOW};

const SCRIPT: &[u8] =
    b"ECHO one\r\nASK two\r\nBODY 30\r\n0123456789012345678901234567 \nECHO 3\r\nECHO 4\r\nASK x\r\nASK y\r\n";
const WITHIN: Duration = Duration::from_secs(1200);

fn subject(fault: Fault) -> Subject<'static, Server> {
    Subject::new(move || Server::new(fault), parley::answer, parley::Request::decline, parley::asked)
}

/// Runs a test that must fail, and answers what it said.
fn failure(test: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(test).expect_err("the fault was not noticed");
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap().to_string())
}

#[test]
fn a_good_session_passes_all_four() {
    let subject = subject(Fault::None);
    every_split(&subject, SCRIPT);
    window_is_kept(&subject, SCRIPT, WINDOW);
    worst_answers(&subject, SCRIPT);
    silence_ends(&subject, SCRIPT, WITHIN);
}

#[test]
fn replies_that_depend_on_splits_are_found() {
    assert!(failure(|| every_split(&subject(Fault::DependsOnSplits), SCRIPT)).contains("octet by octet"));
}

#[test]
fn a_window_that_is_not_kept_is_found() {
    assert!(failure(|| window_is_kept(&subject(Fault::WideWindow), SCRIPT, WINDOW)).contains("takes 2049 octets"));
}

#[test]
fn a_stale_answer_that_is_taken_is_found() {
    assert!(failure(|| worst_answers(&subject(Fault::TakesStale), SCRIPT)).contains("answered again"));
}

#[test]
fn a_refusal_that_breaks_the_session_is_found() {
    assert!(failure(|| worst_answers(&subject(Fault::PanicsOnRefusal), SCRIPT)).contains("planted"));
}

#[test]
fn silence_without_a_deadline_is_found() {
    for fault in [Fault::NoIdleDeadline, Fault::NoAnswerDeadline, Fault::NoDrainDeadline] {
        let said = failure(move || silence_ends(&subject(fault), SCRIPT, WITHIN));
        assert!(said.contains("waits for ever"), "{fault:?}: {said}");
    }
    assert!(failure(|| silence_ends(&subject(Fault::Spins), SCRIPT, WITHIN)).contains("spin"));
    let short = Duration::from_secs(30);
    assert!(failure(move || silence_ends(&subject(Fault::None), SCRIPT, short)).contains("no end within"));
}
