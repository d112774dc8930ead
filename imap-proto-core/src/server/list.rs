//! LIST, LSUB and NAMESPACE (RFC 9051 §6.3.9, §6.3.10; RFC 3501 §6.3.9; RFC 5258; RFC 5819; RFC 6154; RFC 3348).
//!
//! One list of entries serves them all: the folders, the subscribed names without a folder, and the levels above those.
//! Each entry that matches a pattern is told when the selection options pick it, or, with RECURSIVEMATCH, when they
//! pick something below it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use mailstore_trait::acl::Rights;
use mailstore_trait::folder::{Folder, FolderList, Role};
use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::metadata::{Depth, Entry as Annotation, Subject};
use mailstore_trait::session::CloseReason;

use super::ability;
use super::names::{self, Pattern};
use super::state::{Core, Flow, Step, finish};
use super::status::{self, Told};
use crate::command::metadata::Entries;
use crate::command::{ListArguments, ListReturn, ListSelect, StatusItems};
use crate::request::{
    Abilities, Answer, DeletedOctets, Folders, Located, Metadata, Owner, Refusal, Share, Shares, View,
};
use crate::response::{self, Quoted, Reply};

/// A LIST or LSUB that is being answered.
#[derive(Debug)]
pub(super) struct List {
    wish: Wish,
    /// Whose folders are being told, and the name they lie below; nothing for the client's own, which come first.
    owner: Option<(String, Located)>,
    /// Whose are still to be told, once that is known.
    shares: Option<VecDeque<Share>>,
    /// Subscribed names in other namespaces that were not told yet.
    elsewhere: BTreeSet<String>,
    folders: Arc<FolderList>,
    entries: Vec<Entry>,
    at: usize,
    /// What STATUS's RECENT of the current entry is, when that was asked for.
    recent: Option<u64>,
    /// What STATUS's DELETED-STORAGE of the account's folders is, when that was asked for.
    deleted: Option<Vec<(FolderId, u64)>>,
    /// Annotations of the entries before this one.
    annotations: Vec<Annotation>,
    annotated: usize,
    stage: Stage,
}

/// Which of the three commands it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    #[default]
    List,
    Lsub,
    Xlist,
}

/// What XLIST called uses that have another name now, or none.
fn xlist_attribute(role: Role) -> Option<&'static str> {
    match role {
        Role::Inbox => Some("\\Inbox"),
        Role::All => Some("\\AllMail"),
        Role::Flagged => Some("\\Starred"),
        Role::Junk => Some("\\Spam"),
        _ => None,
    }
}

#[derive(Debug, Default)]
struct Wish {
    form: Form,
    extended: bool,
    select: ListSelect,
    returns: ListReturn,
    status: StatusItems,
    /// Annotations of each name.
    metadata: Entries,
    patterns: Vec<Pattern>,
    /// The patterns as they were written.
    texts: Vec<String>,
}

#[derive(Debug)]
enum Stage {
    Start,
    Answered(Answer),
    Rows,
    Await,
}

/// A name that may be told.
#[derive(Debug)]
struct Entry {
    name: String,
    /// Its folder's place in the list; none for a name without a folder.
    at: Option<usize>,
    has_children: bool,
    subscribed: bool,
    /// Whether the selection options pick it.
    picked: bool,
    /// Whether they pick something below it.
    above_picked: bool,
    /// Whether they pick something below it that no pattern matches.
    above_untold: bool,
}

impl List {
    pub(super) fn start(core: &mut Core, arguments: &ListArguments<'_>) -> Step {
        // RFC 9051 §6.3.9: an empty pattern asks for the delimiter and the reference's root.
        if !arguments.extended && arguments.patterns.iter().all(|pattern| pattern.is_empty()) {
            core.untagged("LIST (\\Noselect) \"/\" \"\"");
            return finish(Reply::ok("LIST completed"));
        }
        let mut texts = Vec::new();
        for pattern in &arguments.patterns {
            if arguments.reference.len() + pattern.len() > core.config.limits.pattern {
                return finish(Reply::no("LIMIT", "The pattern is too long"));
            }
            texts.extend(names::pattern(core, &arguments.reference, pattern));
        }
        let wish = Wish {
            form: Form::List,
            extended: arguments.extended,
            select: arguments.select,
            returns: arguments.returns,
            status: arguments.status,
            metadata: arguments.metadata.clone(),
            patterns: texts.iter().map(|pattern| Pattern::new(pattern)).collect(),
            texts,
        };
        Step::Go(List::flow(wish))
    }

