//! Copying from another server: every mailbox of an account there, by IMAP, into an account here.
//!
//! Messages stream from the connection into the store. What is copied is noted in a file of the data folder, mailbox by
//! mailbox with its UIDVALIDITY, so that a copy that was cut off goes on where it was and one that is repeated brings
//! what is new. The id of each commit is a digest of where the message was: should the program end between a commit and
//! the note of it, the store knows the commit again.

mod remote;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use imap_proto_core::client::response::{Attributes, Listed, Row};
use imap_proto_core::client::{
    Code, Command, Data, Event, Fetch, Items, List, Messages, Piece, Search, Section, Select,
};
use indicatif::{ProgressBar, ProgressStyle};
use mailstore_trait::batch::{AddItem, Batch, Content, Op, Staged};
use mailstore_trait::date::Timestamp;
use mailstore_trait::folder::Role;
use mailstore_trait::id::{AccountId, FolderId, Uid};
use mailstore_trait::sasl::Secret;
use mailstore_trait::store::MailStore;
use mailstore_trait::uid_set::UidSet;
use sha2::{Digest, Sha256};

use super::import::{digest_id, enter};
use super::{TransferError, io};
use remote::Remote;
pub(crate) use remote::Source;

/// Messages whose sizes are asked for at once.
const PAGE: u64 = 200;
/// Octets of messages that are asked for at once, unless one alone has more.
const FLIGHT: u64 = 4 * 1024 * 1024;

/// What a copy did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copied {
    pub(crate) mailboxes: u64,
    pub(crate) messages: u64,
    pub(crate) octets: u64,
    /// Messages that were copied before.
    pub(crate) known: u64,
    /// Messages that the source could not give, or that are larger than the store takes.
    pub(crate) skipped: u64,
}

/// Where to, and how.
pub(crate) struct Target<'a> {
    pub(crate) store: &'a dyn MailStore,
    pub(crate) account: AccountId,
    /// Where what was copied is noted.
    pub(crate) notes: PathBuf,
    pub(crate) now: Timestamp,
}

/// Copies everything that was not copied before.
pub(crate) async fn copy(
    target: &Target<'_>,
    source: &Source,
    password: Secret,
    ca: Option<&Path>,
) -> Result<Copied, TransferError> {
    let mut remote = Remote::open(target.store, source, password, ca).await?;
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} messages, {per_sec}, {eta} left, {msg}");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut copier = Copier {
        target,
        place: format!("{}\n{source}", target.account),
        notes: Notes::read(target, source)?,
        folders: HashMap::new(),
        done: Copied::default(),
        bar,
    };
    let prefix = remote.prefix().await?;
    for listed in mailboxes(&mut remote).await? {
        copier.mailbox(&mut remote, &listed, &prefix).await?;
    }
    remote.leave().await;
    copier.bar.finish();
    Ok(copier.done)
}

/// The mailboxes that can be selected, in the order of their names.
async fn mailboxes(remote: &mut Remote<'_>) -> Result<Vec<Listed>, TransferError> {
    let events = remote.run(Command::List(List::new("*"))).await?;
    let mut mailboxes: Vec<Listed> = events
        .into_iter()
        .filter_map(|event| match event {
            Event::Data(Data::List(listed)) if !listed.attributes.contains(Attributes::NO_SELECT) => Some(listed),
            _ => None,
        })
        .collect();
    mailboxes.sort_by(|a, b| a.mailbox.cmp(&b.mailbox));
    mailboxes.dedup_by(|a, b| a.mailbox == b.mailbox);
    Ok(mailboxes)
}

struct Copier<'a> {
    target: &'a Target<'a>,
    /// Account here and there: what ids of commits begin with.
    place: String,
    notes: Notes,
    folders: HashMap<Vec<String>, FolderId>,
    done: Copied,
    bar: ProgressBar,
}

