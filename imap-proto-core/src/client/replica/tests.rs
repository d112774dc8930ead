use super::*;
use crate::client::response::{self, Bounds, Response};

fn heard(replica: &mut Replica, lines: &str) {
    for line in lines.lines() {
        let event = match response::parse(format!("{line}\r\n").as_bytes(), &Bounds::default()).unwrap() {
            Response::Data(data) => Event::Data(data),
            Response::Told { condition, text } => Event::Told { condition, text },
            // The tag is the ticket.
            Response::Tagged { tag, condition: Condition::Ok, text } => {
                Event::Done { ticket: u64::from(tag.unwrap()), text }
            }
            Response::Tagged { tag, condition, text } => {
                Event::Failed { ticket: u64::from(tag.unwrap()), condition, text }
            }
            Response::Continue(_) => panic!(),
        };
        replica.hear(&event);
    }
}

/// A replica of which the steps are taken as a client would.
struct Kept {
    replica: Replica,
}

impl Kept {
    /// On a connection with CONDSTORE only.
    fn new(cache: &str) -> Kept {
        let mut replica = Replica::new(Mailbox::new("INBOX"), 1, cache.parse().unwrap());
        assert!(replica.next_task().is_none(), "not before there is a connection");
        replica.hear(&Event::Capabilities(Capabilities::new(vec!["Condstore".into()])));
        replica.hear(&Event::Ready);
        Kept { replica }
    }

    /// On a connection with QRESYNC.
    fn resyncing(cache: &str) -> Kept {
        let mut replica = Replica::new(Mailbox::new("INBOX"), 1, cache.parse().unwrap());
        replica.hear(&Event::Data(Data::Enabled(vec!["qresync".into()])));
        replica.hear(&Event::Ready);
        Kept { replica }
    }

    fn step(&mut self) -> Option<Command> {
        let task = self.replica.next_task()?;
        assert!(self.replica.next_task().is_none(), "one step at a time");
        if let Command::Select(select) = &task.command {
            self.replica.hear(&Event::Selecting { ticket: 1, resync: select.qresync.is_some() });
        }
        Some(task.command)
    }

    fn hear(&mut self, lines: &str) {
        heard(&mut self.replica, lines);
    }

    fn known(&self) -> String {
        self.replica.cache().to_string()
    }
}

const SELECTED: &str = "* OK [UIDVALIDITY 7] x\n* OK [HIGHESTMODSEQ 20] x\n";

/// The mark stays where it was while something is missing.
#[test]
fn everything_is_listed_once_and_new_mail_behind_it() {
    let mut kept = Kept::new("");
    assert!(matches!(kept.step(), Some(Command::Select(_))));
    kept.hear(&format!("* 2 EXISTS\n{SELECTED}A1 OK"));
    let Some(Command::Fetch(fetch)) = kept.step() else { panic!() };
    assert_eq!(fetch.messages, Messages::From(Uid::MIN));
    kept.hear("* 1 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (9))\n* 3 EXISTS\n* 2 FETCH (UID 5 FLAGS () MODSEQ (12))\nA1 OK");
    assert_eq!(kept.replica.cache().modseq(), ModSeq(0), "a message is still unknown");
    let Some(Command::Fetch(fetch)) = kept.step() else { panic!() };
    assert_eq!(fetch.messages, Messages::From(Uid::new(6).unwrap()));
    kept.hear("* 3 FETCH (UID 8 FLAGS () MODSEQ (21))\nA1 OK");
    assert!(kept.step().is_none() && kept.replica.is_synced());
    assert_eq!(kept.known(), "7 20\n3 9 \\Seen\n5 12\n8 21\n");
    kept.hear("* 1 FETCH (FLAGS (work) MODSEQ (22))\n* 2 EXPUNGE\n* 2 FETCH (UID 8 FLAGS (\\Deleted) MODSEQ (23))");
    assert_eq!(kept.known(), "7 20\n3 22 work\n8 23 \\Deleted\n", "what one message has says nothing of others");
    kept.hear("A9 OK [HIGHESTMODSEQ 24] expunged");
    assert_eq!(kept.replica.cache().modseq(), ModSeq(24));
    assert_eq!(kept.replica.uid(SeqNum::new(2).unwrap()), Uid::new(8));
}