    /// LSUB and XLIST, which have no options.
    pub(super) fn plain(core: &mut Core, form: Form, reference: &[u8], pattern: &[u8]) -> Step {
        if reference.len() + pattern.len() > core.config.limits.pattern {
            return finish(Reply::no("LIMIT", "The pattern is too long"));
        }
        let texts: Vec<String> = names::pattern(core, reference, pattern).into_iter().collect();
        let wish = Wish {
            form,
            extended: false,
            // RFC 3501 §6.3.9: a level that is not subscribed is told as \Noselect when something below it is.
            select: if form == Form::Lsub {
                ListSelect::SUBSCRIBED | ListSelect::RECURSIVEMATCH
            } else {
                ListSelect::empty()
            },
            returns: ListReturn::empty(),
            status: StatusItems::empty(),
            metadata: Entries::new(),
            patterns: texts.iter().map(|pattern| Pattern::new(pattern)).collect(),
            texts,
        };
        Step::Go(List::flow(wish))
    }

    fn flow(wish: Wish) -> Flow {
        Flow::List(Box::new(List {
            wish,
            owner: None,
            shares: None,
            elsewhere: BTreeSet::new(),
            folders: Arc::default(),
            entries: Vec::new(),
            at: 0,
            recent: None,
            deleted: None,
            annotations: Vec::new(),
            annotated: 0,
            stage: Stage::Start,
        }))
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        let Some(own) = core.own_account() else { return finish(Reply::bad("Log in first")) };
        match std::mem::replace(&mut self.stage, Stage::Await) {
            Stage::Start => core.ask(Folders { account: self.account(own) }),
            Stage::Answered(Answer::Folders(Ok(folders))) => {
                self.take(core, folders);
                self.stage = Stage::Rows;
                Step::Flush
            }
            // Taken away meanwhile: it is as if it had not been there.
            Stage::Answered(Answer::Folders(Err(Refusal::NotFound))) if self.owner.is_some() => self.next(core),
            Stage::Answered(Answer::Folders(Err(refusal)) | Answer::Shares(Err(refusal))) => finish(refusal.into()),
            Stage::Answered(Answer::View(view)) => {
                // A folder that went away meanwhile has nothing recent.
                self.recent = Some(view.map_or(0, |view| status::recent(&view)));
                self.rows(core)
            }
            Stage::Answered(Answer::DeletedOctets(octets)) => {
                self.deleted = Some(octets.unwrap_or_default());
                self.rows(core)
            }
            Stage::Answered(Answer::Metadata(found)) => {
                self.annotations = found.unwrap_or_default();
                self.rows(core)
            }
            Stage::Answered(Answer::Shares(Ok(shares))) => {
                self.shares = Some(shares.into());
                self.next(core)
            }
            Stage::Rows => self.rows(core),
            Stage::Answered(_) | Stage::Await => {
                core.close(CloseReason::Unanswered);
                Step::Flush
            }
        }
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        self.stage = Stage::Answered(answer);
    }

    /// Whose folders are being told.
    fn account(&self, own: AccountId) -> AccountId {
        self.owner.as_ref().map_or(own, |(_, located)| located.account)
    }

    fn rights(&self, folder: FolderId) -> Rights {
        self.owner.as_ref().map_or(Rights::all(), |(_, located)| located.allowed.rights(folder))
    }

    /// The folders of the next account are there.
    fn take(&mut self, core: &Core, folders: Arc<FolderList>) {
        (self.at, self.recent, self.deleted, self.annotated) = (0, None, None, 0);
        let (prefix, mut subscriptions) = match &self.owner {
            Some((prefix, _)) => (prefix.as_str(), BTreeSet::new()),
            None => ("", folders.subscriptions.iter().map(|path| path.join("/")).collect()),
        };
        if self.owner.is_none() {
            // What is subscribed to in other namespaces is told with those.
            let foreign = |name: &String| names::is_foreign(core, name);
            self.elsewhere = subscriptions.iter().filter(|name| foreign(name)).cloned().collect();
            subscriptions.retain(|name| !foreign(name));
        } else {
            let below = |name: &&String| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
            subscriptions = self.elsewhere.iter().filter(below).cloned().collect();
            self.elsewhere.retain(|name| !below(&name));
        }
        self.entries = entries(&folders, &self.wish, prefix, &subscriptions);
        self.folders = folders;
    }

