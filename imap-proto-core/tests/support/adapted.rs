//! The client as transcripts show it.

#![allow(dead_code, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic here is a failing test")]

use std::sync::Arc;

use bytes::Bytes;
use imap_proto_core::client::response::Attributes;
use imap_proto_core::client::{
    Answered, Append, Cache, ChunkTaken, Client, Command, Config, Event, Fetch, Items, Key, Known, List, Mailbox,
    Messages, ModSeq, Page, Piece, Replica, Request, Search, SearchReturn, Section, Select, StartTls, Store, Task,
};
use imap_proto_core::command::{ListReturn, ListSelect, StatusItems};
use mailstore_trait::date::Timestamp;
use mailstore_trait::flags::{FlagChange, FlagSet, Keyword, SystemFlags};
use mailstore_trait::id::{SeqNum, Uid, UidValidity};
use mailstore_trait::sasl::{Credentials, Nonce, Secret};
use mailstore_trait::session::LayerInfo;
use mailstore_trait::testkit::driven::Asked;
use mailstore_trait::testkit::transcript::{self, Adapter, Header, Side};
use mailstore_trait::uid_set::UidSet;

pub(crate) fn config() -> Config {
    let credentials = Credentials::Password { user: "tim".into(), password: Secret::from("secret"), authzid: None };
    let mut config = Config::new(credentials, Nonce::from_printable("fyko+d2lbbFgONRv9qkxdawL").unwrap());
    config.starttls = StartTls::Opportunistic;
    config.allow_cleartext = true;
    config
}

#[derive(Debug, Default)]
pub(crate) struct Adapted {
    tickets: u64,
}

impl Adapter for Adapted {
    type Session = Client;
    const SIDE: Side = Side::Client;

    fn session(&mut self, header: &Header) -> Client {
        assert_eq!(header.value("session"), Some("imap-client"));
        self.tickets = 0;
        let mut config = config();
        config.starttls = match header.value("starttls") {
            Some("required") => StartTls::Required,
            Some("never") => StartTls::Never,
            Some("opportunistic") | None => StartTls::Opportunistic,
            Some(other) => panic!("starttls: {other}"),
        };
        config.allow_cleartext = header.value("cleartext") != Some("off");
        if header.value("id") == Some("on") {
            config.id = vec![("name".into(), "transcript".into())];
        }
        if let Some(limit) = header.number("response") {
            config.limits.response = usize::try_from(limit).unwrap();
            config.limits.response_before_login = config.limits.response;
        }
        if let Some(unasked) = header.number("unasked") {
            config.limits.unasked = unasked;
        }
        if let Some(password) = header.value("password") {
            let password = Secret::new(transcript::escape::parse(password).unwrap());
            config.credentials = Credentials::Password { user: "tim".into(), password, authzid: None };
        }
        Client::new(Arc::new(config), (header.value("tls") == Some("on")).then(LayerInfo::new))
    }

    fn asked(&mut self, request: &Request) -> Asked {
        match request {
            Request::BodyChunk(chunk) => {
                let chunk = &chunk.query;
                let uid = chunk.uid.map_or("?".into(), |uid| uid.to_string());
                let origin = chunk.origin.map_or(String::new(), |origin| format!("<{origin}>"));
                // Where pieces are cut depends on how the octets come.
                let name = format!("BodyChunk {uid} {:?}{origin} of {}", chunk.section, chunk.total);
                Asked::Piece(name, chunk.octets.clone())
            }
            Request::ReadMessage(read) => {
                Asked::Whole(format!("ReadMessage {} {}+{}", read.query.ticket, read.query.offset, read.query.max))
            }
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, request: Request, text: &str) -> Result<Answered, String> {
        match (request, text) {
            (Request::BodyChunk(chunk), "Taken") => Ok(chunk.answer(ChunkTaken::Taken)),
            (Request::BodyChunk(chunk), "Refused") => Ok(chunk.answer(ChunkTaken::Refused)),
            (Request::ReadMessage(read), "Failed") => Ok(read.answer(Page::Failed)),
            (Request::ReadMessage(read), "Octets") => {
                let octets = Bytes::from(vec![b'x'; read.query.max]);
                Ok(read.answer(Page::Octets(octets)))
            }
            (_, other) => Err(format!("{other} is no answer")),
        }
    }

    fn usual(&mut self, request: &Request) -> Option<String> {
        Some(if matches!(request, Request::BodyChunk(_)) { "Taken" } else { "Octets" }.into())
    }

    fn event(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Capabilities(_) => None,
            event => Some(format!("{event:?}")),
        }
    }