#[test]
fn qresync_brings_what_changed() {
    let mut kept = Kept::resyncing("7 10\n3 9 \\Seen\n5 10\n8 2\n");
    let Some(Command::Select(select)) = kept.step() else { panic!() };
    assert_eq!(select.qresync.unwrap().modseq, ModSeq(10));
    kept.hear("* 9 EXISTS\n* 1 FETCH (UID 99 FLAGS ())\n* OK [CLOSED] what came before is about another mailbox");
    kept.hear("* 3 EXISTS\n* VANISHED (EARLIER) 4:5");
    kept.hear(&format!("{SELECTED}* 3 FETCH (UID 9 FLAGS (new) MODSEQ (15))\nA1 OK"));
    assert!(kept.step().is_none() && kept.replica.is_synced());
    assert_eq!(kept.known(), "7 20\n3 9 \\Seen\n8 2\n9 15 new\n");
    // By UID only, and a new message goes before its UID was told.
    kept.hear("* 5 EXISTS\n* VANISHED 8,12\n* 4 EXISTS");
    let Some(Command::Fetch(fetch)) = kept.step() else { panic!() };
    assert_eq!(fetch.messages, Messages::From(Uid::new(10).unwrap()));
    assert_eq!(kept.replica.exists(), Some(4));
}

/// Once three messages went while SELECT was telling of them and three came: the rows that had been told were taken in
/// behind the removals, the counts agreed, and messages that were gone stayed for good.
#[test]
fn what_goes_while_it_is_being_told_is_gone() {
    let mut kept = Kept::resyncing("7 10\n3 9\n5 10\n");
    kept.step();
    kept.hear(&format!(
        "* 2 EXISTS\n{SELECTED}* 1 FETCH (UID 3 FLAGS (x) MODSEQ (15))\n* VANISHED 3\n* 2 EXISTS\nA1 OK"
    ));
    assert!(matches!(kept.step(), Some(Command::Fetch(_))));
    kept.hear("* 1 FETCH (UID 5 FLAGS () MODSEQ (10))\n* 2 FETCH (UID 8 FLAGS () MODSEQ (21))\nA1 OK");
    assert_eq!(kept.known(), "7 20\n5 10\n8 21\n");
}

/// A server that had forgotten a removal, or a cache that was wrong: the counts tell, and everything is looked at again.
#[test]
fn counts_that_differ_are_looked_into() {
    let mut kept = Kept::resyncing("7 10\n3 9\n5 10\n");
    kept.step();
    kept.hear(&format!("* 1 EXISTS\n{SELECTED}A1 OK"));
    assert!(matches!(kept.step(), Some(Command::Fetch(_))));
    kept.hear("* 1 FETCH (UID 5 FLAGS () MODSEQ (10))\nA1 OK");
    assert_eq!(kept.known(), "7 20\n5 10\n");
}

#[test]
fn condstore_brings_what_changed_and_a_list_what_went() {
    let mut kept = Kept::new("7 10\n3 9 \\Seen\n5 10\n8 2\n");
    kept.step();
    kept.hear(&format!("* 3 EXISTS\n{SELECTED}A1 OK"));
    let Some(Command::Fetch(fetch)) = kept.step() else { panic!() };
    assert_eq!((fetch.items, fetch.changed_since), (Items::UID, None));
    kept.hear("* 1 FETCH (UID 3)\n* 2 FETCH (UID 8)\n* 3 FETCH (UID 9)\nA1 OK");
    let Some(Command::Fetch(fetch)) = kept.step() else { panic!() };
    assert_eq!(fetch.changed_since, Some(ModSeq(10)));
    kept.hear("* 2 FETCH (UID 8 FLAGS (x) MODSEQ (11))\n* 3 FETCH (UID 9 FLAGS () MODSEQ (12))\nA1 OK");
    assert!(kept.replica.is_synced());
    assert_eq!(kept.known(), "7 20\n3 9 \\Seen\n8 11 x\n9 12\n");
}

