//! The existence of what may not be looked up never shows: every command says of a hidden mailbox what it says of one that
//! is not there.

#![allow(clippy::unwrap_used, reason = "a panic here is a failing test")]

#[path = "support/mailbox.rs"]
mod mailbox;

use std::sync::Arc;

use imap_proto_core::Server;

use mailbox::{World, config, peer, play};

/// Every command that names a mailbox, or could bring one to light.
const COMMANDS: &[&str] = &[
    "SELECT NAME",
    "SELECT NAME (CONDSTORE)",
    "EXAMINE NAME",
    "STATUS NAME (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ MAILBOXID DELETED-STORAGE)",
    "CREATE NAME",
    "CREATE NAME/below",
    "CREATE NAME (USE (\\Sent))",
    "DELETE NAME",
    "RENAME NAME \"Other Users/fred@example.org/Seen/new\"",
    "RENAME \"Other Users/fred@example.org/Seen\" NAME",
    "RENAME \"Other Users/fred@example.org/Seen\" NAME/below",
    "RENAME Sent NAME",
    "RENAME NAME Sent2",
    "SUBSCRIBE NAME",
    "UNSUBSCRIBE NAME",
    "LIST \"\" NAME",
    "LIST \"\" NAME*",
    "LIST \"\" NAME/%",
    "LIST NAME %",
    "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" NAME RETURN (CHILDREN STATUS (MESSAGES))",
    "LIST \"\" NAME RETURN (MYRIGHTS METADATA (/shared/comment))",
    "LSUB \"\" NAME",
    "APPEND NAME {12+}\r\nSubject: x\r\n",
    "APPEND NAME (\\Seen) {12}",
    "GETACL NAME",
    "SETACL NAME anyone lr",
    "SETACL NAME nobody@example.org lr",
    "DELETEACL NAME tim@example.org",
    "LISTRIGHTS NAME anyone",
    "MYRIGHTS NAME",
    "GETQUOTAROOT NAME",
    "GETMETADATA NAME /shared/comment",
    "GETMETADATA NAME (DEPTH infinity) /private",
    "SETMETADATA NAME (/private/comment \"x\")",
    "SETMETADATA NAME (/shared/comment NIL)",
];

/// The same in the selected state.
const SELECTED: &[&str] = &[
    "COPY 1 NAME",
    "UID COPY 1:* NAME",
    "MOVE 1 NAME",
    "UID MOVE 1 NAME",
    "REPLACE 1 NAME {12+}\r\nSubject: x\r\n",
    "UID REPLACE 1 NAME {12}",
];

fn said(world: &World, mailbox: &str, command: &str, selects: bool) -> String {
    let mut world = world.renew();
    world.share();
    for act in [
        "deliver INBOX one",
        "fred make Seen",
        "fred grant Seen tim@example.org lrswite",
        "fred make Hidden",
        "fred deliver Hidden two",
        "fred make Hidden/Below",
        // Everything but `l`.
        "fred grant Hidden tim@example.org rswipkxtea",
        "fred grant Hidden/Below anyone rswipkxtea",
        "team make Hidden",
        "team grant Hidden root@example.org lrswipkxtea",
    ] {
        world.act(act).unwrap();
    }
    let mut server = Server::new(Arc::new(config()), &peer(false));
    let select = if selects { "b SELECT INBOX\r\n" } else { "" };
    let before = format!("a LOGIN tim@example.org tanstaafl\r\n{select}");
    play(&mut server, &mut world.fulfiller, before.as_bytes());
    let quoted = |suffix: &str| format!("\"{mailbox}{suffix}\"");
    let command = command.replace("NAME/below", &quoted("/below")).replace("NAME/%", &quoted("/%"));
    let command = command.replace("NAME*", &quoted("*")).replace("NAME", &quoted(""));
    let said = play(&mut server, &mut world.fulfiller, format!("t {command}\r\n").as_bytes());
    // Both names are of one length: where they are told back they are the same but for themselves.
    String::from_utf8(said).unwrap().replace(mailbox, "NAME")
}

#[test]
fn hidden_mailboxes_answer_as_mailboxes_that_are_not_there() {
    let world = World::new();
    let pairs = [
        ("Other Users/fred@example.org/Hidden", "Other Users/fred@example.org/Absent"),
        ("Other Users/fred@example.org/Hidden/Below", "Other Users/fred@example.org/Absent/Below"),
        // Somebody who shares nothing, and nobody.
        ("Other Users/root@example.org/INBOX", "Other Users/toor@example.org/INBOX"),
        ("Shared/Hidden", "Shared/Absent"),
    ];
    let mut different = Vec::new();
    for (hidden, absent) in pairs {
        for (commands, selects) in [(COMMANDS, false), (SELECTED, true)] {
            for command in commands {
                let (of_hidden, of_absent) =
                    (said(&world, hidden, command, selects), said(&world, absent, command, selects));
                assert!(!of_hidden.is_empty(), "{command} is answered");
                if of_hidden != of_absent {
                    different.push(format!("{command} of {hidden}:\n{of_hidden}of {absent}:\n{of_absent}"));
                }
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    // The comparison can fail: what may be looked up is told apart.
    let seen = said(&world, "Other Users/fred@example.org/Seen", "STATUS NAME (MESSAGES)", false);
    assert_ne!(seen, said(&world, "Other Users/fred@example.org/None", "STATUS NAME (MESSAGES)", false));
}

/// What a list shows as a whole: nothing of it names what is hidden.
#[test]
fn lists_and_searches_never_name_what_is_hidden() {
    let world = World::new();
    for command in [
        "LIST \"\" *",
        "LIST \"\" %",
        "LIST \"Other Users/\" *",
        "LIST \"Shared/\" *",
        "LIST (SPECIAL-USE) \"\" *",
        "LSUB \"\" *",
        "namespace",
        "LIST \"\" * RETURN (MYRIGHTS METADATA (/shared/comment) STATUS (MESSAGES SIZE))",
    ] {
        let said = said(&world, "unused", command, false);
        assert!(!said.contains("Hidden") && !said.contains("Below"), "{command}: {said}");
        assert!(said.contains("t OK"), "{command}: {said}");
    }
}