    fn news(&mut self, text: &str) -> Result<Task, String> {
        self.tickets += 1;
        Ok(Task::new(self.tickets, command(text)?))
    }
}

/// A command as transcripts write it; words after `;` are options.
pub(crate) fn command(text: &str) -> Result<Command, String> {
    let words: Vec<&str> = text.split(' ').collect();
    let mailbox = |name: &str| Mailbox::new(&name.replace('_', " "));
    let set = |text: &str| -> Messages {
        let number = |text: &str| text.parse::<u32>().unwrap();
        match text.split_once('#') {
            Some((_, numbers)) => {
                let (first, last) = numbers.split_once(':').unwrap_or((numbers, numbers));
                let last = (last != "*").then(|| SeqNum::new(number(last)).unwrap());
                Messages::Numbers(SeqNum::new(number(first)).unwrap(), last)
            }
            None if text == "$" => Messages::Saved,
            None => match text.strip_suffix(":*") {
                Some(first) => Messages::From(Uid::new(number(first)).unwrap()),
                None => Messages::Uids(uids(text)),
            },
        }
    };
    Ok(match words.as_slice() {
        ["noop"] => Command::Noop,
        ["namespace"] => Command::Namespace,
        ["id"] => Command::Id(Vec::new()),
        ["list", pattern] => Command::List(List::new(pattern)),
        ["list", "subscribed", pattern] => {
            let mut list = List::new(pattern);
            list.select = ListSelect::SUBSCRIBED;
            Command::List(list)
        }
        ["list", "all", patterns @ ..] => {
            let mut list = List::new("");
            list.patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            list.select = ListSelect::SUBSCRIBED | ListSelect::RECURSIVEMATCH;
            list.returns = ListReturn::CHILDREN | ListReturn::SPECIAL_USE;
            list.status = StatusItems::MESSAGES | StatusItems::UNSEEN;
            Command::List(list)
        }
        ["status", name] => Command::Status(mailbox(name), StatusItems::MESSAGES | StatusItems::UIDNEXT),
        ["create", name] => Command::Create(mailbox(name), Attributes::empty()),
        ["create", name, "sent"] => Command::Create(mailbox(name), Attributes::SENT),
        ["delete", name] => Command::Delete(mailbox(name)),
        ["rename", from, to] => Command::Rename(mailbox(from), mailbox(to)),
        ["subscribe", name] => Command::Subscribe(mailbox(name)),
        ["unsubscribe", name] => Command::Unsubscribe(mailbox(name)),
        ["select", name] => Command::Select(Select::new(mailbox(name))),
        ["examine", name] => {
            let mut select = Select::read_only(mailbox(name));
            select.condstore = true;
            Command::Select(select)
        }
        ["resync", name, validity, modseq] => {
            let mut select = Select::new(mailbox(name));
            let uid_validity = UidValidity::new(validity.parse().unwrap()).unwrap();
            select.qresync = Some(Known { uid_validity, modseq: ModSeq(modseq.parse().unwrap()), uids: None });
            Command::Select(select)
        }
        ["close"] => Command::Close,
        ["unselect"] => Command::Unselect,
        ["fetch", which, what @ ..] => {
            let mut fetch = Fetch::new(set(which), Items::empty());
            for item in what {
                match (Items::from_name(item), item.split_once("since=")) {
                    (Some(item), _) => fetch.items |= item,
                    (None, Some((_, modseq))) => {
                        fetch.changed_since = Some(ModSeq(modseq.parse().unwrap()));
                        fetch.vanished = true;
                    }
                    (None, None) => fetch.sections.push(piece(item)),
                }
            }
            Command::Fetch(fetch)
        }
        ["store", which, change, rest @ ..] => {
            let (sign, flag) = change.split_at(1);
            let mut flags = FlagSet::new();
            match (SystemFlags::by_name(flag), Keyword::new(flag)) {
                (Some(flag), _) => flags.system = flag,
                (None, Some(keyword)) => flags.insert(keyword),
                _ => {}
            }
            let change = match sign {
                "+" => FlagChange::Add(flags),
                "-" => FlagChange::Remove(flags),
                _ => FlagChange::Replace(flags),
            };
            let mut store = Store::new(set(which), change);
            for option in rest {
                match option.strip_prefix("unchanged=") {
                    Some(modseq) => store.unchanged_since = Some(ModSeq(modseq.parse().unwrap())),
                    None => store.silent = true,
                }
            }
            Command::Store(store)
        }
        ["search", "#", keys @ ..] => {
            let mut search = Search::new(self::keys(keys)?);
            search.uid = false;
            Command::Search(search)
        }
        ["search", "count", keys @ ..] => {
            let mut search = Search::new(self::keys(keys)?);
            search.returns = SearchReturn::COUNT | SearchReturn::MIN;
            Command::Search(search)
        }
        ["search", keys @ ..] => Command::Search(Search::new(self::keys(keys)?)),
        ["copy", which, to] => Command::Copy(set(which), mailbox(to)),
        ["move", which, to] => Command::Move(set(which), mailbox(to)),
        ["expunge"] => Command::Expunge(None),
        ["expunge", which] => Command::Expunge(Some(uids(which))),
        ["append", name, size] => {
            let mut append = Append::new(mailbox(name), size.parse().unwrap());
            append.flags = SystemFlags::SEEN.into();
            append.date = Some(Timestamp::from_seconds(1_795_392_000).at_offset(60));
            Command::Append(append)
        }
        ["idle"] => Command::Idle,
        ["logout"] => Command::Logout,
        ["raw", rest @ ..] => Command::Raw(rest.join(" ")),
        _ => return Err(format!("{text} is no command")),
    })
}

