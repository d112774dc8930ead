//! What odd and ordinary messages look like in ENVELOPE, BODY and BODYSTRUCTURE.

use mailstore_trait::mime::{Limits, Scanner, Skeleton};
use proptest::prelude::*;

use super::*;

fn skeleton(message: &[u8]) -> Skeleton {
    let mut scanner = Scanner::new(Limits::default());
    scanner.push(message);
    scanner.finish()
}

fn text(out: &BytesMut) -> String {
    out.escape_ascii().to_string().replace("\\\"", "\"").replace("\\\\", "\\").replace("\\r\\n", "\r\n")
}

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    text(&out)
}

fn envelope_of(message: &str) -> String {
    let skeleton = skeleton(message.as_bytes());
    let fields = skeleton.root().envelope().unwrap();
    written(|out| envelope(&fields, Quoted::Ascii, out))
}

fn body_of(message: &str) -> String {
    written(|out| body(skeleton(message.as_bytes()).root(), Quoted::Ascii, out))
}

fn structure_of(message: &str) -> String {
    written(|out| body_structure(skeleton(message.as_bytes()).root(), Quoted::Ascii, out))
}

fn string_of(octets: &[u8], quoted: Quoted) -> String {
    written(|out| string(octets, quoted, out))
}

/// RFC 9051 §8: the message of the sample session.
const SAMPLE: &str = "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n\
From: Terry Gray <gray@cac.washington.edu>\r\n\
Subject: IMAP4rev2 WG mtg summary and minutes\r\n\
To: imap@cac.washington.edu\r\n\
cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n\
Message-Id: <B27397-0100000@cac.washington.example>\r\n\
MIME-Version: 1.0\r\n\
Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n";

