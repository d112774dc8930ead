//! What a server offers: one table, from which CAPABILITY and the greeting are computed (RFC 9051 §6.1.1, §7.2.2).
//!
//! A capability is offered when it is whole, when the session's state and the store allow it, and when the embedder has
//! not switched it off. Clients are told again after STARTTLS and after login, because some never ask.

use bytes::{BufMut, BytesMut};
use mailstore_trait::query::{Algorithm, DateOf, SortKey};
use mailstore_trait::sasl::Context;

use crate::command::{
    AppendEnd, AppendLine, AppendPiece, Command, FetchItem, ListReturn, MetadataCommand, Name, SearchArguments,
    SearchKey, SearchReturn, SearchToken, SequenceSet, Spelling, StatusItems,
};
use crate::config::Config;
use crate::request::Abilities;

/// What decides whether a capability is offered now.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) config: &'a Config,
    /// The connection, as SASL sees it.
    pub(crate) connection: &'a Context,
    /// Whether the stream is compressed.
    pub(crate) compressed: bool,
    pub(crate) logged_in: bool,
    /// The largest message the store takes, once that is known.
    pub(crate) max_message: Option<u64>,
    /// What the store and the client's standing allow.
    pub(crate) abilities: Abilities,
}

impl Facts<'_> {
    fn can_login(&self) -> bool {
        self.connection.tls || self.config.allow_cleartext
    }

    fn has(&self, ability: Abilities, capabilities: &[&str]) -> bool {
        self.logged_in && self.abilities.contains(ability) && self.config.offers(capabilities)
    }

    fn can_start_tls(&self) -> bool {
        self.config.starttls && !self.connection.tls
    }
}