fn uids(text: &str) -> UidSet {
    let mut set = UidSet::new();
    for range in text.split(',') {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let uid = |text: &str| Uid::new(text.parse().unwrap()).unwrap();
        set.insert_range(uid(first)..=uid(last));
    }
    set
}

fn piece(text: &str) -> Piece {
    let mut piece = Piece::peek(match text {
        "[]" | "<>" => Section::whole(),
        "[HEADER]" => Section::header(),
        "[SUBJECT]" => Section::header_fields(&["Subject", "bad name"]),
        "[1.2]" => Section::part(&[1, 2]),
        "[1.MIME]" => Section::mime(&[1]),
        _ => Section::text(),
    });
    if text == "<>" {
        piece.peek = false;
        piece.partial = Some((10, 20));
    }
    piece
}

fn keys(words: &[&str]) -> Result<Vec<Key>, String> {
    words
        .iter()
        .map(|word| {
            Ok(match word.split_once('=') {
                Some(("subject", text)) => Key::Subject(text.replace('_', " ")),
                Some(("since", _)) => Key::Since(Timestamp::from_seconds(1_795_392_000).at_offset(0)),
                Some(("larger", octets)) => Key::Larger(octets.parse().unwrap()),
                Some(("uid", set)) => Key::Uid(uids(set)),
                None if *word == "unseen" => Key::Not(Box::new(Key::Flag(SystemFlags::SEEN))),
                None if *word == "any" => {
                    Key::Or(Box::new((Key::Flag(SystemFlags::SEEN | SystemFlags::DRAFT), Key::All(Vec::new()))))
                }
                _ => return Err(format!("{word} is no key")),
            })
        })
        .collect()
}

/// A replica of this mailbox that knows nothing.
pub(crate) fn replica(name: &str, ticket: u64) -> Replica {
    Replica::new(Mailbox::new(name), ticket, Cache::default())
}