#[test]
fn another_uid_validity_makes_the_cache_worthless() {
    let mut kept = Kept::new("6 10\n3 9 \\Seen\n");
    kept.step();
    kept.hear(&format!("* 0 EXISTS\n{SELECTED}A1 OK"));
    assert!(kept.step().is_none());
    assert_eq!(kept.known(), "7 20\n");
}

/// RFC 7162 §3.1.3: a silent STORE tells the mod-sequence alone, so the flags are asked for.
#[test]
fn flags_that_were_not_told_are_asked_for() {
    let mut kept = Kept::resyncing("7 10\n3 9\n");
    kept.step();
    kept.hear(&format!("* 1 EXISTS\n{SELECTED}A1 OK"));
    // Once a row that says nothing of the flags passed for news of them, and the old ones were kept for good.
    kept.hear("* 1 FETCH (UID 3 MODSEQ (25))\nA5 OK [HIGHESTMODSEQ 25]\n* 1 FETCH (UID 3 RFC822.SIZE 9)");
    assert!(!kept.replica.is_synced());
    assert_eq!(kept.replica.cache().modseq(), ModSeq(20));
    let Some(Command::Fetch(fetch)) = kept.step() else { panic!() };
    assert_eq!(fetch.messages, Messages::Uids([Uid::new(3).unwrap()].into_iter().collect()));
    kept.hear("* 1 FETCH (UID 3 FLAGS (x) MODSEQ (25))\nA1 OK");
    assert_eq!(kept.known(), "7 25\n3 25 x\n");
}

#[test]
fn a_step_that_fails_is_told() {
    let mut kept = Kept::new("");
    kept.step();
    kept.hear("A1 NO [NONEXISTENT] none");
    assert!(kept.replica.failure().is_some() && kept.step().is_none());
    kept.replica.leave();
    assert!(kept.step().is_none());
    kept.replica.hear(&Event::Ready);
    assert!(kept.step().is_some());
    let mut small = Kept::new("");
    small.replica = small.replica.with_limit(2);
    small.step();
    small.hear(&format!("* 3 EXISTS\n{SELECTED}A1 OK"));
    assert!(small.replica.failure().is_some());
    small.hear("* 4000000000 FETCH (UID 4 FLAGS ())");
}

#[test]
fn numbers_out_of_step_are_looked_into() {
    let mut kept = Kept::resyncing("7 10\n3 9\n5 9\n");
    kept.step();
    kept.hear(&format!("* 2 EXISTS\n{SELECTED}A1 OK"));
    assert!(kept.replica.is_synced());
    kept.hear("* 1 FETCH (UID 4 FLAGS ())");
    assert!(matches!(kept.step(), Some(Command::Fetch(_))));
    kept.hear("* 1 FETCH (UID 4 FLAGS ())\n* 2 FETCH (UID 5 FLAGS ())\nA1 OK\n* 1 EXISTS");
    assert!(matches!(kept.step(), Some(Command::Fetch(_))), "EXISTS never shrinks");
}

#[test]
fn caches_have_one_form() {
    for bad in ["x", "0 1\n", "7 1\n0 1\n", "7 1\n3\n", "7 1\n3 x\n", "7 1\n3 1 \\Odd\n"] {
        assert!(bad.parse::<Cache>().is_err(), "{bad:?}");
    }
    assert_eq!("".parse::<Cache>().unwrap(), Cache::default());
}
