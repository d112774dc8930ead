use super::*;

fn read(text: &str) -> Response {
    parse(text.as_bytes(), &Bounds::default()).unwrap()
}

fn row(items: &str) -> Row {
    match read(&format!("* 1 FETCH ({items})\r\n")) {
        Response::Data(Data::Fetch(row)) => row,
        other => panic!("{items}: {other:?}"),
    }
}

fn structure(text: &str) -> Vec<(String, String)> {
    let row = row(&format!("BODYSTRUCTURE {text} UID 7"));
    assert_eq!(row.uid.map(mailstore_trait::id::Uid::value), Some(7), "{text}: what follows is read as well");
    let structure = row.structure.unwrap_or_else(|| panic!("{text} is passed over"));
    let section = |at| structure.section(at).iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    let kind = |part: &Part| format!("{}/{}", part.media_type, part.subtype);
    structure.parts().iter().enumerate().map(|(at, part)| (section(at), kind(part))).collect()
}

fn sections(text: &str) -> String {
    structure(text).into_iter().map(|(section, kind)| format!("{section}={kind}")).collect::<Vec<_>>().join(" ")
}

const LEAF: &str = r#"("text" "plain" NIL NIL NIL "7bit" 1 1)"#;

/// RFC 9051 §6.4.5.1: the numbers of the example there.
#[test]
fn parts_are_numbered_as_sections() {
    let message = |body: &str| {
        let envelope = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";
        format!(r#"("message" "rfc822" NIL NIL NIL "7bit" 5 {envelope} {body} 9)"#)
    };
    let inner = message(&format!(r#"({LEAF}{LEAF} "mixed")"#));
    let outer = message(LEAF);
    assert_eq!(
        sections(&format!(r#"({LEAF}{inner}{outer} "mixed" ("boundary" "x") NIL NIL)"#)),
        "=multipart/mixed 1=text/plain 2=message/rfc822 2=multipart/mixed 2.1=text/plain 2.2=text/plain 3=message/rfc822 3.1=text/plain"
    );
    assert_eq!(sections(LEAF), "1=text/plain");
    assert_eq!(sections(&outer), "1=message/rfc822 1.1=text/plain");
}

/// What servers of all kinds have sent instead of what RFC 9051 §9 has.
#[test]
fn structures_are_read_as_servers_write_them() {
    for (text, expected) in [
        // Exchange leaves out what it does not know.
        (r#"("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)"#, "1=text/plain"),
        (r#"("text" "plain")"#, "1=text/plain"),
        (r#"("text" "plain" NIL)"#, "1=text/plain"),
        (r#"("text" "plain" NIL NIL NIL NIL NIL NIL)"#, "1=text/plain"),
        (r#"("text" "plain" () NIL NIL "7bit" -1 -1)"#, "1=text/plain"),
        (r#"(text plain NIL NIL NIL 7bit 3 1)"#, "1=text/plain"),
        // Spaces between siblings.
        (
            r#"(("text" "plain" NIL NIL NIL "7bit" 1 1) ("text" "html" NIL NIL NIL "7bit" 1 1) "mixed")"#,
            "=multipart/mixed 1=text/plain 2=text/html",
        ),
        // Multiparts without parts.
        (r#"("alternative" ("boundary" "x") NIL NIL)"#, "=multipart/alternative"),
        (r#"(NIL "alternative" ("boundary" "x") NIL NIL)"#, "=multipart/alternative"),
        (r#"("mixed")"#, "=multipart/mixed"),
        (r#"()"#, "1=text/plain"),
        // A message without an envelope, and one of which nothing is known.
        (r#"("message" "rfc822" NIL NIL NIL "7bit" 5)"#, "1=message/rfc822"),
        (r#"("message" "rfc822" NIL NIL NIL "7bit" 5 NIL)"#, "1=message/rfc822"),
        (r#"("message" "rfc822" NIL NIL NIL "7bit" 5 (NIL "s") NIL 3)"#, "1=message/rfc822"),
        (r#"("message" "delivery-status" NIL NIL NIL "7bit" 5)"#, "1=message/delivery-status"),
        // Extension data of every length, and more than there is.
        (
            r#"("text" "plain" NIL NIL NIL "7bit" 1 1 "md5" ("inline" NIL) ("en" "de") "loc" (1 (2)) "x")"#,
            "1=text/plain",
        ),
        (r#"("text" "plain" NIL NIL NIL "7bit" 1 1 NIL ("attachment") "en")"#, "1=text/plain"),
        (r#"("text" "plain" NIL NIL NIL "7bit" 1 1 NIL "inline")"#, "1=text/plain"),
        (
            r#"(("text" "plain" NIL NIL NIL "7bit" 1 1) "mixed" NIL ("inline" ("a" NIL)) NIL)"#,
            "=multipart/mixed 1=text/plain",
        ),
        (r#"(("text" "plain" NIL NIL NIL "7bit" 1 1))"#, "=multipart/ 1=text/plain"),
    ] {
        assert_eq!(sections(text), expected, "{text}");
    }
}

#[test]
fn a_structure_that_makes_no_sense_is_passed_over() {
    let row = row("BODYSTRUCTURE (\"text\" ((\"x\") ENVELOPE ((a) b) c) d) ENVELOPE (x y z) UID 7");
    assert!(row.structure.is_none() && row.envelope.is_none());
    assert!(row.uid.is_some());
}

/// Deep and wide ones end at the limits, in time that grows with their octets alone.
#[test]
fn structures_are_bounded() {
    let deep = format!("* 1 FETCH (BODYSTRUCTURE {})\r\n", "(".repeat(1_000_000));
    assert!(matches!(read(&deep), Response::Data(Data::Other(_))));
    let nested = format!("{}{LEAF}{}", "(".repeat(1000), " \"mixed\")".repeat(1000));
    assert_eq!(structure(&nested).len(), 1001);
    let bounds = Bounds { parts: 100, ..Bounds::default() };
    let wide = format!("* 1 FETCH (UID 4 BODYSTRUCTURE ({} \"mixed\"))\r\n", LEAF.repeat(200));
    match parse(wide.as_bytes(), &bounds).unwrap() {
        Response::Data(Data::Fetch(row)) => assert!(row.structure.is_none() && row.uid.is_some()),
        other => panic!("{other:?}"),
    }
    let bounds = Bounds { values: 100, ..Bounds::default() };
    let many = format!("* 1 FETCH (FLAGS ({}))\r\n", "a ".repeat(200));
    assert!(matches!(parse(many.as_bytes(), &bounds).unwrap(), Response::Data(Data::Other(_))));
}

#[test]
fn envelopes_are_read_as_servers_write_them() {
    let envelope = |text: &str| *row(&format!("ENVELOPE {text}")).envelope.unwrap_or_else(|| panic!("{text}"));
    let short = envelope(r#"("date" "subject" (("Ann" NIL "a" "b")))"#);
    assert_eq!(short.from.len(), 1);
    assert!(short.to.is_empty() && short.message_id.is_none());
    let spaced = envelope(r#"(NIL NIL ((NIL NIL "a" "b") (NIL NIL "c" "d")) "" () NIL NIL NIL NIL NIL "more" (1))"#);
    assert_eq!(spaced.from.len(), 2);
    assert!(spaced.sender.is_empty() && spaced.reply_to.is_empty());
    let cut = envelope(r#"(NIL NIL ((NIL NIL "a")("x" "y" "z" "w" "v")) NIL NIL NIL NIL NIL NIL NIL)"#);
    assert_eq!(cut.from.first().unwrap().host, None);
    assert_eq!(cut.from.last().unwrap().host.as_deref(), Some(&b"w"[..]));
}

#[test]
fn dates_have_one_digit_or_two() {
    for (text, expected) in [
        ("\"22-Nov-2026 13:00:00 +0100\"", Some(60)),
        ("\" 2-nov-2026 13:00:00 -0930\"", Some(-570)),
        ("\"2-Nov-2026 13:00:00\"", Some(0)),
        ("\"2-Nov-2026\"", None),
        ("\"32-Nov-2026 13:00:00 +0000\"", None),
        ("\"2-Nov-2026 13:00:00 +9999\"", None),
        ("NIL", None),
    ] {
        let date = row(&format!("INTERNALDATE {text}")).internal_date;
        assert_eq!(date.map(|date| date.offset_minutes), expected, "{text}");
    }
}

#[test]
fn sets_of_any_size_cost_what_their_octets_cost() {
    let Response::Data(Data::Vanished { uids, earlier: true }) = read("* VANISHED (EARLIER) 9:4294967295,1,5:2\r\n")
    else {
        panic!()
    };
    assert_eq!(uids.len(), 4_294_967_287 + 5);
    let mut numbers: Vec<String> = (1..200_000u32).map(|n| (n * 2).to_string()).collect();
    numbers.reverse();
    let Response::Data(Data::Search(found)) = read(&format!("* SEARCH {}\r\n", numbers.join(" "))) else { panic!() };
    assert_eq!(found.all.unwrap().len(), 199_999);
}

#[test]
fn what_is_no_response_is_told_apart() {
    for bad in
        ["\r\n", "A1\r\n", "A1 \r\n", "A1 BYE x\r\n", "HTTP/1.1 400 Bad\r\n", "* VANISHED 1:\r\n", "* VANISHED\r\n"]
    {
        assert!(parse(bad.as_bytes(), &Bounds::default()).is_err(), "{bad:?}");
    }
    assert!(matches!(read("A7 ok\r\n"), Response::Tagged { tag: Some(7), condition: Condition::Ok, .. }));
    assert!(matches!(read("b7 NO x\r\n"), Response::Tagged { tag: None, condition: Condition::No, .. }));
    assert!(matches!(read("+\r\n"), Response::Continue(text) if text.is_empty()));
}