#[test]
fn the_sample_session_of_the_rfc() {
    assert_eq!(
        envelope_of(SAMPLE),
        "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev2 WG mtg summary and minutes\" \
         ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
         ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
         ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
         ((NIL NIL \"imap\" \"cac.washington.edu\")) \
         ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) \
         NIL NIL \"<B27397-0100000@cac.washington.example>\")"
    );
    let text = "x".repeat(34) + "\r\n";
    let message = format!("{SAMPLE}{}", text.repeat(92).get(..3028).unwrap());
    assert_eq!(body_of(&message), "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 3028 84)");
}

/// RFC 9051 §7.5.2 and RFC 3501 §7.4.2: the two-part example of BODYSTRUCTURE.
#[test]
fn the_two_part_example_of_the_rfc() {
    let lines = |octets: usize, lines: usize| "y".repeat(octets - 2 * lines) + &"\r\n".repeat(lines);
    let message = format!(
        "Content-Type: MULTIPART/MIXED; BOUNDARY=b\r\n\r\n\
         --b\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\nContent-Transfer-Encoding: 7BIT\r\n\r\n{}\r\n\
         --b\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME=\"cc.diff\"\r\n\
         Content-ID: <960723163407.20117h@cac.washington.edu>\r\nContent-Description: Compiler diff\r\n\
         Content-Transfer-Encoding: BASE64\r\n\r\n{}\r\n--b--\r\n",
        lines(1152, 23),
        lines(4554, 73),
    );
    assert_eq!(
        body_of(&message),
        "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 1152 23)\
         (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\" \"NAME\" \"cc.diff\") \
         \"<960723163407.20117h@cac.washington.edu>\" \"Compiler diff\" \"BASE64\" 4554 73) \"MIXED\")"
    );
}

#[test]
fn extension_data_comes_in_order() {
    assert_eq!(
        structure_of(
            "Content-Type: text/plain\r\nContent-MD5: Q2hlY2s=\r\nContent-Disposition: attachment; filename=a.txt\r\n\
             Content-Language: en, de-CH\r\nContent-Location: http://example.org/a\r\n\r\nhi\r\n"
        ),
        "(\"text\" \"plain\" NIL NIL NIL \"7BIT\" 4 1 \"Q2hlY2s=\" \
         (\"attachment\" (\"filename\" \"a.txt\")) (\"en\" \"de-CH\") \"http://example.org/a\")"
    );
    assert_eq!(
        structure_of(
            "Content-Type: multipart/alternative; boundary=x\r\nContent-Disposition: inline\r\nContent-Language: en\r\n\r\n\
             --x\r\n\r\na\r\n--x--\r\n"
        ),
        "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7BIT\" 1 0 NIL NIL NIL NIL) \
         \"alternative\" (\"boundary\" \"x\") (\"inline\" NIL) \"en\" NIL)"
    );
}

#[test]
fn a_message_part_shows_its_envelope_and_body() {
    assert_eq!(
        body_of(
            "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n\
             From: a@b\r\nSubject: in\r\n\r\ntwo\r\nlines\r\n--o\r\nContent-Type: image/png\r\n\r\nP\r\n--o--\r\n"
        ),
        "((\"message\" \"rfc822\" NIL NIL NIL \"7BIT\" 36 \
         (NIL \"in\" ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL) \
         (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7BIT\" 10 1) 4)\
         (\"image\" \"png\" NIL NIL NIL \"7BIT\" 1) \"mixed\")"
    );
}

// jstedfast/MailKit#1841, #1393: servers answered `("alternative")` and `(NIL "alternative" …)`; the grammar wants a body.
#[test]
fn a_multipart_without_parts_has_one_empty_text() {
    let empty = "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7BIT\" 0 0)";
    for message in [
        "Content-Type: multipart/alternative; boundary=x\r\n\r\n",
        "Content-Type: multipart/alternative; boundary=x\r\n\r\n--x--\r\n",
        "Content-Type: multipart/alternative\r\n\r\nno boundary\r\n",
    ] {
        assert_eq!(body_of(message), format!("({empty} \"alternative\")"), "{message:?}");
    }
}

// pimalaya/himalaya#636: a server put spaces between the bodies of a multipart, and clients saw one part.
#[test]
fn nothing_stands_between_sibling_bodies() {
    let body = body_of(
        "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--x\r\n\r\nb\r\n--x\r\n\r\nc\r\n--x--\r\n",
    );
    assert!(!body.contains(") ("), "{}", body.replace("(\"charset\" \"us-ascii\") ", ""));
}

// duesee/imap-codec#700, kisli/vmime#159: a parameter without a value was told as NIL, which is no string.
#[test]
fn parameter_values_and_encodings_are_never_nil() {
    for message in [
        "Content-Type: text/plain; name=\r\nContent-Transfer-Encoding:\r\n\r\n",
        "Content-Type: text/plain; name=\"\"\r\nContent-Transfer-Encoding: ;\r\n\r\n",
        "Content-Type: text/plain; name\r\n\r\n",
    ] {
        let body = body_of(message);
        assert!(body.contains("NIL NIL \"7BIT\" 0 0)"), "{body}");
        assert!(!body.contains("\"name\" NIL"), "{body}");
    }
}

#[test]
fn sender_and_reply_to_stand_for_from() {
    assert_eq!(
        envelope_of("From: a@x\r\nSender:\r\nReply-To: r@x\r\n\r\n"),
        "(NIL NIL ((NIL NIL \"a\" \"x\")) ((NIL NIL \"a\" \"x\")) ((NIL NIL \"r\" \"x\")) NIL NIL NIL NIL NIL)"
    );
}

#[test]
fn originators_are_never_nil() {
    assert_eq!(envelope_of("X: y\r\n\r\n").as_bytes(), EMPTY_ENVELOPE);
    assert_eq!(envelope_of("").as_bytes(), EMPTY_ENVELOPE);
}

#[test]
fn fields_that_are_empty_are_not_nil() {
    let envelope = envelope_of("Subject:\r\nDate: \r\nMessage-ID:\r\nFrom: a@b\r\n\r\n");
    assert!(envelope.starts_with("(\"\" \"\" "), "{envelope}");
    assert!(envelope.ends_with(" NIL \"\")"), "{envelope}");
}

/// RFC 9051 §7.5.2: groups have marks at both ends; a route is the second field.
#[test]
fn groups_and_routes() {
    let to = |value: &str| {
        let envelope = envelope_of(&format!("From: a@b\r\nTo: {value}\r\n\r\n"));
        let (_, behind) =
            envelope.split_once("NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ").unwrap();
        behind.strip_suffix(" NIL NIL NIL NIL)").unwrap().to_owned()
    };
    assert_eq!(
        to("A Group: Ed <joe@where.test>, john@one.test; , x@y"),
        "((NIL NIL \"A Group\" NIL)(\"Ed\" NIL \"joe\" \"where.test\")(NIL NIL \"john\" \"one.test\")(NIL NIL NIL NIL)\
         (NIL NIL \"x\" \"y\"))"
    );
    assert_eq!(to("undisclosed-recipients:;"), "((NIL NIL \"undisclosed-recipients\" NIL)(NIL NIL NIL NIL))");
    assert_eq!(to("<@a.test,@b.test:c@d.test>"), "((NIL \"@a.test,@b.test\" \"c\" \"d.test\"))");
    assert_eq!(to("\"a\\\"b\" <c@d>"), "((\"a\\\"b\" NIL \"c\" \"d\"))");
    assert_eq!(to("nobody"), "((NIL NIL \"nobody\" \"\"))");
    assert_eq!(to(",,"), "NIL");
}

/// RFC 2231 §3, §6: values sent in pieces are told whole; what is no piece of anything stays as it is.
#[test]
fn pieces_of_parameters_are_joined() {
    let parameters = |text: &str| {
        let body = body_of(&format!("Content-Type: text/plain; {text}\r\n\r\n"));
        let (_, behind) = body.split_once("\"plain\" ").unwrap();
        behind.split_once(" NIL NIL").unwrap().0.replace("\\'", "'")
    };
    assert_eq!(parameters("name*0=\"a b\"; x=y; NAME*1=cd"), "(\"name\" \"a bcd\" \"x\" \"y\")");
    assert_eq!(parameters("name*1=cd; name*0=ab"), "(\"name\" \"abcd\")");
    assert_eq!(
        parameters("f*0*=utf-8''%c3; f*1*=%a4; f*2=\" 5%\""),
        "(\"f*\" \"utf-8''%c3%a4%205%25\")",
        "a piece without percent signs gets them among others"
    );
    assert_eq!(parameters("f*=utf-8''%c3%a4"), "(\"f*\" \"utf-8''%c3%a4\")");
    assert_eq!(parameters("f*0=a; f*2=c"), "(\"f\" \"a\" \"f*2\" \"c\")", "nothing behind a gap");
    assert_eq!(parameters("f*1=b"), "(\"f*1\" \"b\")");
    assert_eq!(parameters("f*0=a; f*0=b; *0=c; f*01=d"), "(\"f\" \"a\" \"*0\" \"c\" \"f*01\" \"d\")");
}

// emersion/go-imap#659: quotes in strings must be escaped everywhere, also in parameters and ids.
#[test]
fn strings_take_the_form_they_need() {
    for (octets, quoted, form) in [
        (&b""[..], Quoted::Ascii, "\"\""),
        (b"plain (text) {5}", Quoted::Ascii, "\"plain (text) {5}\""),
        (b"a\"b\\c", Quoted::Ascii, "\"a\\\"b\\\\c\""),
        (b"\"", Quoted::Ascii, "\"\\\"\""),
        (b"a\r\nb", Quoted::Ascii, "{4}\r\na\r\nb"),
        (b"a\nb", Quoted::Utf8, "{3}\r\na\\nb"),
        (b"a\0\0b", Quoted::Utf8, "{2}\r\nab"),
        ("ä".as_bytes(), Quoted::Ascii, "{2}\r\n\\xc3\\xa4"),
        ("ä".as_bytes(), Quoted::Utf8, "\"\\xc3\\xa4\""),
        ("ä\"".as_bytes(), Quoted::Utf8, "\"\\xc3\\xa4\\\"\""),
        (b"\xe4", Quoted::Utf8, "{1}\r\n\\xe4"),
    ] {
        assert_eq!(string_of(octets, quoted), form);
    }
    assert_eq!(written(|out| nstring(None, Quoted::Ascii, out)), "NIL");
    assert_eq!(
        body_of("Content-Type: text/plain; name=\"a\\\"b\"\r\nContent-ID: <\"x\"@y>\r\n\r\n"),
        "(\"text\" \"plain\" (\"name\" \"a\\\"b\") \"<\\\"x\\\"@y>\" NIL \"7BIT\" 0 0)"
    );
}

#[test]
fn raw_header_text_is_a_literal_in_rev1_and_quoted_in_rev2() {
    let skeleton = skeleton("Subject: Grüße\r\nFrom: a@b\r\n\r\n".as_bytes());
    let fields = skeleton.root().envelope().unwrap();
    let form = |quoted| written(|out| envelope(&fields, quoted, out));
    assert!(form(Quoted::Ascii).starts_with("(NIL {7}\r\nGr\\xc3\\xbc\\xc3\\x9fe "), "{}", form(Quoted::Ascii));
    assert!(form(Quoted::Utf8).starts_with("(NIL \"Gr\\xc3\\xbc\\xc3\\x9fe\" "), "{}", form(Quoted::Utf8));
}

#[test]
fn numbers_are_decimal() {
    for value in [0, 1, 9, 10, 4_294_967_296, u64::MAX] {
        assert_eq!(written(|out| number(value, out)), value.to_string());
    }
}

#[test]
fn deep_nesting_ends_at_the_limit() {
    let mut message = String::new();
    for level in 0..500 {
        message += &format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n");
    }
    assert_is_body(body_of(&message).as_bytes());
    let message = "Content-Type: message/rfc822\r\n\r\n".repeat(500);
    assert_is_body(body_of(&message).as_bytes());
    let message = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned() + &"--b\r\n\r\n".repeat(20_000);
    assert_is_body(body_of(&message).as_bytes());
}

#[track_caller]
fn assert_is_body(octets: &[u8]) {
    let mut grammar = Grammar(octets);
    assert_eq!(grammar.body(0), Some(()), "not a body at: {}", grammar.0.escape_ascii());
    assert!(grammar.0.is_empty(), "more than a body: {}", grammar.0.escape_ascii());
}

/// The grammar of RFC 9051 §9, `body` without extension data, and `envelope`: written down again, as a reader.
struct Grammar<'a>(&'a [u8]);

impl Grammar<'_> {
    fn token(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(token.as_bytes())?;
        Some(())
    }

    fn number(&mut self) -> Option<usize> {
        let digits = self.0.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        std::str::from_utf8(number).ok()?.parse().ok()
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        if self.token("{").is_some() {
            let len = self.number()?;
            self.token("}\r\n")?;
            let (literal, rest) = self.0.split_at_checked(len)?;
            self.0 = rest;
            return (!literal.contains(&0)).then(|| literal.to_vec());
        }
        self.token("\"")?;
        let mut string = Vec::new();
        loop {
            let (&octet, rest) = self.0.split_first()?;
            self.0 = rest;
            match octet {
                b'"' => return Some(string),
                b'\\' => {
                    let (&special, rest) = self.0.split_first()?;
                    self.0 = rest;
                    matches!(special, b'"' | b'\\').then_some(())?;
                    string.push(special);
                }
                0 | b'\r' | b'\n' | 0x80.. => return None,
                _ => string.push(octet),
            }
        }
    }

    fn nstring(&mut self) -> Option<()> {
        if self.token("NIL").is_some() { Some(()) } else { self.string().map(|_| ()) }
    }

    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if self.token("NIL").is_some() {
            return Some(());
        }
        self.token("(")?;
        item(self)?;
        while self.token(")").is_none() {
            item(self)?;
        }
        Some(())
    }

    fn address(&mut self) -> Option<()> {
        self.token("(")?;
        for separator in [" ", " ", " ", ")"] {
            self.nstring()?;
            self.token(separator)?;
        }
        Some(())
    }

    fn envelope(&mut self) -> Option<()> {
        self.token("(")?;
        self.nstring()?;
        self.token(" ")?;
        self.nstring()?;
        for _ in 0..6 {
            self.token(" ")?;
            self.list(Self::address)?;
        }
        self.token(" ")?;
        self.nstring()?;
        self.token(" ")?;
        self.nstring()?;
        self.token(")")
    }

    fn fields(&mut self) -> Option<()> {
        let mut first = true;
        self.list(|grammar| {
            if !std::mem::take(&mut first) {
                grammar.token(" ")?;
            }
            grammar.string()?;
            grammar.token(" ")?;
            grammar.string().map(|_| ())
        })?;
        self.token(" ")?;
        self.nstring()?;
        self.token(" ")?;
        self.nstring()?;
        self.token(" ")?;
        self.string()?;
        self.token(" ")?;
        self.number().map(|_| ())
    }

    fn body(&mut self, depth: usize) -> Option<()> {
        assert!(depth < 1000);
        self.token("(")?;
        if self.0.starts_with(b"(") {
            while self.0.starts_with(b"(") {
                self.body(depth + 1)?;
            }
            self.token(" ")?;
            self.string()?;
            return self.token(")");
        }
        let media_type = self.string()?.to_ascii_lowercase();
        self.token(" ")?;
        let subtype = self.string()?.to_ascii_lowercase();
        self.token(" ")?;
        self.fields()?;
        match (media_type.as_slice(), subtype.as_slice()) {
            (b"message", b"rfc822" | b"global") => {
                self.token(" ")?;
                self.envelope()?;
                self.token(" ")?;
                self.body(depth + 1)?;
                self.token(" ")?;
                self.number()?;
            }
            (b"text", _) => {
                self.token(" ")?;
                self.number()?;
            }
            (b"multipart", _) => return None,
            _ => {}
        }
        self.token(")")
    }
}

