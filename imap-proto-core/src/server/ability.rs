//! Quotas, rights and annotations (RFC 9208, RFC 4314, RFC 5464): commands that ask once about the folders, if they name
//! one, and once about it.

use bytes::{BufMut, BytesMut};
use mailstore_trait::acl::{Rights, RightsChange};
use mailstore_trait::folder::{Folder, FolderList};
use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::metadata::{Depth, Entry, EntryChange, Scope, Subject, Wanted};
use mailstore_trait::quota::{Quota, QuotaLimits};
use mailstore_trait::session::CloseReason;

use super::names;
use super::state::{Core, Flow, Step, finish};
use crate::command::metadata::Entries;
use crate::command::{AclCommand, MetadataCommand, QuotaCommand, WireEntry};
use crate::request::{
    Acl, Answer, ChangeAcl, Folders, GetQuota, Identified, IdentifierOf, Identify, Metadata, MetadataRefusal, Refusal,
    SetMetadata, SetQuota,
};
use crate::response::{self, Quoted, Reply};

/// A command about one of the abilities.
#[derive(Debug)]
pub(super) struct Ability {
    what: What,
    /// The folder it names.
    path: Option<Vec<String>>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Start,
    Answered(Answer),
    Await,
}

#[derive(Debug)]
enum What {
    Quota { root: String },
    QuotaRoot { mailbox: String },
    SetQuota { root: String, limits: QuotaLimits },
    GetAcl,
    SetAcl { identifier: String, change: RightsChange, delete: bool },
    ListRights { identifier: String },
    MyRights,
    GetMetadata { max_size: Option<u64>, depth: Depth, entries: Entries },
    SetMetadata { changes: Vec<EntryChange> },
}

impl Ability {
    fn flow(what: What, path: Option<Vec<String>>) -> Step {
        Step::Go(Flow::Ability(Box::new(Ability { what, path, stage: Stage::Start })))
    }

    pub(super) fn quota(core: &mut Core, command: QuotaCommand<'_>) -> Step {
        match command {
            QuotaCommand::Of(root) => match own_root(core, &root) {
                Some(root) => Ability::flow(What::Quota { root }, None),
                None => finish(no_root()),
            },
            // RFC 9208 §4.1.2: the mailbox need not exist.
            QuotaCommand::RootOf(name) => match names::path(core, &name) {
                Some(path) => Ability::flow(What::QuotaRoot { mailbox: names::full(core, &path) }, None),
                None => finish(Reply::from(Refusal::NotFound)),
            },
            QuotaCommand::Set { root, limits } => match (own_root(core, &root), limits) {
                (Some(root), Some(limits)) => Ability::flow(What::SetQuota { root, limits }, None),
                (None, _) => finish(no_root()),
                (Some(_), None) => finish(Reply::no("CANNOT", "Unknown resource")),
            },
        }
    }

    pub(super) fn acl(core: &mut Core, command: AclCommand<'_>) -> Step {
        // RFC 4314 §3: identifiers are prepared where they are looked up; what is no text can't be.
        let text = |identifier: &[u8]| {
            std::str::from_utf8(identifier).ok().filter(|text| !text.is_empty() && *text != "-").map(str::to_owned)
        };
        let (mailbox, what) = match command {
            AclCommand::Of(mailbox) => (mailbox, Some(What::GetAcl)),
            AclCommand::Mine(mailbox) => (mailbox, Some(What::MyRights)),
            AclCommand::Set { mailbox, identifier, change, delete } => {
                (mailbox, text(&identifier).map(|identifier| What::SetAcl { identifier, change, delete }))
            }
            AclCommand::List { mailbox, identifier } => {
                (mailbox, text(&identifier).map(|identifier| What::ListRights { identifier }))
            }
        };
        match (names::path(core, &mailbox), what) {
            (_, None) => finish(Reply::bad("Illegal identifier")),
            (None, _) => finish(Reply::from(Refusal::NotFound)),
            (Some(path), Some(what)) => Ability::flow(what, Some(path)),
        }
    }