impl Copier<'_> {
    async fn mailbox(&mut self, remote: &mut Remote<'_>, listed: &Listed, prefix: &str) -> Result<(), TransferError> {
        let name = listed.mailbox.name().to_owned();
        let events = remote.run(Command::Select(Select::read_only(listed.mailbox.clone()))).await?;
        let uid_validity = events.iter().find_map(|event| match event {
            Event::Told { text, .. } => match text.code {
                Some(Code::UidValidity(value)) => Some(value),
                _ => None,
            },
            _ => None,
        });
        let uid_validity = uid_validity.ok_or_else(|| remote.error(&format!("{name}: no UIDVALIDITY")))?;
        let events = remote.run(Command::Search(Search::new([]))).await?;
        let mut left = events
            .into_iter()
            .find_map(|event| if let Event::Found { found, .. } = event { found.all } else { None })
            .unwrap_or_default();
        let copied = self.notes.of(&name, uid_validity);
        self.done.known += left.intersection(&copied).len();
        left = left.iter().filter(|uid| !copied.contains(*uid)).collect();
        self.done.mailboxes += 1;
        self.bar.inc_length(left.len());
        self.bar.set_message(name.clone());
        let folder = self.folder(listed, prefix).await?;
        while !left.is_empty() {
            let rest = left.split_off(PAGE);
            let page = std::mem::replace(&mut left, rest);
            for flight in flights(remote, &page).await? {
                self.flight(remote, (&name, uid_validity), folder, &flight).await?;
                self.notes.write()?;
            }
        }
        Ok(())
    }

    /// The folder of a mailbox: that of its special use, or of its name below the source's prefix.
    async fn folder(&mut self, listed: &Listed, prefix: &str) -> Result<FolderId, TransferError> {
        let uses = [
            (Attributes::SENT, Role::Sent),
            (Attributes::DRAFTS, Role::Drafts),
            (Attributes::TRASH, Role::Trash),
            (Attributes::JUNK, Role::Junk),
            (Attributes::ARCHIVE, Role::Archive),
        ];
        let folders = self.target.store.folders(self.target.account).await?;
        let role = uses.iter().find(|(attribute, _)| listed.attributes.contains(*attribute)).map(|(_, role)| *role);
        if let Some(folder) = role.and_then(|role| folders.folders.iter().find(|folder| folder.role == Some(role))) {
            return Ok(folder.id);
        }
        let name = listed.mailbox.name();
        let name = name.strip_prefix(prefix).filter(|rest| !rest.is_empty()).unwrap_or(name);
        let names: Vec<String> = match listed.delimiter {
            Some(delimiter) => name.split(delimiter).filter(|level| !level.is_empty()).map(str::to_owned).collect(),
            None => vec![name.to_owned()],
        };
        enter(self.target.store, self.target.account, self.target.now, &mut self.folders, &names).await
    }

    /// Some messages: asked for at once, each committed by itself.
    async fn flight(
        &mut self,
        remote: &mut Remote<'_>,
        (name, uid_validity): (&str, u32),
        folder: FolderId,
        uids: &UidSet,
    ) -> Result<(), TransferError> {
        let mut fetch = Fetch::new(Messages::Uids(uids.clone()), Items::UID | Items::FLAGS | Items::INTERNAL_DATE);
        fetch.sections.push(Piece::peek(Section::whole()));
        let events = remote.run(Command::Fetch(fetch)).await?;
        for event in events {
            let Event::Data(Data::Fetch(row)) = event else { continue };
            let (Some(uid), Some(staged)) = (row.uid, remote.staged(row.seq)) else { continue };
            self.done.octets += staged.size;
            self.done.messages += 1;
            let mut digest = Sha256::new();
            digest.update(format!("{}\n{name}\n{uid_validity} {uid}", self.place));
            self.commit(digest, folder, row, staged).await?;
            self.notes.add(name, uid_validity, uid);
        }
        let missing = uids.iter().filter(|uid| !self.notes.of(name, uid_validity).contains(*uid)).count() as u64;
        self.done.skipped += missing;
        self.bar.inc(uids.len());
        Ok(())
    }

    async fn commit(&self, id: Sha256, folder: FolderId, row: Row, staged: Staged) -> Result<(), TransferError> {
        let flags = row.flags.map(|flags| flags.set).unwrap_or_default();
        let internal_date = row.internal_date.unwrap_or_else(|| self.target.now.at_offset(0));
        let op = Op::Add(AddItem { folder, content: Content::Staged(staged), flags, internal_date });
        self.target.store.commit(Batch::new(digest_id(id), self.target.account, vec![op])).await?;
        Ok(())
    }
}