    /// Goes on with the next account.
    fn next(&mut self, core: &mut Core) -> Step {
        let Some(own) = core.own_account() else { return finish(Reply::bad("Log in first")) };
        let done = self.wish.completed();
        let elsewhere = core.abilities().contains(Abilities::ACL)
            && self.wish.may_match(&[&core.config.other_users, &core.config.shared]);
        if !elsewhere {
            return finish(done);
        }
        let Some(shares) = &mut self.shares else { return core.ask(Shares { account: own }) };
        let levels = |owner: &Owner| match owner {
            Owner::User(user) => format!("{}/{user}", core.config.other_users),
            Owner::Shared => core.config.shared.clone(),
        };
        let Some(Share { owner, located }) = shares.pop_front() else {
            if self.elsewhere.is_empty() {
                return finish(done);
            }
            // RFC 3501 §6.3.9: subscribed names are told whether anything of them may be seen or not.
            let rest = std::mem::take(&mut self.elsewhere);
            self.entries = entries(&FolderList::default(), &self.wish, "", &rest);
            (self.at, self.folders, self.stage) = (0, Arc::default(), Stage::Rows);
            return Step::Flush;
        };
        let account = located.account;
        self.owner = Some((levels(&owner), located));
        core.ask(Folders { account })
    }

    fn rows(&mut self, core: &mut Core) -> Step {
        self.stage = Stage::Rows;
        let Some(own) = core.own_account() else { return finish(Reply::bad("Log in first")) };
        let account = self.account(own);
        while let Some(entry) = self.entries.get(self.at) {
            if !core.has_room() {
                return Step::Drain;
            }
            let folder = entry.at.and_then(|at| self.folders.folders.get(at));
            let readable = |folder: &&Folder| folder.selectable && self.rights(folder.id).contains(Rights::READ);
            let status = folder.filter(readable).filter(|_| !self.wish.status.is_empty());
            if let (Some(folder), None, true) = (status, self.recent, self.wish.status.contains(StatusItems::RECENT)) {
                let folder = folder.id;
                self.stage = Stage::Await;
                return core.ask(View { account, folder, claim_recent: false });
            }
            if status.is_some() && self.deleted.is_none() && self.wish.status.contains(StatusItems::DELETED_STORAGE) {
                self.stage = Stage::Await;
                return core.ask(DeletedOctets { account });
            }
            if !self.wish.metadata.is_empty() && self.at >= self.annotated {
                return self.ask_annotations(core, account, own);
            }
            let quoted = core.quoted;
            let deleted = self.deleted.iter().flatten().find(|(id, _)| folder.is_some_and(|folder| folder.id == *id));
            let told = Told {
                recent: self.recent.unwrap_or(0),
                append_limit: core.max_message(),
                deleted_octets: deleted.map_or(0, |(_, octets)| *octets),
                quoted,
            };
            let out = core.outbox.text();
            self.wish.write(entry, folder, quoted, None, out);
            // RFC 5819 §2: STATUS of each selectable name that was listed for itself.
            if let Some(folder) = status.filter(|_| entry.picked) {
                status::write(&entry.name, folder, self.wish.status, told, out);
            }
            // RFC 8440 §3, RFC 9590 §3: as STATUS.
            if let Some(folder) = folder.filter(|folder| folder.selectable && entry.picked) {
                if self.wish.returns.contains(ListReturn::MYRIGHTS) {
                    ability::write_my_rights(&entry.name, self.rights(folder.id), quoted, out);
                }
                let found = ability::of_folder(&self.annotations, account, folder.id);
                let missing = ability::missing(&self.wish.metadata, &found, own);
                ability::write_metadata(&entry.name, &found, &missing, quoted, out);
            }
            self.recent = None;
            self.at += 1;
        }
        match self.shares.as_ref().is_some_and(VecDeque::is_empty) && self.elsewhere.is_empty() {
            true => finish(self.wish.completed()),
            false => self.next(core),
        }
    }

    /// Asks for the annotations of the next mailboxes.
    fn ask_annotations(&mut self, core: &mut Core, account: AccountId, viewer: AccountId) -> Step {
        let upto = self.at.saturating_add(core.config.limits.annotated.max(1));
        let entries = self.entries.get(self.at..upto.min(self.entries.len())).unwrap_or_default();
        let folders = entries.iter().filter_map(|entry| self.folders.folders.get(entry.at?));
        let subjects = folders.map(|folder| Subject::Folder(account, folder.id)).collect();
        let wanted = self.wish.metadata.iter().map(|entry| ability::wanted(entry, Depth::Zero, viewer)).collect();
        self.annotated = upto;
        self.stage = Stage::Await;
        core.ask(Metadata { subjects, wanted })
    }
}