    pub(super) fn metadata(core: &mut Core, command: MetadataCommand<'_>) -> Step {
        let Some(viewer) = core.own_account() else { return finish(Reply::bad("Log in first")) };
        let (mailbox, what) = match command {
            MetadataCommand::Get { mailbox, max_size, depth, entries } => {
                (mailbox, What::GetMetadata { max_size, depth, entries })
            }
            MetadataCommand::Set { mailbox, values } => {
                let change = |(entry, value): (WireEntry, Option<crate::command::Text<'_>>)| {
                    let value = value.map(|value| bytes::Bytes::copy_from_slice(&value));
                    Some(EntryChange { scope: scope(&entry, viewer), name: entry.name?, value })
                };
                (mailbox, What::SetMetadata { changes: values.into_iter().filter_map(change).collect() })
            }
        };
        // RFC 5464 §4.1: the empty name is the server.
        if mailbox.is_empty() {
            return Ability::flow(what, None);
        }
        match names::path(core, &mailbox) {
            Some(path) => Ability::flow(what, Some(path)),
            None => finish(Reply::from(Refusal::NotFound)),
        }
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        let (Some(account), Some(viewer)) = (core.account(), core.own_account()) else {
            return finish(Reply::bad("Log in first"));
        };
        match std::mem::replace(&mut self.stage, Stage::Await) {
            Stage::Start => match (&self.path, &self.what) {
                (Some(_), _) => core.ask(Folders { account }),
                (None, What::SetQuota { limits, .. }) => core.ask(SetQuota { account, limits: *limits }),
                (None, What::GetMetadata { .. } | What::SetMetadata { .. }) => {
                    self.metadata_of(core, Subject::Server, viewer)
                }
                (None, _) => core.ask(GetQuota { account }),
            },
            Stage::Answered(Answer::Folders(Ok(list))) => self.folder(core, &list, (account, viewer)),
            Stage::Answered(Answer::GetQuota(Ok(quota))) => self.quota_told(core, &quota),
            // The guard knows; a root that says nothing is none.
            Stage::Answered(Answer::GetQuota(Err(Refusal::Denied))) => self.quota_denied(core),
            Stage::Answered(Answer::SetQuota(Ok(quota))) => {
                if let What::SetQuota { root, .. } = &self.what {
                    write_quota(root, &quota, core.quoted, core.out());
                }
                finish(Reply::ok("SETQUOTA completed"))
            }
            Stage::Answered(Answer::Acl(Ok(entries))) => self.acl_told(core, &entries),
            Stage::Answered(Answer::ChangeAcl(Ok(()))) => finish(Reply::ok(match self.what {
                What::SetAcl { delete: true, .. } => "DELETEACL completed",
                _ => "SETACL completed",
            })),
            Stage::Answered(Answer::Identify(Ok(of))) => self.rights_listed(core, of),
            Stage::Answered(
                Answer::ChangeAcl(Err(Refusal::IllegalName)) | Answer::Identify(Err(Refusal::IllegalName)),
            ) => finish(Reply::no("CANNOT", "Nobody has this identifier")),
            Stage::Answered(Answer::Metadata(Ok(entries))) => self.metadata_told(core, &entries, viewer),
            Stage::Answered(Answer::SetMetadata(Ok(()))) => finish(Reply::ok("SETMETADATA completed")),
            Stage::Answered(Answer::SetMetadata(Err(refusal))) => finish(metadata_refused(refusal)),
            Stage::Answered(
                Answer::Folders(Err(refusal))
                | Answer::GetQuota(Err(refusal))
                | Answer::SetQuota(Err(refusal))
                | Answer::Acl(Err(refusal))
                | Answer::ChangeAcl(Err(refusal))
                | Answer::Identify(Err(refusal))
                | Answer::Metadata(Err(refusal)),
            ) => finish(refusal.into()),
            Stage::Answered(_) | Stage::Await => {
                core.close(CloseReason::Unanswered);
                Step::Flush
            }
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        self.stage = Stage::Answered(answer);
    }

    /// The mailbox's whole name.
    fn mailbox(&self, core: &Core) -> String {
        self.path.as_ref().map_or_else(String::new, |path| names::full(core, path))
    }

    /// What comes behind the question which folder it is.
    fn folder(&mut self, core: &mut Core, list: &FolderList, (account, viewer): (AccountId, AccountId)) -> Step {
        let found = self.path.as_ref().and_then(|path| names::selectable(list, path));
        let Some(folder) = found.map(|folder: &Folder| folder.id) else {
            return finish(Reply::from(Refusal::NotFound));
        };
        let rights = core.rights(folder);
        match &mut self.what {
            What::MyRights => {
                let name = self.mailbox(core);
                let quoted = core.quoted;
                write_my_rights(&name, rights, quoted, core.out());
                finish(Reply::ok("MYRIGHTS completed"))
            }
            // RFC 4314 §4: GETACL, SETACL, DELETEACL and LISTRIGHTS need `a`.
            What::GetAcl | What::SetAcl { .. } | What::ListRights { .. } if !rights.contains(Rights::ADMIN) => {
                finish(Reply::from(Refusal::Denied))
            }
            What::GetAcl => core.ask(Acl { account, folder }),
            What::SetAcl { identifier, change, .. } => {
                let (identifier, change) = (identifier.clone(), *change);
                core.ask(ChangeAcl { account, folder, identifier, change })
            }
            What::ListRights { identifier } => {
                let identifier = identifier.clone();
                core.ask(Identify { account, identifier })
            }
            _ => self.metadata_of(core, Subject::Folder(account, folder), viewer),
        }
    }

    fn metadata_of(&mut self, core: &mut Core, subject: Subject, viewer: AccountId) -> Step {
        if let Subject::Folder(_, folder) = subject
            && !annotates(core.rights(folder))
        {
            return finish(Reply::from(Refusal::Denied));
        }
        match &mut self.what {
            What::GetMetadata { depth, entries, .. } => {
                let wanted = entries.iter().map(|entry| wanted(entry, *depth, viewer)).collect();
                core.ask(Metadata { subjects: vec![subject], wanted })
            }
            What::SetMetadata { changes } => {
                // RFC 5464 §3.2.1.1: clients can't change whom they are to turn to.
                let admin = |change: &EntryChange| change.scope == Scope::Shared && change.name.as_str() == "/admin";
                if subject == Subject::Server && changes.iter().any(admin) {
                    return finish(Reply::from(Refusal::Denied));
                }
                core.ask(SetMetadata { subject, changes: std::mem::take(changes) })
            }
            _ => finish(Reply::from(Refusal::Unavailable)),
        }
    }

    fn quota_told(&self, core: &mut Core, quota: &Quota) -> Step {
        let (quoted, root) = (core.quoted, root(core));
        let out = core.out();
        match &self.what {
            What::QuotaRoot { mailbox } => {
                out.put_slice(b"* QUOTAROOT ");
                response::mailbox(mailbox, quoted, out);
                out.put_u8(b' ');
                write_root(&root, quoted, out);
                out.put_slice(b"\r\n");
                write_quota(&root, quota, quoted, out);
                finish(Reply::ok("GETQUOTAROOT completed"))
            }
            What::Quota { root } => {
                write_quota(root, quota, quoted, out);
                finish(Reply::ok("GETQUOTA completed"))
            }
            _ => finish(Reply::from(Refusal::Unavailable)),
        }
    }

    /// Who may not know how much there is learns of no root.
    ///
    /// Deviation from RFC 9208 §6: `i` is needed and not `r`, for a root counts what may not be read, too.
    fn quota_denied(&self, core: &mut Core) -> Step {
        let What::QuotaRoot { mailbox } = &self.what else { return finish(Reply::from(Refusal::Denied)) };
        let quoted = core.quoted;
        let out = core.out();
        out.put_slice(b"* QUOTAROOT ");
        response::mailbox(mailbox, quoted, out);
        out.put_slice(b"\r\n");
        finish(Reply::ok("GETQUOTAROOT completed"))
    }

    fn acl_told(&self, core: &mut Core, entries: &[Identified]) -> Step {
        let (name, quoted) = (self.mailbox(core), core.quoted);
        let out = core.out();
        out.put_slice(b"* ACL ");
        response::mailbox(&name, quoted, out);
        for Identified { identifier, rights } in entries {
            out.put_u8(b' ');
            response::string(identifier.as_bytes(), Quoted::Utf8, out);
            out.put_u8(b' ');
            write_rights(*rights, out);
        }
        out.put_slice(b"\r\n");
        finish(Reply::ok("GETACL completed"))
    }

    fn rights_listed(&self, core: &mut Core, of: IdentifierOf) -> Step {
        let What::ListRights { identifier } = &self.what else {
            return finish(Reply::from(Refusal::Unavailable));
        };
        let (name, quoted) = (self.mailbox(core), core.quoted);
        let out = core.out();
        out.put_slice(b"* LISTRIGHTS ");
        response::mailbox(&name, quoted, out);
        out.put_u8(b' ');
        // RFC 4314 §3.4: the identifier as the client wrote it.
        response::string(identifier.as_bytes(), Quoted::Utf8, out);
        match of {
            // RFC 4314 §2: the owner has every right in any case.
            IdentifierOf::Owner => {
                out.put_u8(b' ');
                write_rights(Rights::all(), out);
            }
            IdentifierOf::Other => {
                out.put_slice(b" \"\"");
                // RFC 4314 §2.1.1: none is tied to another; `c` and `d` are listed by themselves.
                for (_, letter) in Rights::LETTERS {
                    out.put_u8(b' ');
                    out.put_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                out.put_slice(b" c d");
            }
        }
        out.put_slice(b"\r\n");
        finish(Reply::ok("LISTRIGHTS completed"))
    }

    fn metadata_told(&self, core: &mut Core, found: &[Entry], viewer: AccountId) -> Step {
        let What::GetMetadata { max_size, depth, entries } = &self.what else {
            return finish(Reply::from(Refusal::Unavailable));
        };
        let (name, quoted) = (self.mailbox(core), core.quoted);
        let fits = |entry: &&Entry| max_size.is_none_or(|max| entry.value.len() as u64 <= max);
        // RFC 5464 §4.2.1: the size of the biggest one that is left out.
        let longest = found.iter().filter(|entry| !fits(entry)).map(|entry| entry.value.len() as u64).max();
        let told: Vec<&Entry> = found.iter().filter(fits).collect();
        // RFC 5464 §4.2: what was asked for alone and is not there is told as NIL.
        let all: Vec<&Entry> = found.iter().collect();
        let missing = if *depth == Depth::Zero { missing(entries, &all, viewer) } else { Vec::new() };
        write_metadata(&name, &told, &missing, quoted, core.out());
        finish(Reply::ok("GETMETADATA completed").with_code(|code| {
            if let Some(longest) = longest {
                code.put_slice(b"METADATA LONGENTRIES ");
                response::number(longest, code);
            }
        }))
    }
}

/// RFC 5464 §3.3: one of these rights beside the look-up right.
fn annotates(rights: Rights) -> bool {
    rights.intersects(Rights::READ | Rights::SEEN | Rights::WRITE | Rights::INSERT | Rights::POST)
}

fn scope(entry: &WireEntry, viewer: AccountId) -> Scope {
    if entry.private { Scope::Private(viewer) } else { Scope::Shared }
}

/// An entry as it is asked for.
pub(super) fn wanted(entry: &WireEntry, depth: Depth, viewer: AccountId) -> Wanted {
    Wanted { scope: scope(entry, viewer), name: entry.name.clone(), depth }
}

/// Entries that were asked for by name and are not there.
pub(super) fn missing<'e>(asked: &'e [WireEntry], found: &[&Entry], viewer: AccountId) -> Vec<&'e WireEntry> {
    let there = |entry: &WireEntry| {
        let same = |found: &&Entry| found.scope == scope(entry, viewer) && Some(&found.name) == entry.name.as_ref();
        found.iter().any(same)
    };
    asked.iter().filter(|entry| entry.name.is_some() && !there(entry)).collect()
}

