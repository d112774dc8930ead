//! Whole commands.

use std::borrow::Cow;

use super::*;

fn command(text: &str) -> Command<'_> {
    parse(text.as_bytes(), &Bounds::DEFAULT).unwrap_or_else(|error| panic!("{text}: {error}")).command
}

fn error(text: &str) -> Expected {
    parse(text.as_bytes(), &Bounds::DEFAULT).expect_err(text).expected
}

#[test]
fn commands_without_arguments() {
    for (text, want) in [
        ("a CAPABILITY\r\n", Command::Capability),
        ("a noop\r\n", Command::Noop),
        ("a Logout \r\n", Command::Logout),
        ("a.1 IDLE\n", Command::Idle),
        ("]x EXPUNGE\r\n", Command::Expunge(None)),
    ] {
        assert_eq!(command(text), want);
    }
}

#[test]
fn commands_with_arguments() {
    let text = |text: &'static str| Cow::Borrowed(text.as_bytes());
    assert_eq!(
        command("a LOGIN {5}\r\nalice {3+}\r\na\"b\r\n"),
        Command::Login { user: text("alice"), password: text("a\"b") }
    );
    assert_eq!(
        command("a AUTHENTICATE PLAIN =\r\n"),
        Command::Authenticate { mechanism: b"PLAIN", initial: Some(b"=") }
    );
    assert_eq!(
        command("a AUTHENTICATE PLAIN AGEAYg==\r\n"),
        Command::Authenticate { mechanism: b"PLAIN", initial: Some(b"AGEAYg==") }
    );
    assert_eq!(command("a RENAME a \"b c\"\r\n"), Command::Rename { from: text("a"), to: text("b c") });
    let Command::Id(fields) = command("a ID (\"name\" \"x\" \"version\" NIL)\r\n") else { panic!() };
    assert_eq!(fields, [(text("name"), Some(text("x"))), (text("version"), None)]);
    let Command::Create { uses, .. } = command("a CREATE Sent (USE (\\Sent \\Archive))\r\n") else { panic!() };
    assert_eq!(uses.as_slice(), [&b"\\Sent"[..], b"\\Archive"]);
    let Command::Store { uid, action, silent, flags, .. } = command("a UID STORE 1:* -FLAGS.SILENT (\\Seen x)\r\n")
    else {
        panic!()
    };
    assert!(uid && silent && action == StoreAction::Remove && flags.keywords.len() == 1);
    assert!(matches!(command("a uid expunge 1,2\r\n"), Command::Expunge(Some(_))));
    assert!(matches!(command("a UID MOVE 5 Trash\r\n"), Command::Move { uid: true, .. }));
    assert!(matches!(command("a STATUS INBOX (MESSAGES UNSEEN)\r\n"), Command::Status { .. }));
}

#[test]
fn errors_say_what_was_expected() {
    assert_eq!(error("\r\n"), Expected::Tag);
    assert_eq!(error("+ NOOP\r\n"), Expected::Tag);
    assert_eq!(error("a\r\n"), Expected::Space);
    assert_eq!(error("a NONSENSE\r\n"), Expected::Command);
    assert_eq!(error("a UID NOOP\r\n"), Expected::Command);
    assert_eq!(error("a NOOP x\r\n"), Expected::End);
    assert_eq!(error("a LOGIN x\r\n"), Expected::Space);
    assert_eq!(error("a LOGIN x {9}\r\n\r\n"), Expected::Literal);
    assert_eq!(error("a STORE 1 NONSENSE (\\Seen)\r\n"), Expected::StoreItem);
    assert_eq!(error("a SELECT INBOX NONSENSE\r\n"), Expected::Open);
    assert_eq!(error("a FETCH 0 FLAGS\r\n"), Expected::SequenceSet);
    assert_eq!(error("a ENABLE\r\n"), Expected::Space);
    assert_eq!(error("a APPEND x\r\n"), Expected::Literal);
}

#[test]
fn appends_are_read_to_their_literal() {
    let progress = parse_append(b"a APPEND INBOX (\\Seen) {10}\r\n", &Bounds::DEFAULT).unwrap();
    assert!(matches!(progress, Some(AppendHead { replaces: None, .. })));
}
