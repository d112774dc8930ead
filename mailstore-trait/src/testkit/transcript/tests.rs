use super::*;
use crate::testkit::parley::{Fault, Parley};

const WHOLE: &str = r#"# A comment on top.
session: parley

S: * ready

C: ECHO one
C: ECHO two
S: = one
S: = two

# A body comes in pieces.
C: BODY 12
S: + go
C: 0123456789
? Chunk "0123456789\r\n"  ! Taken
? Commit size=12  ! Done
S: + done

C~ ASK a\x20b\r\nECHO \{50:x}\r\n
? Ask a b  ! the answer
S: + the answer
S: = \{50:x}

C: BODY 5
C: 12345ECHO x
? Chunk "12345"  ! decline
S: + go
S: - refused
S: = x

C: LOG this
= Log this
> news
S: * news

C: TLS
S: + go
L Tls  ! up version=TLSv1.3
= Layer TLSv1.3

C: ASK late
? Ask late
@ +59s
! at last
S: + at last
@ +299s
C: NONSENSE
S: - what
@ +5m
S: - idle
= Close(Timeout)
"#;

fn check(text: &str) -> Result<(), String> {
    play_text(&mut Parley(Fault::None), text)
}

#[test]
fn a_conversation_holds() {
    // The run of x is short enough to be written out.
    let text = WHOLE.replace("S: = \\{50:x}", &format!("S: = {}", "x".repeat(50)));
    check(&text).unwrap();
}

#[test]
fn blessing_writes_what_was_said_and_keeps_the_rest() {
    let text = "# top\nsession: parley\n\nS: …\n\nC: ECHO one\n# kept\nS: wrong\n\nC: ASK x\n? Ask …  ! y\nS: wrong\nC: BODY 1\nC~ x\n# tail\n";
    let blessed = play::check(&mut Parley(Fault::None), text, None, true).unwrap();
    let want = "# top\nsession: parley\n\nS: …\n\nC: ECHO one\nS: = one\n# kept\n\nC: ASK x\n? Ask …  ! y\nS: + y\nC: BODY 1\nC~ x\n\
                ? Chunk \"x\"  ! Taken\n? Commit size=1  ! Done\nS: + go\nS: + done\n# tail\n";
    assert_eq!(blessed, want);
    assert_eq!(play::check(&mut Parley(Fault::None), want, None, false).unwrap(), want);
    assert_eq!(play::check(&mut Parley(Fault::None), want, None, true).unwrap(), want);
}

#[test]
fn a_difference_is_shown_where_it_is() {
    let report = check("session: parley\n\nS: * ready\n\nC: ECHO a\nC: ECHO b\nS: = a\nS: = c\n").unwrap_err();
    assert!(report.contains("line 5") && report.contains("- S: = c") && report.contains("+ S: = b"), "{report}");
    for (text, what) in [
        ("session: parley  sate: x\n\nS: * ready\n", "sate"),
        (
            "session: parley\n\nS: * ready\nC: ASK x\n? Ask x  ! y\nS: + y\nC: QUIT\nS: * bye\n= Close(Quit)\nC: x\n",
            "has ended",
        ),
        ("session: parley\n\nS: * ready\n! x\n", "nothing is out"),
        ("session: parley\n\nS: * ready\nX: x\n", "line 4"),
        ("session: parley\n\nS: * ready\nC~ \\q\n", "\\q"),
        ("session: parley\n\nS: * ready\n@ +5\n", "line 4"),
        ("session: parley\n\nS: * ready\nC: BODY 2\nC~ xx\nS: + go\n? Chunk \"xx\"  ! Maybe\n", "does not answer"),
    ] {
        let report = check(text).unwrap_err();
        assert!(report.contains(what), "{what}: {report}");
    }
}

#[test]
fn a_session_that_depends_on_its_splits_is_found() {
    let text = "session: parley\n\nS: * ready\n\nC: ECHO a\nC: ECHO b\nS: = b\n";
    let report = play_text(&mut Parley(Fault::DependsOnSplits), text).unwrap_err();
    assert!(report.contains("octet by octet"), "{report}");
    let excused = text.replace("parley\n", "parley  splits: none (planted)\n");
    play_text(&mut Parley(Fault::DependsOnSplits), &excused).unwrap();
}

#[test]
fn octets_behind_a_layer_are_seen_only_when_they_come_at_once() {
    let text = "session: parley\nsplits: none\n\nS: * ready\n\nC: TLS\nC: ECHO injected\nS: + go\n= Close(Protocol)\n";
    check(text).unwrap();
    check("session: parley\n\nS: * ready\nC: TLS\nS: + go\nL Tls  ! handshake\n= Close(Layer)\n").unwrap();
}

#[test]
fn files_seeds_and_preludes() {
    let directory = std::env::temp_dir().join(format!("transcripts-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("a.txt"), "session: parley\n\nS: * ready\nC: ASK x\n? Ask x  ! y\nS: + y\n").unwrap();
    std::fs::write(directory.join("b.txt"), "session: parley  after: a.txt\n\nC: QUIT\nS: * bye\n= Close(Quit)\n")
        .unwrap();
    play_all(&mut Parley(Fault::None), &directory);
    play(&mut Parley(Fault::None), directory.join("b.txt"));
    let seeds = seeds(Side::Server, &directory);
    assert_eq!(seeds[1], ("b".to_owned(), b"ASK x\r\nQUIT\r\n".to_vec()));
    let stale = std::panic::catch_unwind(|| export_seeds(Side::Server, &directory, directory.join("none")));
    assert!(stale.is_err(), "seeds that are missing were not noticed");
    std::fs::remove_dir_all(&directory).unwrap();
}