/// One METADATA response (RFC 5464 §4.4.1); NIL for what was asked for and is not there. None when there is nothing to tell.
pub(super) fn write_metadata(
    mailbox: &str,
    told: &[&Entry],
    missing: &[&WireEntry],
    quoted: Quoted,
    out: &mut BytesMut,
) {
    if told.is_empty() && missing.is_empty() {
        return;
    }
    out.put_slice(b"* METADATA ");
    if mailbox.is_empty() {
        out.put_slice(b"\"\"");
    } else {
        response::mailbox(mailbox, quoted, out);
    }
    let mut separator: &[u8] = b" (";
    let mut name = |private: bool, name: &str, out: &mut BytesMut| {
        out.put_slice(separator);
        separator = b" ";
        let scope = if private { "/private" } else { "/shared" };
        response::mailbox(&format!("{scope}{name}"), Quoted::Utf8, out);
        out.put_u8(b' ');
    };
    for entry in told {
        name(entry.scope != Scope::Shared, entry.name.as_str(), out);
        write_value(&entry.value, out);
    }
    for entry in missing {
        name(entry.private, entry.name.as_ref().map_or("", |name| name.as_str()), out);
        out.put_slice(b"NIL");
    }
    out.put_slice(b")\r\n");
}

/// RFC 5464 §5: a string, or a literal8 where NUL stands in it.
fn write_value(value: &[u8], out: &mut BytesMut) {
    if memchr::memchr(0, value).is_none() {
        return response::string(value, Quoted::Ascii, out);
    }
    out.put_slice(b"~{");
    response::number(value.len() as u64, out);
    out.put_slice(b"}\r\n");
    out.put_slice(value);
}

