//! What work allocates: nothing for each command, little for a session that waits, a window for a body of any size.
//!
//! Counts are exact and the same on every machine, so that they can be asserted where times can't.

use allocation_counter::{AllocationInfo, measure};
use benches::corpus::{self, Dots};
use benches::smtp::{Mta, Script};
use benches::{imap, mime, pop3, smtp};
use bytes::{Bytes, BytesMut};

/// What the work allocates when it runs once more, everything it keeps for later runs being there.
fn once_warm(mut work: impl FnMut()) -> AllocationInfo {
    work();
    measure(work)
}

#[test]
fn smtp_commands_are_parsed_in_place() {
    let spent = once_warm(|| assert_eq!(smtp::parse_all(&corpus::SMTP), 8));
    assert_eq!(spent.count_total, 0);
}

#[test]
fn pop3_commands_are_parsed_in_place() {
    let spent = once_warm(|| assert_eq!(pop3::parse_all(&corpus::POP3), 8));
    assert_eq!(spent.count_total, 0);
}

/// All but two: the fields of a header list are gathered in a vector, and five items or search keys are more than lie
/// inline.
#[test]
fn imap_commands_are_parsed_in_place() {
    for command in corpus::IMAP {
        let spent = once_warm(|| assert_eq!(imap::parse_all(&[command]), 1));
        let allowed = match command {
            corpus::IMAP_FETCH => 3,
            corpus::IMAP_SEARCH => 1,
            _ => 0,
        };
        assert!(spent.count_total <= allowed, "{spent:?} for {}", String::from_utf8_lossy(command));
    }
}

#[test]
fn imap_rows_are_written_into_the_callers_buffer() {
    let row = imap::Row::new(&corpus::middle_message());
    let mut out = BytesMut::with_capacity(4096);
    for (_, write) in imap::Row::WRITERS {
        let spent = once_warm(|| {
            out.clear();
            write(&row, &mut out);
        });
        assert_eq!(spent.count_total, 0);
    }
}

/// Read, parsed and answered: the reply's buffer is used again once it was sent.
#[test]
fn a_command_in_a_session_costs_one_allocation_at_most() {
    let mut open = Mta::default().open();
    open.feed(b"EHLO out7.lists.example.net\r\n");
    let said = open.said;
    let spent = once_warm(|| {
        for _ in 0..1000 {
            open.feed(corpus::SMTP_NOOP);
        }
    });
    assert!(open.said > said);
    assert!(spent.count_total <= 1000, "{spent:?}");
    assert_eq!(spent.count_current, 0);
}

/// 2 KiB of state is what a session between two commands may hold, beside the 1 KiB it reserves for the next read.
#[test]
fn an_idle_smtp_session_is_small() {
    let mta = Mta::default();
    let script = Script::new(corpus::text(64 << 10, Dots::Sparse));
    let mut session = None;
    let spent = measure(|| {
        let mut open = mta.open();
        open.feed(&script.hello);
        open.feed(&script.envelope);
        open.feed(&script.body);
        open.feed(b".\r\nNOOP\r\n");
        open.wait();
        session = Some(open);
    });
    let state = size_of_val(&session);
    let held = u64::try_from(spent.bytes_current).unwrap() + state as u64;
    assert!(held <= 3 * 1024, "{held} octets, {state} of them in the session itself");
}

/// A body of any size flows through one window: what is held at once does not grow with it.
#[test]
fn a_body_flows_through_one_window() {
    for dots in [Dots::None, Dots::Sparse, Dots::All] {
        let body = corpus::text(5 << 20, dots);
        let mut open = Mta::default().in_body();
        let spent = measure(|| open.feed(&body));
        assert!(spent.bytes_max <= 256 << 10, "{dots:?}: {spent:?}");
        assert!(spent.bytes_current <= 128 << 10, "{dots:?}: {spent:?}");
    }
}

#[test]
fn pop3_bodies_are_sent_as_they_lie() {
    let body = Bytes::from(corpus::base64(5 << 20));
    let spent = once_warm(|| assert_eq!(pop3::stuff(&body), body.len() + 3));
    assert!(spent.bytes_total < 1024, "{spent:?}");
}

/// What a scan keeps is what it tells: it does not grow with the bodies.
#[test]
fn the_structure_of_a_large_message_is_no_larger_than_of_a_small_one() {
    for scan in [|message: &[u8]| drop(mime::skeleton(message)), |message: &[u8]| drop(mime::ingest(message))] {
        let message = corpus::large_message();
        let spent = once_warm(|| scan(&message));
        assert!(spent.bytes_max <= 64 << 10, "{spent:?}");
    }
}
