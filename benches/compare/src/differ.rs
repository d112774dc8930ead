//! Our command parser and Stalwart's, on the same lines: where they differ, and whether that was judged.
//!
//! `cargo run --release -- differ [LINES]`. Lines grow from a fixed seed: commands as they are sent, changed octet by
//! octet and put together from pieces of others. Each difference falls into a class of [`CLASSES`], whose reasons are in
//! `DIVERGENCES.md`; one in no class ends the run with exit code 1.

use std::collections::BTreeMap;

use smtp_proto::address::{ForwardPath, Grammar, ReversePath};
use smtp_proto::command::Command;
use smtp_proto::config::Extensions;
use stalwart_smtp::Request;

/// What a parser made of a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Made {
    Nothing,
    Command(&'static str, String),
}

/// One kind of difference: its name in `DIVERGENCES.md`, and what it looks like.
type Class = (&'static str, fn(&[u8], &Made, &Made) -> bool);

fn upper(line: &[u8]) -> String {
    String::from_utf8_lossy(line).to_ascii_uppercase()
}

const CLASSES: [Class; 11] = [
    ("octets", |line, ours, _| {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        *ours == Made::Nothing
            && (std::str::from_utf8(text).is_err() || text.iter().any(|it| it.is_ascii_control() && *it != b'\t'))
    }),
    ("verbs-not-run", |line, ours, _| {
        *ours == Made::Nothing && ["ETRN", "ATRN", "BURL"].iter().any(|it| upper(line).starts_with(it))
    }),
    ("verbs-of-postfix", |line, _, theirs| *theirs == Made::Nothing && upper(line).starts_with('X')),
    ("parameters-not-known", |line, ours, _| {
        let line = upper(line);
        *ours == Made::Nothing && [" TRANSID=", " MTRK=", " CONPERM", " CONNEG"].iter().any(|it| line.contains(it))
    }),
    ("stricter-here", |_, ours, _| *ours == Made::Nothing),
    ("whole-argument", |_, ours, theirs| match (ours, theirs) {
        (Made::Command(verb, ours), Made::Command(same, theirs)) => {
            verb == same
                && matches!(*verb, "EHLO" | "HELO" | "LHLO" | "VRFY" | "EXPN")
                && ours.starts_with(theirs.trim_ascii())
        }
        _ => false,
    }),
    ("postmaster", |_, ours, theirs| {
        matches!(ours, Made::Command("RCPT", name) if name == "postmaster")
            && matches!(theirs, Made::Command("RCPT", name) if name.is_empty())
    }),
    ("quoted", |line, ours, _| {
        let path = matches!(ours, Made::Command("MAIL" | "RCPT", path) if path.starts_with('"'));
        line.contains(&b'"') && (path || matches!(ours, Made::Command("VRFY" | "EXPN", _)))
    }),
    ("literals", |line, ours, theirs| {
        line.contains(&b'[') && *theirs == Made::Nothing && matches!(ours, Made::Command("MAIL" | "RCPT", _))
    }),
    ("orcpt-types", |line, _, theirs| *theirs == Made::Nothing && upper(line).contains("ORCPT=")),
    ("spaces", |line, _, theirs| {
        let twice = line.windows(2).any(|two| two == b"  ") || upper(line).contains(": <") || line.contains(&b'\t');
        *theirs == Made::Nothing && (twice || line.ends_with(b" \r\n"))
    }),
];

const LINES: [&str; 40] = [
    "EHLO client.example",
    "HELO client.example",
    "LHLO [127.0.0.1]",
    "EHLO [IPv6:2001:db8::1]",
    "MAIL FROM:<a@b.example>",
    "MAIL FROM:<>",
    "MAIL FROM:<a.b+c@d.example> SIZE=1000 BODY=8BITMIME",
    "mail from:<\"a b\"@c.example> SMTPUTF8 BODY=7BIT",
    "MAIL FROM:<a@b.example> RET=HDRS ENVID=QQ314159",
    "MAIL FROM:<a@b.example> AUTH=<> REQUIRETLS",
    "MAIL FROM:<a@b> BY=120;R",
    "MAIL FROM:<a@b> BY=-5;NT MT-PRIORITY=-3",
    "MAIL FROM:<a@b> HOLDFOR=60",
    "MAIL FROM:<a@b> HOLDUNTIL=2026-11-22T22:53:59Z",
    "MAIL FROM:<a@b> SOLICIT=net.example:ADV",
    "MAIL FROM:<@a.example,@b.example:c@d.example>",
    "MAIL FROM:<a@[192.0.2.1]>",
    "RCPT TO:<a@b.example>",
    "RCPT TO:<Postmaster>",
    "RCPT TO:<a@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@b.example",
    "RCPT TO:<a@b.example> NOTIFY=NEVER",
    "RCPT TO:<a@b> RRVS=2026-11-22T22:53:59Z",
    "rcpt to:<zo\u{eb}@b.example>",
    "DATA",
    "BDAT 86 LAST",
    "BDAT 0",
    "RSET",
    "NOOP",
    "NOOP text",
    "QUIT",
    "VRFY a",
    "EXPN list",
    "HELP",
    "HELP MAIL",
    "STARTTLS",
    "AUTH PLAIN AGFubgBzZWNyZXQ=",
    "AUTH SCRAM-SHA-256",
    "ETRN example.org",
    "XCLIENT NAME=a",
    "MAIL FROM:<a@b> TRANSID=<1@b>",
];

/// Lines that are shown of each kind.
const SAMPLES: usize = 12;

struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap_or(0) % end.max(1)
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = LINES[self.below(LINES.len())].as_bytes().to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(line.len() + 1);
            match self.below(6) {
                0 => line.insert(at, b" <>@:.=;,\"\\-+[]aZ0\t"[self.below(19)]),
                1 => line.insert(at, u8::try_from(self.below(256)).unwrap_or(0)),
                2 if at < line.len() => drop(line.remove(at)),
                3 if at < line.len() => line[at] ^= 0x20,
                4 => {
                    let other = LINES[self.below(LINES.len())].as_bytes();
                    let from = self.below(other.len());
                    line.truncate(at);
                    line.extend_from_slice(&other[from..]);
                }
                _ => {
                    let end = (at + self.below(12)).min(line.len());
                    let piece = line[at.min(end)..end].to_vec();
                    line.splice(at..at, piece);
                }
            }
        }
        line.retain(|octet| *octet != b'\n');
        line.extend_from_slice(b"\r\n");
        line
    }
}