/// One row of the table.
struct Row {
    name: &'static str,
    /// Whether it is offered.
    when: fn(&Facts<'_>) -> bool,
}

const ALWAYS: fn(&Facts<'_>) -> bool = |_| true;
const BEFORE_LOGIN: fn(&Facts<'_>) -> bool = |facts| !facts.logged_in;
const AFTER_LOGIN: fn(&Facts<'_>) -> bool = |facts| facts.logged_in;

/// What IMAP4rev2 is made of (RFC 9051 appendix E): it is offered when all of this is. LITERAL- is among it, and LITERAL+
/// is more than that.
pub(crate) const REV2: &[&str] = &[
    "IMAP4rev2",
    "BINARY",
    "CHILDREN",
    "ENABLE",
    "ESEARCH",
    "IDLE",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "LITERAL-",
    "MOVE",
    "NAMESPACE",
    "SASL-IR",
    "SEARCHRES",
    "SPECIAL-USE",
    "STATUS=SIZE",
    "UIDPLUS",
    "UNSELECT",
];

/// Every capability but `AUTH=` and `APPENDLIMIT=`, which have values.
const TABLE: &[Row] = &[
    Row { name: "IMAP4rev1", when: ALWAYS }, // RFC 3501 §6.1.1
    Row { name: "IMAP4rev2", when: |facts| facts.config.offers(REV2) }, // RFC 9051 appendix E
    Row { name: "LITERAL+", when: ALWAYS },  // RFC 7888 §3
    // RFC 7888 §5: never both.
    Row { name: "LITERAL-", when: |facts| !facts.config.offers(&["LITERAL+"]) },
    Row { name: "SASL-IR", when: BEFORE_LOGIN }, // RFC 4959 §3
    Row { name: "STARTTLS", when: |facts| !facts.logged_in && facts.can_start_tls() }, // RFC 9051 §6.2.1
    Row { name: "LOGINDISABLED", when: |facts| !facts.logged_in && !facts.can_login() }, // RFC 9051 §6.2.3
    Row { name: "ID", when: ALWAYS },            // RFC 2971 §3
    Row { name: "ENABLE", when: ALWAYS },        // RFC 5161 §3
    Row { name: "IDLE", when: AFTER_LOGIN },     // RFC 2177 §3
    Row { name: "NAMESPACE", when: AFTER_LOGIN }, // RFC 2342 §5
    Row { name: "CHILDREN", when: AFTER_LOGIN }, // RFC 3348 §3
    Row { name: "UNSELECT", when: AFTER_LOGIN }, // RFC 3691 §2
    Row { name: "UIDPLUS", when: AFTER_LOGIN },  // RFC 4315 §2
    Row { name: "MOVE", when: AFTER_LOGIN },     // RFC 6851 §3
    Row { name: "ESEARCH", when: AFTER_LOGIN },  // RFC 4731 §3
    // RFC 5182 §2: RETURN is ESEARCH's.
    Row { name: "SEARCHRES", when: |facts| facts.logged_in && facts.config.offers(&["ESEARCH"]) },
    Row { name: "BINARY", when: AFTER_LOGIN }, // RFC 3516 §4.1
    Row { name: "PARTIAL", when: |facts| facts.logged_in && facts.config.offers(&["ESEARCH"]) }, // RFC 9394 §3
    Row { name: "SORT", when: AFTER_LOGIN },   // RFC 5256 §1
    Row { name: "SORT=DISPLAY", when: |facts| facts.logged_in && facts.config.offers(&["SORT"]) }, // RFC 5957 §1
    Row { name: "THREAD=ORDEREDSUBJECT", when: AFTER_LOGIN }, // RFC 5256 §1
    Row { name: "THREAD=REFERENCES", when: AFTER_LOGIN }, // RFC 5256 §1
    // RFC 5267 §3.1, RFC 5267 §4.1.
    Row { name: "ESORT", when: |facts| facts.logged_in && facts.config.offers(&["ESEARCH", "SORT"]) },
    Row { name: "CONTEXT=SEARCH", when: |facts| facts.logged_in && facts.config.offers(&["ESEARCH"]) },
    Row { name: "CONTEXT=SORT", when: |facts| facts.logged_in && facts.config.offers(&["ESEARCH", "SORT", "ESORT"]) },
    Row { name: "WITHIN", when: AFTER_LOGIN },             // RFC 5032 §2
    Row { name: "LIST-EXTENDED", when: AFTER_LOGIN },      // RFC 5258 §3
    Row { name: "LIST-STATUS", when: AFTER_LOGIN },        // RFC 5819 §2
    Row { name: "SPECIAL-USE", when: AFTER_LOGIN },        // RFC 6154 §2
    Row { name: "CREATE-SPECIAL-USE", when: AFTER_LOGIN }, // RFC 6154 §3
    Row { name: "STATUS=SIZE", when: AFTER_LOGIN },        // RFC 8438
    Row { name: "CONDSTORE", when: AFTER_LOGIN },          // RFC 7162 §3.1.1
    Row { name: "OBJECTID", when: AFTER_LOGIN },           // RFC 8474 §2
    Row { name: "SAVEDATE", when: AFTER_LOGIN },           // RFC 8514 §3
    // RFC 6855 §3: nothing of it works without ENABLE.
    Row { name: "UTF8=ACCEPT", when: |facts| facts.logged_in && facts.config.offers(&["ENABLE"]) },
    Row { name: "PREVIEW", when: AFTER_LOGIN },    // RFC 8970 §1
    Row { name: "INPROGRESS", when: AFTER_LOGIN }, // RFC 9585 §3
    // RFC 9586 §3.1: nothing of it works without ENABLE.
    Row { name: "UIDONLY", when: |facts| facts.logged_in && facts.config.offers(&["ENABLE"]) },
    Row { name: "UIDBATCHES", when: AFTER_LOGIN }, // RFC 10022 §3.1
    // RFC 8437 §3: after login is early enough.
    Row { name: "UNAUTHENTICATE", when: |facts| facts.logged_in && facts.config.unauthenticate && !facts.compressed },
    // RFC 4978 §3
    Row { name: "COMPRESS=DEFLATE", when: |facts| facts.logged_in && facts.config.compress && !facts.compressed },
    // RFC 2221 §3
    Row { name: "LOGIN-REFERRALS", when: |facts| !facts.logged_in && facts.config.login_referrals },
    // RFC 5255 §4.3: in the authenticated state.
    // Deviation from RFC 5255 §4.2: case is mapped in full, not by single characters, so that STRASSE is found in both spellings.
    Row { name: "I18NLEVEL=1", when: AFTER_LOGIN },
    // The name SPECIAL-USE had before it was one, for clients from then.
    Row { name: "XLIST", when: |facts| facts.logged_in && facts.config.offers(&["SPECIAL-USE"]) },
    Row { name: "MULTIAPPEND", when: AFTER_LOGIN }, // RFC 3502
    Row { name: "CATENATE", when: AFTER_LOGIN },    // RFC 4469 §5
    Row { name: "REPLACE", when: AFTER_LOGIN },     // RFC 8508 §3.1
    Row { name: "QUOTA", when: |facts| facts.has(Abilities::QUOTA, &[]) }, // RFC 9208 §3.1.1
    Row { name: "QUOTA=RES-STORAGE", when: |facts| facts.has(Abilities::QUOTA, &["QUOTA"]) }, // RFC 9208 §5.1
    Row { name: "QUOTA=RES-MESSAGE", when: |facts| facts.has(Abilities::QUOTA, &["QUOTA"]) }, // RFC 9208 §5.2
    Row { name: "QUOTA=RES-MAILBOX", when: |facts| facts.has(Abilities::QUOTA, &["QUOTA"]) }, // RFC 9208 §5.3
    Row { name: "QUOTASET", when: |facts| facts.has(Abilities::QUOTA | Abilities::QUOTASET, &["QUOTA"]) }, // RFC 9208 §4.1.3
    Row { name: "ACL", when: |facts| facts.has(Abilities::ACL, &[]) }, // RFC 4314 §3
    Row { name: "RIGHTS=texk", when: |facts| facts.has(Abilities::ACL, &["ACL", "RIGHTS"]) }, // RFC 4314 §5.1.1
    // RFC 8440 §3: of the extended LIST.
    Row { name: "LIST-MYRIGHTS", when: |facts| facts.has(Abilities::ACL, &["ACL", "LIST-EXTENDED"]) },
    Row { name: "METADATA", when: |facts| facts.has(Abilities::METADATA, &[]) }, // RFC 5464 §1
    Row { name: "METADATA-SERVER", when: |facts| facts.has(Abilities::METADATA, &[]) }, // RFC 5464 §1
    // RFC 9590 §3: of the extended LIST.
    Row { name: "LIST-METADATA", when: |facts| facts.has(Abilities::METADATA, &["METADATA", "LIST-EXTENDED"]) },
    // RFC 7162 §3.2.2, §3.2.3: nothing of it works without CONDSTORE or ENABLE.
    Row { name: "QRESYNC", when: |facts| facts.logged_in && facts.config.offers(&["CONDSTORE", "ENABLE"]) },
];

/// The capability a command belongs to; switching it off makes the command unknown.
pub(crate) fn of_command(name: Name) -> Option<&'static str> {
    Some(match name {
        Name::DeleteAcl | Name::GetAcl | Name::ListRights | Name::MyRights | Name::SetAcl => "ACL",
        Name::Enable => "ENABLE",
        Name::GetQuota | Name::GetQuotaRoot => "QUOTA",
        Name::SetQuota => "QUOTASET",
        Name::Id => "ID",
        Name::Idle => "IDLE",
        Name::Move | Name::UidMove => "MOVE",
        Name::Compress => "COMPRESS=DEFLATE",
        Name::Namespace => "NAMESPACE",
        Name::Replace | Name::UidReplace => "REPLACE",
        Name::StartTls => "STARTTLS",
        Name::UidBatches => "UIDBATCHES",
        Name::Xlist => "XLIST",
        Name::UidExpunge => "UIDPLUS",
        Name::Unauthenticate => "UNAUTHENTICATE",
        Name::Unselect => "UNSELECT",
        _ => return None,
    })
}

/// The ability a command needs; without it the command is unknown.
pub(crate) fn ability_of(name: Name) -> Abilities {
    match name {
        Name::DeleteAcl | Name::GetAcl | Name::ListRights | Name::MyRights | Name::SetAcl => Abilities::ACL,
        Name::GetQuota | Name::GetQuotaRoot => Abilities::QUOTA,
        Name::SetQuota => Abilities::QUOTA | Abilities::QUOTASET,
        Name::GetMetadata | Name::SetMetadata => Abilities::METADATA,
        _ => Abilities::empty(),
    }
}

/// Whether the capabilities that a command's arguments belong to are all offered; else the arguments are unknown.
pub(crate) fn knows(config: &Config, abilities: Abilities, command: &Command<'_>) -> bool {
    let has = |ability, capabilities| abilities.contains(ability) && config.offers(capabilities);
    let condstore = || config.offers(&["CONDSTORE"]);
    let qresync = || config.offers(&["CONDSTORE", "ENABLE", "QRESYNC"]);
    let objectid = || config.offers(&["OBJECTID"]);
    let savedate = || config.offers(&["SAVEDATE"]);
    let binary = || config.offers(&["BINARY"]);
    let status = |items: StatusItems| {
        (!items.contains(StatusItems::HIGHESTMODSEQ) || condstore())
            && (!items.contains(StatusItems::MAILBOXID) || objectid())
            && (!items.contains(StatusItems::DELETED_STORAGE) || has(Abilities::QUOTA, &["QUOTA"]))
    };
    let saved = |set: &SequenceSet| !set.is_saved() || config.offers(&["SEARCHRES"]);
    match command {
        Command::Select { parameters, .. } => {
            (!parameters.condstore || condstore()) && (parameters.qresync.is_none() || qresync())
        }
        Command::Copy { set, .. } | Command::Move { set, .. } | Command::Expunge(Some(set)) => saved(set),
        Command::Fetch { set, modifiers, items, .. } => {
            let known = |item: &FetchItem<'_>| match item {
                FetchItem::ModSeq => condstore(),
                FetchItem::EmailId | FetchItem::ThreadId => objectid(),
                FetchItem::SaveDate => savedate(),
                FetchItem::BinarySize(_) => binary(),
                FetchItem::Preview { .. } => config.offers(&["PREVIEW"]),
                FetchItem::Section(section) => section.spelling != Spelling::Binary || binary(),
                _ => true,
            };
            saved(set)
                && (modifiers.changed_since.is_none() || condstore())
                && (!modifiers.vanished || qresync())
                && (modifiers.partial.is_none() || config.offers(&["PARTIAL"]))
                && items.iter().all(known)
        }
        Command::Store { set, unchanged_since, .. } => saved(set) && (unchanged_since.is_none() || condstore()),
        Command::Search { arguments, .. } => {
            knows_returns(config, arguments, "ESEARCH", "CONTEXT=SEARCH") && knows_keys(config, arguments)
        }
        Command::Sort { criteria, arguments, .. } => {
            let display = |key| matches!(key, SortKey::DisplayFrom | SortKey::DisplayTo);
            config.offers(&["SORT"])
                && (config.offers(&["SORT=DISPLAY"]) || !criteria.iter().any(|criterion| display(criterion.key)))
                && knows_returns(config, arguments, "ESORT", "CONTEXT=SORT")
                && knows_keys(config, arguments)
        }
        Command::Thread { algorithm, arguments, .. } => {
            let name = match algorithm {
                Algorithm::References => "THREAD=REFERENCES",
                _ => "THREAD=ORDEREDSUBJECT",
            };
            config.offers(&[name]) && knows_keys(config, arguments)
        }
        Command::CancelUpdate(_) => {
            config.offers(&["ESEARCH", "CONTEXT=SEARCH"])
                || config.offers(&["ESEARCH", "SORT", "ESORT", "CONTEXT=SORT"])
        }
        Command::Status { items, .. } => status(*items),
        Command::List(arguments) => {
            let mine = arguments.returns.contains(ListReturn::MYRIGHTS);
            status(arguments.status)
                && (!mine || has(Abilities::ACL, &["ACL", "LIST-MYRIGHTS"]))
                && (arguments.metadata.is_empty() || has(Abilities::METADATA, &["METADATA", "LIST-METADATA"]))
        }
        // RFC 5464 §1: METADATA is both, METADATA-SERVER the server's alone.
        Command::Metadata(MetadataCommand::Get { mailbox, .. } | MetadataCommand::Set { mailbox, .. }) => {
            config.offers(&["METADATA"]) || (mailbox.is_empty() && config.offers(&["METADATA-SERVER"]))
        }
        _ => true,
    }
}

/// Whether the capabilities that a line of an APPEND belongs to are all offered; `begun` is how many messages the command
/// had before, and a REPLACE has one only.
pub(crate) fn knows_append(config: &Config, line: &AppendLine<'_>, begun: usize, replaces: bool) -> bool {
    let mut begun = begun;
    let pieces = line.pieces.iter().all(|piece| match piece {
        AppendPiece::Message { catenate, .. } => {
            begun += 1;
            // RFC 8508 §4.7: nothing is said of several messages in one's place.
            (begun == 1 || (!replaces && config.offers(&["MULTIAPPEND"])))
                && (!catenate || config.offers(&["CATENATE"]))
        }
        AppendPiece::Url(_) => config.offers(&["CATENATE"]),
    });
    pieces
        && match line.end {
            // RFC 6855 §4: its literal8 is no message of BINARY's.
            AppendEnd::Octets { utf8: true, .. } => config.offers(&["ENABLE", "UTF8=ACCEPT"]),
            AppendEnd::Octets { binary, .. } => !binary || config.offers(&["BINARY"]),
            AppendEnd::Command => true,
        }
}

/// Whether the return options of a search are all offered: those of `extended`, and those of `context`.
fn knows_returns(config: &Config, arguments: &SearchArguments<'_>, extended: &str, context: &str) -> bool {
    let Some(returns) = arguments.returns else { return true };
    config.offers(&["ESEARCH", extended])
        && (!returns.contains(SearchReturn::SAVE) || config.offers(&["SEARCHRES"]))
        && (!returns.intersects(SearchReturn::UPDATE | SearchReturn::CONTEXT) || config.offers(&[context]))
        && arguments.partial.is_none_or(|range| {
            // RFC 5267 §5: without the minus of RFC 9394.
            config.offers(&["PARTIAL"]) || !range.from_end && config.offers(&[context])
        })
}

/// Whether the keys of a search are all offered.
fn knows_keys(config: &Config, arguments: &SearchArguments<'_>) -> bool {
    arguments.tokens.iter().all(|token| match token {
        SearchToken::Key(SearchKey::UidBeyond(..)) => {
            config.limits.messages.is_some() && config.offers(&["MESSAGELIMIT"])
        }
        SearchToken::Key(SearchKey::Sequence(set) | SearchKey::Uid(set)) => {
            !set.is_saved() || config.offers(&["SEARCHRES"])
        }
        SearchToken::Key(SearchKey::ModSeq(_)) => config.offers(&["CONDSTORE"]),
        SearchToken::Key(SearchKey::Email(_) | SearchKey::Thread(_)) => config.offers(&["OBJECTID"]),
        SearchToken::Key(SearchKey::Date(DateOf::Saved, ..) | SearchKey::SaveDateSupported) => {
            config.offers(&["SAVEDATE"])
        }
        _ => true,
    })
}

/// Appends the capabilities, parted by spaces.
pub(crate) fn write(facts: &Facts<'_>, out: &mut BytesMut) {
    let mut first = true;
    let mut word = |parts: [&[u8]; 2]| {
        if !first {
            out.put_u8(b' ');
        }
        first = false;
        parts.iter().for_each(|part| out.put_slice(part));
    };
    for row in TABLE {
        if (row.when)(facts) && !facts.config.disabled.contains(row.name) {
            word([row.name.as_bytes(), b""]);
        }
    }
    if !facts.logged_in && !facts.config.disabled.contains("AUTH") {
        for mechanism in &facts.config.mechanisms {
            if facts.connection.permits(*mechanism).is_ok() {
                word([b"AUTH=", mechanism.name().as_bytes()]);
            }
        }
    }
    // RFC 9738 §3: one of the two.
    let limits = &facts.config.limits;
    let limit = limits.messages.map(|limit| ("MESSAGELIMIT", limit));
    let limit = limit.or_else(|| limits.saves.map(|limit| ("SAVELIMIT", limit)));
    if let Some((name, limit)) = limit.filter(|(name, _)| facts.logged_in && facts.config.offers(&[name])) {
        word([name.as_bytes(), format!("={limit}").as_bytes()]);
    }
    // RFC 7889 §2: with a value the same limit holds for every mailbox.
    if let Some(limit) = facts.max_message.filter(|_| !facts.config.disabled.contains("APPENDLIMIT")) {
        word([b"APPENDLIMIT=", limit.to_string().as_bytes()]);
    }
}

#[cfg(test)]
mod tests {
    use mailstore_trait::session::LayerInfo;

    use super::*;

    fn capabilities(config: &Config, connection: &Context, logged_in: bool) -> String {
        let mut out = BytesMut::new();
        let facts = Facts {
            config,
            connection,
            compressed: false,
            logged_in,
            max_message: logged_in.then_some(1000),
            abilities: Abilities::empty(),
        };
        write(&facts, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn cleartext_offers_no_password_mechanism() {
        let config = Config { starttls: true, ..Config::default() };
        assert_eq!(
            capabilities(&config, &Context::cleartext(), false),
            "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR STARTTLS LOGINDISABLED ID ENABLE AUTH=SCRAM-SHA-256"
        );
    }

    #[test]
    fn tls_offers_what_it_carries() {
        let config = Config { starttls: true, ..Config::default() };
        let mut layer = LayerInfo::new();
        layer.exporter = Some([1; 32]);
        let offered = capabilities(&config, &Context::over_tls(&layer), false);
        assert!(offered.contains("AUTH=SCRAM-SHA-256-PLUS") && offered.contains("AUTH=PLAIN"));
        assert!(!offered.contains("STARTTLS") && !offered.contains("LOGINDISABLED"));
    }

    #[test]
    fn capabilities_can_be_switched_off() {
        let mut config = Config::default();
        let connection = Context::cleartext();
        assert!(capabilities(&config, &connection, true).contains(" IDLE NAMESPACE "));
        assert!(capabilities(&config, &connection, true).ends_with(" APPENDLIMIT=1000"));
        config.disabled = ["IDLE", "APPENDLIMIT"].map(String::from).into();
        let offered = capabilities(&config, &connection, true);
        assert!(!offered.contains("IDLE") && !offered.contains("APPENDLIMIT") && !offered.contains("AUTH="));
    }
}