/// The messages of a page in groups that are not too large together.
async fn flights(remote: &mut Remote<'_>, page: &UidSet) -> Result<Vec<UidSet>, TransferError> {
    let events = remote.run(Command::Fetch(Fetch::new(Messages::Uids(page.clone()), Items::UID | Items::SIZE))).await?;
    let mut sizes: BTreeMap<Uid, u64> = page.iter().map(|uid| (uid, 0)).collect();
    for event in events {
        if let Event::Data(Data::Fetch(Row { uid: Some(uid), size: Some(size), .. })) = event {
            sizes.entry(uid).and_modify(|known| *known = size);
        }
    }
    let (mut flights, mut flight, mut octets) = (Vec::new(), UidSet::new(), 0u64);
    for (uid, size) in sizes {
        if !flight.is_empty() && octets.saturating_add(size) > FLIGHT {
            flights.push(std::mem::take(&mut flight));
            octets = 0;
        }
        flight.insert(uid);
        octets = octets.saturating_add(size);
    }
    flights.push(flight);
    Ok(flights)
}

/// What was copied: UIDs by mailbox, one a line.
struct Notes {
    path: PathBuf,
    mailboxes: BTreeMap<String, (u32, UidSet)>,
}

impl Notes {
    /// The notes about this source and this account.
    fn read(target: &Target<'_>, source: &Source) -> Result<Notes, TransferError> {
        std::fs::create_dir_all(&target.notes).map_err(io(&target.notes))?;
        let digest = Sha256::digest(format!("{}\n{source}", target.account));
        let name = digest.iter().take(8).fold(String::new(), |mut name, octet| {
            let _ = write!(name, "{octet:02x}");
            name
        });
        let path = target.notes.join(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io(&path)(error)),
        };
        let mut mailboxes = BTreeMap::new();
        for line in text.lines() {
            // A line that can't be read is as if it were not there: the store knows what was committed lately.
            let mut words = line.splitn(3, ' ');
            let (Some(uid_validity), Some(ranges), Some(name)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let Ok(uid_validity) = uid_validity.parse() else { continue };
            let mut uids = UidSet::new();
            for range in ranges.split(',') {
                let (first, last) = range.split_once(':').unwrap_or((range, range));
                let uid = |word: &str| word.parse().ok().and_then(Uid::new);
                if let (Some(first), Some(last)) = (uid(first), uid(last)) {
                    uids.insert_range(first..=last);
                }
            }
            mailboxes.insert(name.to_owned(), (uid_validity, uids));
        }
        Ok(Notes { path, mailboxes })
    }

    /// What was copied of a mailbox of this generation.
    fn of(&self, name: &str, uid_validity: u32) -> UidSet {
        match self.mailboxes.get(name) {
            Some((known, uids)) if *known == uid_validity => uids.clone(),
            _ => UidSet::new(),
        }
    }

    fn add(&mut self, name: &str, uid_validity: u32, uid: Uid) {
        let (known, uids) = self.mailboxes.entry(name.to_owned()).or_default();
        if *known != uid_validity {
            (*known, *uids) = (uid_validity, UidSet::new());
        }
        uids.insert(uid);
    }

    /// Writes the notes beside the old ones and puts them in their place.
    fn write(&self) -> Result<(), TransferError> {
        let mut text = String::new();
        for (name, (uid_validity, uids)) in &self.mailboxes {
            let ranges: Vec<String> = uids.ranges().map(|range| format!("{}:{}", range.start(), range.end())).collect();
            // A name with a line end in it can't be noted; its messages are known by their commits.
            if !name.contains(['\n', '\r']) && !ranges.is_empty() {
                let _ = writeln!(text, "{uid_validity} {} {name}", ranges.join(","));
            }
        }
        let new = self.path.with_extension("new");
        std::fs::write(&new, text).map_err(io(&new))?;
        std::fs::rename(&new, &self.path).map_err(io(&self.path))
    }
}