/// The entries that are to be told, in the order of their names.
///
/// Another account's lie below `prefix`, and the levels of that are names without folders.
fn entries(list: &FolderList, wish: &Wish, prefix: &str, subscriptions: &BTreeSet<String>) -> Vec<Entry> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for named in names::all(list) {
        let name = if prefix.is_empty() { named.name } else { format!("{prefix}/{}", named.name) };
        let subscribed = subscriptions.contains(&name);
        let bare = Entry::bare(name.clone(), subscribed);
        entries.insert(name, Entry { at: Some(named.at), has_children: named.has_children, ..bare });
    }
    if !prefix.is_empty() && wish.form != Form::Lsub {
        for name in above(prefix).chain([prefix]) {
            let bare = Entry::bare(name.to_owned(), false);
            entries.insert(name.to_owned(), Entry { has_children: true, ..bare });
        }
    }
    if wish.select.contains(ListSelect::SUBSCRIBED) {
        for name in subscriptions {
            add_bare(&mut entries, name, true);
            if wish.select.contains(ListSelect::RECURSIVEMATCH) {
                above(name).for_each(|name| add_bare(&mut entries, name, false));
            }
        }
    }
    for entry in entries.values_mut() {
        let folder = entry.at.and_then(|at| list.folders.get(at));
        let has_use = folder.and_then(|folder| folder.role).is_some_and(|role| role.attribute().is_some());
        entry.picked = (!wish.select.contains(ListSelect::SUBSCRIBED) || entry.subscribed)
            && (!wish.select.contains(ListSelect::SPECIAL_USE) || has_use);
    }
    if wish.select.contains(ListSelect::RECURSIVEMATCH) {
        let picked: Vec<String> =
            entries.values().filter(|entry| entry.picked).map(|entry| entry.name.clone()).collect();
        for picked in &picked {
            let untold = !wish.matches(picked);
            for name in above(picked) {
                if let Some(entry) = entries.get_mut(name) {
                    entry.above_picked = true;
                    entry.above_untold |= untold;
                }
            }
        }
    }
    // RFC 3501 §6.3.9, RFC 5258 §3.5: a level that is not picked itself is told only for the sake of names below it
    // that the patterns leave out; where those are told, it is not.
    let told = |entry: &Entry| (entry.picked || entry.above_untold) && wish.matches(&entry.name);
    let mut entries: Vec<Entry> = entries.into_values().filter(told).collect();
    // Clients that show names as they come show the inbox first.
    entries.sort_by_key(|entry| entry.name != "INBOX");
    entries
}

impl Entry {
    fn bare(name: String, subscribed: bool) -> Entry {
        Entry {
            name,
            at: None,
            has_children: false,
            subscribed,
            picked: false,
            above_picked: false,
            above_untold: false,
        }
    }
}

fn add_bare(entries: &mut BTreeMap<String, Entry>, name: &str, subscribed: bool) {
    if !entries.contains_key(name) {
        entries.insert(name.to_owned(), Entry::bare(name.to_owned(), subscribed));
    }
}

/// The names of the levels above this one.
fn above(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices(names::DELIMITER).filter_map(|(at, _)| name.get(..at))
}

impl Wish {
    fn completed(&self) -> Reply {
        Reply::ok(match self.form {
            Form::List => "LIST completed",
            Form::Lsub => "LSUB completed",
            Form::Xlist => "XLIST completed",
        })
    }

    /// Whether any pattern could match something at or below one of these names.
    fn may_match(&self, prefixes: &[&String]) -> bool {
        let starts = |pattern: &str| {
            // What stands before the first wildcard must not contradict.
            let fixed = pattern.split(['*', '%']).next().unwrap_or_default();
            let wild = fixed.len() < pattern.len();
            prefixes.iter().any(|prefix| {
                let within =
                    fixed.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                !prefix.is_empty() && (within || (wild && prefix.starts_with(fixed)))
            })
        };
        self.texts.iter().any(|pattern| starts(pattern))
    }

    fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// One LIST or LSUB response.
    fn write(
        &self,
        entry: &Entry,
        folder: Option<&Folder>,
        quoted: Quoted,
        old_name: Option<&str>,
        out: &mut BytesMut,
    ) {
        out.put_slice(match self.form {
            Form::List => b"* LIST (",
            Form::Lsub => b"* LSUB (",
            Form::Xlist => b"* XLIST (",
        });
        let mut first = true;
        let mut attribute = |name: &str| {
            if !first {
                out.put_u8(b' ');
            }
            first = false;
            out.put_slice(name.as_bytes());
        };
        if self.form == Form::Lsub {
            if !entry.picked {
                attribute("\\Noselect");
            }
        } else {
            match folder {
                // RFC 5258 §3: \NonExistent implies \Noselect.
                None => attribute("\\NonExistent"),
                Some(folder) if !folder.selectable => attribute("\\Noselect"),
                Some(_) => {}
            }
            // RFC 3348 §3: told always, because it costs nothing here.
            if folder.is_some() || entry.has_children {
                attribute(if entry.has_children { "\\HasChildren" } else { "\\HasNoChildren" });
            }
            // RFC 6154 §2, RFC 8457 §3.
            let role = folder.and_then(|folder| folder.role);
            let special_use = if self.form == Form::Xlist { role.and_then(xlist_attribute) } else { None };
            if let Some(special_use) = special_use.or_else(|| role.and_then(Role::attribute)) {
                attribute(special_use);
            }
            let wanted = self.select.contains(ListSelect::SUBSCRIBED) || self.returns.contains(ListReturn::SUBSCRIBED);
            if wanted && entry.subscribed {
                attribute("\\Subscribed");
            }
        }
        out.put_slice(b") \"/\" ");
        response::mailbox(&entry.name, quoted, out);
        if let Some(old_name) = old_name {
            // RFC 9051 §6.3.9.7.
            out.put_slice(b" (\"OLDNAME\" (");
            response::mailbox(old_name, quoted, out);
            out.put_slice(b"))");
        }
        // RFC 5258 §3.5: what below it was picked.
        if self.extended && entry.above_picked {
            out.put_slice(b" (\"CHILDINFO\" (");
            let mut separator = "";
            for (option, name) in
                [(ListSelect::SUBSCRIBED, "\"SUBSCRIBED\""), (ListSelect::SPECIAL_USE, "\"SPECIAL-USE\"")]
            {
                if self.select.contains(option) {
                    out.put_slice(separator.as_bytes());
                    out.put_slice(name.as_bytes());
                    separator = " ";
                }
            }
            out.put_slice(b"))");
        }
        out.put_slice(b"\r\n");
    }
}

/// The LIST response of a mailbox that was opened, with the name it was opened by where that is another.
pub(super) fn write_opened(core: &mut Core, list: &FolderList, folder: &Folder, path: &[String], name: &[u8]) {
    let mut entry = Entry::bare(names::full(core, path), false);
    entry.has_children = list.has_children(folder.id);
    let old_name = names::other_name(core, name, path);
    let quoted = core.quoted;
    Wish::default().write(&entry, Some(folder), quoted, old_name.as_deref(), core.out());
}

/// The LIST response of a name that a command made, gave away or took, when the client wrote it differently
/// (RFC 9051 §6.3.9.7); `folder` is none when nothing has the name any more.
pub(super) fn write_renamed(core: &mut Core, folder: Option<&Folder>, path: &[String], old_name: Option<&str>) {
    let (Some(old_name), true) = (old_name, core.is_rev2()) else { return };
    let entry = Entry::bare(names::full(core, path), false);
    let quoted = core.quoted;
    Wish::default().write(&entry, folder, quoted, Some(old_name), core.out());
}

/// RFC 2342 §5: the personal namespace at the root, then other users' and shared ones, where there are any.
pub(super) fn write_namespace(core: &mut Core) {
    let (abilities, quoted, config) = (core.abilities(), core.quoted, Arc::clone(&core.config));
    let out = core.out();
    out.put_slice(b"* NAMESPACE ((\"\" \"/\"))");
    for (prefix, needed) in
        [(&config.other_users, Abilities::ACL), (&config.shared, Abilities::ACL | Abilities::SHARED)]
    {
        if prefix.is_empty() || !abilities.contains(needed) {
            out.put_slice(b" NIL");
            continue;
        }
        out.put_slice(b" ((");
        let mut name = BytesMut::new();
        response::mailbox(&format!("{prefix}/"), quoted, &mut name);
        // RFC 2342 §6: a string, where a mailbox might be an atom.
        if name.first() == Some(&b'"') {
            out.put_slice(&name);
        } else {
            response::string(&name, quoted, out);
        }
        out.put_slice(b" \"/\"))");
    }
    out.put_slice(b"\r\n");
}
