//! LIST, LSUB and NAMESPACE (RFC 9051 §6.3.9, §6.3.10; RFC 3501 §6.3.9; RFC 5258; RFC 5819; RFC 6154; RFC 3348).
//!
//! One list of entries serves them all: the folders, the subscribed names without a folder, and the levels above those.
//! Each entry that matches a pattern is told when the selection options pick it, or, with RECURSIVEMATCH, when they
//! pick something below it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use mailstore_trait::folder::{Folder, FolderList, Role};
use mailstore_trait::session::CloseReason;

use super::names::{self, Pattern};
use super::state::{Core, Flow, Step, finish};
use super::status::{self, Told};
use crate::command::{ListArguments, ListReturn, ListSelect, StatusItems};
use crate::request::{Answer, Folders, View};
use crate::response::{self, Quoted, Reply};

/// A LIST or LSUB that is being answered.
#[derive(Debug)]
pub(super) struct List {
    wish: Wish,
    folders: Arc<FolderList>,
    entries: Vec<Entry>,
    at: usize,
    /// What STATUS's RECENT of the current entry is, when that was asked for.
    recent: Option<u64>,
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
    patterns: Vec<Pattern>,
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
        let mut patterns = Vec::new();
        for pattern in &arguments.patterns {
            if arguments.reference.len() + pattern.len() > core.config.limits.pattern {
                return finish(Reply::no("LIMIT", "The pattern is too long"));
            }
            patterns.extend(names::pattern(core, &arguments.reference, pattern).map(|pattern| Pattern::new(&pattern)));
        }
        let wish = Wish {
            form: Form::List,
            extended: arguments.extended,
            select: arguments.select,
            returns: arguments.returns,
            status: arguments.status,
            patterns,
        };
        Step::Go(List::flow(wish))
    }

    /// LSUB and XLIST, which have no options.
    pub(super) fn plain(core: &mut Core, form: Form, reference: &[u8], pattern: &[u8]) -> Step {
        if reference.len() + pattern.len() > core.config.limits.pattern {
            return finish(Reply::no("LIMIT", "The pattern is too long"));
        }
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
            patterns: names::pattern(core, reference, pattern)
                .map(|pattern| Pattern::new(&pattern))
                .into_iter()
                .collect(),
        };
        Step::Go(List::flow(wish))
    }

    fn flow(wish: Wish) -> Flow {
        let folders = Arc::default();
        Flow::List(Box::new(List { wish, folders, entries: Vec::new(), at: 0, recent: None, stage: Stage::Start }))
    }

    pub(super) fn poll(&mut self, core: &mut Core) -> Step {
        let Some(account) = core.account() else { return finish(Reply::bad("Log in first")) };
        match std::mem::replace(&mut self.stage, Stage::Await) {
            Stage::Start => core.ask(Folders { account }),
            Stage::Answered(Answer::Folders(Ok(folders))) => {
                self.entries = entries(&folders, &self.wish);
                self.folders = folders;
                self.stage = Stage::Rows;
                Step::Flush
            }
            Stage::Answered(Answer::Folders(Err(refusal))) => finish(refusal.into()),
            Stage::Answered(Answer::View(view)) => {
                // A folder that went away meanwhile has nothing recent.
                self.recent = Some(view.map_or(0, |view| status::recent(&view)));
                self.rows(core)
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

    fn rows(&mut self, core: &mut Core) -> Step {
        self.stage = Stage::Rows;
        while let Some(entry) = self.entries.get(self.at) {
            if !core.has_room() {
                return Step::Drain;
            }
            let folder = entry.at.and_then(|at| self.folders.folders.get(at));
            let status = folder.filter(|folder| folder.selectable && !self.wish.status.is_empty());
            if let (Some(folder), None, true) = (status, self.recent, self.wish.status.contains(StatusItems::RECENT)) {
                let Some(account) = core.account() else { return finish(Reply::bad("Log in first")) };
                self.stage = Stage::Await;
                return core.ask(View { account, folder: folder.id, claim_recent: false });
            }
            let quoted = core.quoted;
            let told = Told { recent: self.recent.unwrap_or(0), append_limit: core.max_message(), quoted };
            let out = core.outbox.text();
            self.wish.write(entry, folder, quoted, None, out);
            // RFC 5819 §2: STATUS of each selectable name that was listed for itself.
            if let Some(folder) = status.filter(|_| entry.picked) {
                status::write(&entry.name, folder, self.wish.status, told, out);
            }
            self.recent = None;
            self.at += 1;
        }
        finish(Reply::ok(match self.wish.form {
            Form::List => "LIST completed",
            Form::Lsub => "LSUB completed",
            Form::Xlist => "XLIST completed",
        }))
    }
}

/// The entries that are to be told, in the order of their names.
fn entries(list: &FolderList, wish: &Wish) -> Vec<Entry> {
    let subscriptions: BTreeSet<String> = list.subscriptions.iter().map(|path| path.join("/")).collect();
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for named in names::all(list) {
        let subscribed = subscriptions.contains(&named.name);
        let (name, at) = (named.name.clone(), Some(named.at));
        entries.insert(named.name, Entry { at, has_children: named.has_children, ..Entry::bare(name, subscribed) });
    }
    if wish.select.contains(ListSelect::SUBSCRIBED) {
        for name in &subscriptions {
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
            if folder.is_some() {
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
    let mut entry = Entry::bare(path.join("/"), false);
    entry.has_children = list.has_children(folder.id);
    let old_name = names::other_name(core, name, path);
    let quoted = core.quoted;
    Wish::default().write(&entry, Some(folder), quoted, old_name.as_deref(), core.out());
}

/// The LIST response of a name that a command made, gave away or took, when the client wrote it differently
/// (RFC 9051 §6.3.9.7); `folder` is none when nothing has the name any more.
pub(super) fn write_renamed(core: &mut Core, folder: Option<&Folder>, path: &[String], old_name: Option<&str>) {
    let (Some(old_name), true) = (old_name, core.is_rev2()) else { return };
    let entry = Entry::bare(path.join("/"), false);
    let quoted = core.quoted;
    Wish::default().write(&entry, folder, quoted, Some(old_name), core.out());
}

/// RFC 2342 §5: one personal namespace at the root; no other users' and no shared ones.
pub(super) fn write_namespace(core: &mut Core) {
    core.untagged("NAMESPACE ((\"\" \"/\")) NIL NIL");
}
