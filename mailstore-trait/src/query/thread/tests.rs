//! Conversations, written as the THREAD response writes them.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::order::tests::push;
use super::*;
use crate::item::ItemPageBuilder;
use crate::mime::Ingest;

/// A message in few words: its id, whom it refers to, its subject, when it was sent.
struct Mail<'a>(&'a str, &'a [&'a str], &'a str, i64);

/// The header that says so, ingested as a delivery is.
fn summary_of(mail: &Mail<'_>) -> crate::mime::Summary {
    let Mail(id, references, subject, sent) = mail;
    let date = crate::date::Timestamp::from_seconds(*sent).at_offset(0);
    let mut header = format!("Date: {date}\r\nSubject: {subject}\r\n");
    if !id.is_empty() {
        let _ = write!(header, "Message-ID: <{id}>\r\n");
    }
    if !references.is_empty() {
        let _ = write!(header, "References:");
        references.iter().for_each(|id| {
            let _ = write!(header, " <{id}>");
        });
        header.push_str("\r\n");
    }
    header.push_str("\r\n");
    let mut ingest = Ingest::new(crate::mime::Limits::default());
    ingest.push(header.as_bytes());
    ingest.finish().summary
}

fn page_of(mails: &[Mail<'_>]) -> ItemPage {
    let mut builder = ItemPageBuilder::new();
    for (uid, mail) in (1..).zip(mails) {
        push(&mut builder, uid, 0, 1, &summary_of(mail).view());
    }
    builder.finish(None)
}

fn run(page: &ItemPage, algorithm: Algorithm, limits: OrderLimits) -> Result<Vec<ThreadToken>, TooMany> {
    let mut threader = Threader::new(algorithm, limits);
    for row in page.rows() {
        threader.push(page, row)?;
    }
    threader.finish()
}

fn text(tokens: &[ThreadToken]) -> String {
    let mut out = String::new();
    for (at, token) in tokens.iter().enumerate() {
        if at > 0 && matches!(tokens[at - 1], ThreadToken::Member(_)) && *token != ThreadToken::Close {
            out.push(' ');
        }
        match token {
            ThreadToken::Open => out.push('('),
            ThreadToken::Member(uid) => write!(out, "{}", uid.value()).unwrap(),
            ThreadToken::Close => out.push(')'),
        }
    }
    out
}

fn references(mails: &[Mail<'_>]) -> String {
    text(&run(&page_of(mails), Algorithm::References, OrderLimits::default()).unwrap())
}

fn ordered_subject(mails: &[Mail<'_>]) -> String {
    text(&run(&page_of(mails), Algorithm::OrderedSubject, OrderLimits::default()).unwrap())
}

#[test]
fn ordered_subject_makes_the_first_the_parent_of_the_others() {
    let mails = [
        Mail("", &[], "b", 10),
        Mail("", &[], "a", 20),
        Mail("", &[], "Re: B", 40),
        Mail("", &[], "Fwd: b", 30),
        Mail("", &[], "re: A", 15),
        Mail("", &[], "", 50),
        Mail("", &[], "c", 60),
        Mail("", &[], "Re:", 45),
    ];
    assert_eq!(ordered_subject(&mails), "(1 (4)(3))(5 2)(8 6)(7)");
    assert_eq!(ordered_subject(&[]), "");
}

#[test]
fn references_make_trees() {
    // RFC 5256 §4: the tree of the example, with other numbers.
    let mails = [
        Mail("2@", &[], "two", 1),
        Mail("3@", &[], "three", 2),
        Mail("6@", &["3@"], "Re: three", 3),
        Mail("4@", &["3@", "6@"], "Re: three", 4),
        Mail("23@", &["3@", "6@", "4@"], "Re: three", 5),
        Mail("44@", &["3@", "6@"], "Re: three", 6),
        Mail("7@", &["44@"], "Re: three", 7),
        Mail("96@", &["44@", "7@"], "Re: three", 8),
    ];
    assert_eq!(references(&mails), "(1)(2 3 (4 5)(6 7 8))");
}

#[test]
fn children_of_who_is_not_there_stay_together() {
    // RFC 5256 §4: `((3)(5))`.
    let both = [Mail("a@", &["gone@"], "a", 1), Mail("b@", &["gone@"], "b", 2)];
    assert_eq!(references(&both), "((1)(2))");
    // Step 3: an only child is promoted to the root, others that are not there vanish.
    let one = [Mail("a@", &["gone@", "too@"], "a", 1)];
    assert_eq!(references(&one), "(1)");
    let below =
        [Mail("top@", &[], "t", 1), Mail("a@", &["top@", "gone@"], "a", 3), Mail("b@", &["top@", "gone@"], "b", 2)];
    assert_eq!(references(&below), "(1 (3)(2))");
    let deep = [Mail("a@", &["x@", "y@", "z@"], "a", 1), Mail("b@", &["x@", "y@"], "b", 2)];
    assert_eq!(references(&deep), "((1)(2))");
}

#[test]
fn in_reply_to_stands_in_for_references() {
    let mut builder = ItemPageBuilder::new();
    push(&mut builder, 1, 1, 1, &summary_of(&Mail("p@x", &[], "p", 1)).view());
    let header =
        b"Message-ID: <c@x>\r\nSubject: c\r\nIn-Reply-To: your message <p@x> <no@x>\r\nReferences: none\r\n\r\n";
    let mut ingest = Ingest::new(crate::mime::Limits::default());
    ingest.push(header);
    push(&mut builder, 2, 2, 1, &ingest.finish().summary.view());
    let page = builder.finish(None);
    assert_eq!(text(&run(&page, Algorithm::References, OrderLimits::default()).unwrap()), "(1 2)");
}

#[test]
fn loops_are_not_made() {
    let two = [Mail("a@", &["b@"], "x", 1), Mail("b@", &["a@"], "y", 2)];
    assert_eq!(references(&two), "(2 1)", "the first link stays, the second would close a loop");
    assert_eq!(references(&[Mail("a@", &["a@"], "x", 1)]), "(1)");
    assert_eq!(references(&[Mail("a@", &["b@", "c@", "b@"], "x", 1)]), "(1)");
}

#[test]
fn the_parent_a_message_names_itself_is_better() {
    // Mail 1's References were cut short and make c a child of a; c itself knows better.
    let mails = [
        Mail("d@", &["a@", "c@"], "d", 4),
        Mail("a@", &[], "a", 1),
        Mail("b@", &["a@"], "b", 2),
        Mail("c@", &["a@", "b@"], "c", 3),
    ];
    assert_eq!(references(&mails), "(2 3 4 1)");
    // Who names no parent has none.
    let mails = [Mail("c@", &["a@", "b@"], "c", 3), Mail("b@", &[], "b", 2), Mail("a@", &[], "a", 1)];
    assert_eq!(references(&mails), "(3)(2 1)");
}

#[test]
fn ids_belong_to_the_first_who_has_them() {
    let mails =
        [Mail("a@", &[], "one", 1), Mail("a@", &[], "two", 2), Mail("b@", &["a@"], "three", 3), Mail("", &[], "4", 4)];
    assert_eq!(references(&mails), "(1 3)(2)(4)");
    let case = [Mail("a@", &[], "one", 1), Mail("b@", &["A@"], "two", 2)];
    assert_eq!(references(&case), "(1)(2)", "RFC 5256 §3: ids compare with case");
}

#[test]
fn threads_of_one_subject_are_joined() {
    // Neither is a reply: siblings below nobody.
    assert_eq!(references(&[Mail("a@", &[], "s", 1), Mail("b@", &[], "S", 2)]), "((1)(2))");
    // A reply goes below what is none, whichever came first.
    assert_eq!(references(&[Mail("a@", &[], "Re: s", 1), Mail("b@", &[], "s", 2)]), "(2 1)");
    // Two replies: siblings.
    assert_eq!(references(&[Mail("a@", &[], "Re: s", 1), Mail("b@", &[], "Fwd: s", 2)]), "((1)(2))");
    // A dummy takes what has its subject, and the children of another dummy.
    let mails = [
        Mail("a@", &["gone@"], "s", 1),
        Mail("b@", &["gone@"], "t", 2),
        Mail("c@", &[], "s", 3),
        Mail("d@", &["lost@"], "Re: s", 4),
        Mail("e@", &["lost@"], "u", 5),
    ];
    assert_eq!(references(&mails), "((1)(2)(3)(4)(5))");
    // No subject joins nothing.
    assert_eq!(references(&[Mail("a@", &[], "", 1), Mail("b@", &[], "Re:", 2)]), "(1)(2)");
    // A third one goes to the dummy that was made for the first two.
    assert_eq!(references(&[Mail("", &[], "s", 3), Mail("", &[], "s", 1), Mail("", &[], "s", 2)]), "((2)(3)(1))");
}

#[test]
fn threads_are_in_the_order_of_their_first_message() {
    let mails = [
        Mail("a@", &["gone@"], "x", 30),
        Mail("b@", &["gone@"], "y", 10),
        Mail("c@", &[], "z", 20),
        Mail("d@", &[], "w", 5),
    ];
    assert_eq!(references(&mails), "(4)((2)(1))(3)");
}

#[test]
fn what_a_mailbox_costs_is_bounded() {
    let mails: Vec<(String, Vec<String>)> =
        (0..200).map(|at| (format!("{at}@"), vec![format!("{}@", at + 1)])).collect();
    let mails: Vec<(String, Vec<&str>)> =
        mails.iter().map(|(id, references)| (id.clone(), references.iter().map(String::as_str).collect())).collect();
    let mails: Vec<Mail<'_>> = mails.iter().map(|(id, references)| Mail(id, references, "s", 1)).collect();
    let page = page_of(&mails);
    let limits = OrderLimits::default();
    assert!(run(&page, Algorithm::References, limits).is_ok());
    assert_eq!(run(&page, Algorithm::References, OrderLimits { messages: 199, ..limits }), Err(TooMany));
    assert_eq!(run(&page, Algorithm::References, OrderLimits { octets: 100, ..limits }), Err(TooMany));
    // Told backwards, each message already has children when it is linked: the way up has to be walked.
    let looped = [Mail("a@", &["b@"], "", 1), Mail("c@", &["a@"], "", 1), Mail("b@", &["c@"], "", 1)];
    assert_eq!(run(&page_of(&looped), Algorithm::References, OrderLimits { steps: 0, ..limits }), Err(TooMany));
    assert!(run(&page_of(&looped), Algorithm::References, OrderLimits { steps: 2, ..limits }).is_ok());
}

#[test]
fn a_long_conversation_costs_no_stack() {
    let mut builder = ItemPageBuilder::new();
    for uid in 1..=50_000u32 {
        let (id, parent) = (format!("{uid}@"), format!("{}@", uid - 1));
        push(&mut builder, uid, i64::from(uid), 1, &summary_of(&Mail(&id, &[&parent], "s", i64::from(uid))).view());
    }
    let tokens = run(&builder.finish(None), Algorithm::References, OrderLimits::default()).unwrap();
    assert_eq!(tokens.len(), 50_002);
    assert_eq!(tokens[0], ThreadToken::Open);
}

proptest! {
    #[test]
    fn everybody_is_told_once(
        mails in prop::collection::vec((0u8..8, prop::collection::vec(0u8..8, 0..4), 0u8..4, 0i64..5), 0..14),
    ) {
        const IDS: [&str; 8] = ["", "b@", "c@", "d@", "e@", "f@", "g@", "h@"];
        const SUBJECTS: [&str; 4] = ["s", "Re: s", "", "t"];
        let lines: Vec<Vec<&str>> =
            mails.iter().map(|(_, references, ..)| references.iter().map(|id| IDS[usize::from(*id)]).collect()).collect();
        let mails: Vec<Mail<'_>> = mails
            .iter()
            .zip(&lines)
            .map(|((id, _, subject, sent), line)| Mail(IDS[usize::from(*id)], line, SUBJECTS[usize::from(*subject)], *sent))
            .collect();
        let page = page_of(&mails);
        for algorithm in [Algorithm::References, Algorithm::OrderedSubject] {
            let tokens = run(&page, algorithm, OrderLimits::default()).unwrap();
            let mut told: Vec<u32> = tokens
                .iter()
                .filter_map(|token| if let ThreadToken::Member(uid) = token { Some(uid.value()) } else { None })
                .collect();
            told.sort_unstable();
            prop_assert_eq!(told, (1..=u32::try_from(mails.len()).unwrap()).collect::<Vec<_>>());
            let mut depth = 0i32;
            for pair in tokens.windows(2) {
                depth += i32::from(pair[0] == ThreadToken::Open) - i32::from(pair[0] == ThreadToken::Close);
                prop_assert!(depth >= 0);
                prop_assert!(pair != [ThreadToken::Open, ThreadToken::Close], "an empty list: {}", text(&tokens));
            }
        }
    }
}