fn metadata_refused(refusal: MetadataRefusal) -> Reply {
    match refusal {
        // RFC 5464 §4.3.
        MetadataRefusal::TooLarge(limit) => {
            Reply::no("METADATA MAXSIZE ", "The value is too large").with_code(|code| response::number(limit, code))
        }
        MetadataRefusal::TooMany => Reply::no("METADATA TOOMANY", "Too many annotations"),
        MetadataRefusal::Refused(refusal) => refusal.into(),
    }
}

/// RFC 4314 §2.1.1: letters, with those of RFC 2086 for clients that know no others.
fn write_rights(rights: Rights, out: &mut BytesMut) {
    if rights.is_empty() {
        return out.put_slice(b"\"\"");
    }
    out.put_slice(rights.to_string().as_bytes());
    if rights.contains(Rights::CREATE) {
        out.put_u8(b'c');
    }
    if rights.intersects(Rights::DELETE | Rights::DELETE_MESSAGES | Rights::EXPUNGE) {
        out.put_u8(b'd');
    }
}

/// One MYRIGHTS response (RFC 4314 §3.8).
pub(super) fn write_my_rights(mailbox: &str, rights: Rights, quoted: Quoted, out: &mut BytesMut) {
    out.put_slice(b"* MYRIGHTS ");
    response::mailbox(mailbox, quoted, out);
    out.put_u8(b' ');
    write_rights(rights, out);
    out.put_slice(b"\r\n");
}