fn ours(line: &[u8]) -> Made {
    let text = line.strip_suffix(b"\r\n").unwrap_or(line);
    let grammar = Grammar::default().with_utf8(true);
    let Ok(command) = Command::parse(text, Extensions::all() - Extensions::REGISTERED, grammar) else {
        return Made::Nothing;
    };
    match command {
        Command::Ehlo(name) => Made::Command("EHLO", name.to_owned()),
        Command::Helo(name) => Made::Command("HELO", name.to_owned()),
        Command::Lhlo(name) => Made::Command("LHLO", name.to_owned()),
        Command::Mail(path, parameters) => {
            let path = match path {
                ReversePath::Null => String::new(),
                ReversePath::Mailbox(mailbox) => mailbox.as_str().to_ascii_lowercase(),
            };
            let priority = parameters.priority.map_or(0, smtp_proto::command::params::Priority::value);
            Made::Command("MAIL", format!("{path} {} {priority}", parameters.size.unwrap_or(0)))
        }
        Command::Rcpt(path, _) => Made::Command(
            "RCPT",
            match path {
                ForwardPath::Postmaster => "postmaster".to_owned(),
                ForwardPath::Mailbox(mailbox) => mailbox.as_str().to_ascii_lowercase(),
            },
        ),
        Command::Data => Made::Command("DATA", String::new()),
        Command::Bdat { size, last } => Made::Command("BDAT", format!("{size} {last}")),
        Command::Rset => Made::Command("RSET", String::new()),
        Command::Noop => Made::Command("NOOP", String::new()),
        Command::Quit => Made::Command("QUIT", String::new()),
        Command::Vrfy(text) => Made::Command("VRFY", text.to_owned()),
        Command::Expn(text) => Made::Command("EXPN", text.to_owned()),
        Command::Help => Made::Command("HELP", String::new()),
        Command::StartTls => Made::Command("STARTTLS", String::new()),
        Command::Auth { .. } => Made::Command("AUTH", String::new()),
        _ => Made::Command("OTHER", String::new()),
    }
}

fn theirs(line: &[u8]) -> Made {
    let Ok(command) = Request::parse(&mut line.iter()) else { return Made::Nothing };
    let text = match &command {
        Request::Ehlo { host } | Request::Helo { host } | Request::Lhlo { host } => host.to_string(),
        Request::Mail { from } => format!("{} {} {}", from.address.to_ascii_lowercase(), from.size, from.mt_priority),
        Request::Rcpt { to } => to.address.to_ascii_lowercase(),
        Request::Bdat { chunk_size, is_last } => format!("{chunk_size} {is_last}"),
        Request::Vrfy { value } | Request::Expn { value } => value.to_string(),
        _ => String::new(),
    };
    Made::Command(command.name(), text)
}

/// Compares the parsers on so many lines; whether every difference has a class.
pub(crate) fn run(lines: usize) -> bool {
    let mut seeded = Seeded(0x5EED_0F5E_ED5E_ED00);
    let mut classes: BTreeMap<&str, (usize, BTreeMap<(bool, bool), Vec<(Vec<u8>, Made, Made)>>)> = BTreeMap::new();
    let mut same = 0_usize;
    for _ in 0..lines {
        let line = seeded.line();
        let (ours, theirs) = (ours(&line), theirs(&line));
        if ours == theirs {
            same += 1;
            continue;
        }
        let class = CLASSES.iter().find(|(_, is)| is(&line, &ours, &theirs)).map_or("UNJUDGED", |(name, _)| *name);
        let (count, samples) = classes.entry(class).or_default();
        *count += 1;
        let kind = (ours == Made::Nothing, theirs == Made::Nothing);
        let samples = samples.entry(kind).or_default();
        if samples.len() < SAMPLES {
            samples.push((line, ours, theirs));
        }
    }
    println!("{lines} lines, the same of {same}");
    for (class, (count, samples)) in &classes {
        println!("{class}: {count}");
        for (line, ours, theirs) in samples.values().flatten() {
            println!("  {} | ours {ours:?} | theirs {theirs:?}", String::from_utf8_lossy(line).escape_debug());
        }
    }
    !classes.contains_key("UNJUDGED")
}