/// Pieces from which odd messages are put together.
const PIECES: [&str; 32] = [
    "\r\n",
    "\n",
    "\r\n\r\n",
    "--b\r\n",
    "--b--\r\n",
    "--c\r\n",
    "--c--\r\n",
    " ",
    "\t",
    "x",
    "\"",
    "\\",
    "\0",
    "ä",
    "\u{0}",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "Content-Type: multipart/digest; boundary=c\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Type: message/global\r\n",
    "Content-Type: text\r\n",
    "Content-Type: text/plain; a=\"b\\\"\r\n",
    "Content-Type: ;;;=\r\n",
    "Content-Type: multipart\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Disposition: a; b=c; d\r\n",
    "Content-Language: a,,b, c\r\n",
    "From: a <b@c>, \"q\\\"\" <d>\r\n",
    "To: g: a@b, c;, (x) d@e (y)\r\n",
    "Cc: <@r:u@v>, @, ;\r\n",
    "Subject: ä \"\\\r\n",
    "Message-ID: <x@y>\r\n z\r\n",
    "Content-Type: message/rfc822; x=y\r\nContent-Transfer-Encoding: base64\r\n",
];

proptest! {
    #[test]
    fn whatever_comes_the_grammar_holds(pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..40)) {
        let message = pieces.concat();
        let skeleton = skeleton(message.as_bytes());
        let mut out = BytesMut::new();
        body(skeleton.root(), Quoted::Ascii, &mut out);
        assert_is_body(&out);
        let mut out = BytesMut::new();
        envelope(&skeleton.root().envelope().unwrap(), Quoted::Ascii, &mut out);
        let mut grammar = Grammar(&out);
        prop_assert_eq!(grammar.envelope(), Some(()), "{}", out.escape_ascii());
        prop_assert!(grammar.0.is_empty());
    }

    #[test]
    fn strings_read_back(octets in prop::collection::vec(1u8.., 0..40)) {
        let mut out = BytesMut::new();
        string(&octets, Quoted::Ascii, &mut out);
        prop_assert_eq!(Grammar(&out).string(), Some(octets));
    }
}