/// The name of the quota root of the account the running command works on: empty for the client's own (RFC 9208 §4.2.2),
/// its place in its namespace for others'.
fn root(core: &Core) -> String {
    core.placed.as_ref().map_or_else(String::new, |placed| placed.prefix.join("/"))
}

/// The root a client names, when there is one of this name.
fn own_root(core: &Core, name: &[u8]) -> Option<String> {
    let root = root(core);
    let named = names::text(core, name)?;
    (named == root).then_some(root)
}

fn no_root() -> Reply {
    Reply::no("NONEXISTENT", "No such quota root")
}

fn write_root(root: &str, quoted: Quoted, out: &mut BytesMut) {
    if root.is_empty() {
        out.put_slice(b"\"\"");
    } else {
        response::mailbox(root, quoted, out);
    }
}

/// One QUOTA response (RFC 9208 §4.2.1): the resources that have a limit.
fn write_quota(root: &str, quota: &Quota, quoted: Quoted, out: &mut BytesMut) {
    out.put_slice(b"* QUOTA ");
    write_root(root, quoted, out);
    let Quota { limits, usage, .. } = quota;
    let resources = [
        // RFC 9208 §5.1: units of 1,024 octets; what is begun counts.
        ("STORAGE", usage.storage.div_ceil(1024), limits.storage.map(|limit| limit / 1024)),
        ("MESSAGE", usage.messages, limits.messages),
        ("MAILBOX", usage.folders, limits.folders),
    ];
    let mut separator: &[u8] = b" (";
    for (name, used, limit) in resources {
        let Some(limit) = limit else { continue };
        out.put_slice(separator);
        separator = b" ";
        out.put_slice(name.as_bytes());
        out.put_u8(b' ');
        response::number(used, out);
        out.put_u8(b' ');
        response::number(limit, out);
    }
    out.put_slice(if separator == b" " { b")\r\n" } else { b" ()\r\n" });
}

/// What a folder's annotations in a LIST belong to.
pub(super) fn of_folder(entries: &[Entry], account: AccountId, folder: FolderId) -> Vec<&Entry> {
    entries.iter().filter(|entry| entry.subject == Subject::Folder(account, folder)).collect()
}
