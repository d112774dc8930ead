//! Importing: messages stream from files into the store, a batch at a time.
//!
//! The id of each batch is a digest of the account, the folder and what is in it, so that an import that was cut off can
//! be started again: what is in already is not added twice while the store remembers batches.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use mailstore_trait::batch::{AddItem, Batch, Content, Op, OpOutcome, Staged};
use mailstore_trait::date::{DateTime, Timestamp};
use mailstore_trait::flags::{FlagSet, Keyword};
use mailstore_trait::id::{AccountId, BatchId, FolderId};
use mailstore_trait::store::{MailStore, UploadOptions};

use super::{TransferError, io, maildir, mbox};

/// Messages in one commit.
const BATCH: usize = 100;
/// Octets in one commit, after which it is made however few messages it has.
const BATCH_OCTETS: u64 = 8 * 1024 * 1024;
/// Octets handed to the store in one piece.
const PIECE: usize = 64 * 1024;

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Imported {
    pub(crate) messages: u64,
    pub(crate) octets: u64,
    pub(crate) skipped: u64,
    /// Messages that an earlier import had brought already.
    pub(crate) repeated: u64,
}

/// Imports an mbox file, a directory of them, or a Maildir into an account.
pub(crate) async fn import(
    store: &dyn MailStore,
    account: AccountId,
    path: &Path,
    now: Timestamp,
    skip_malformed: bool,
) -> Result<Imported, TransferError> {
    let mut importer = Importer {
        store,
        account,
        now,
        skip_malformed,
        folder: None,
        batch: Vec::new(),
        batch_octets: 0,
        digest: Sha256::new(),
        folders: HashMap::new(),
        bar: ProgressBar::no_length(),
        done: Imported::default(),
    };
    if maildir::is_maildir(path) {
        importer.maildirs(path).await?;
    } else if path.is_dir() {
        importer.mboxes(path).await?;
    } else if path.is_file() {
        importer.bar = bar(size(path)?);
        importer.mbox(&names(&[], path), path).await?;
    } else {
        return Err(TransferError::UnknownFormat(path.to_owned()));
    }
    importer.bar.finish();
    Ok(importer.done)
}

fn size(path: &Path) -> Result<u64, TransferError> {
    Ok(path.metadata().map_err(io(path))?.len())
}

/// The names of the folder an mbox file's messages go into, from the top.
fn names(above: &[String], file: &Path) -> Vec<String> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let inbox = above.is_empty() && ["inbox", "mbox"].iter().any(|name| stem.eq_ignore_ascii_case(name));
    [above, &[if inbox { "INBOX".to_owned() } else { stem }]].concat()
}

/// A bar with rate and time left; it shows itself on terminals only.
fn bar(octets: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left, {msg}");
    ProgressBar::new(octets).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

struct Importer<'a> {
    store: &'a dyn MailStore,
    account: AccountId,
    now: Timestamp,
    skip_malformed: bool,
    folder: Option<FolderId>,
    batch: Vec<Op>,
    batch_octets: u64,
    digest: Sha256,
    folders: HashMap<Vec<String>, FolderId>,
    bar: ProgressBar,
    done: Imported,
}

impl Importer<'_> {
    async fn maildirs(&mut self, root: &Path) -> Result<(), TransferError> {
        let folders = maildir::folders(root).map_err(io(root))?;
        let mut listed = Vec::new();
        let mut octets = 0;
        for (names, folder) in folders {
            let messages = maildir::messages(&folder).map_err(io(&folder))?;
            for message in &messages {
                octets += size(message)?;
            }
            listed.push((names, maildir::keywords(&folder), messages));
        }
        self.bar = bar(octets);
        for (names, keywords, messages) in listed {
            self.enter(&names).await?;
            for message in messages {
                self.file(&message, &keywords).await?;
            }
            self.commit().await?;
        }
        Ok(())
    }

    /// One message that is a file of its own.
    async fn file(&mut self, path: &Path, keywords: &[Keyword]) -> Result<(), TransferError> {
        let file = File::open(path).map_err(io(path))?;
        let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
        let date = modified
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map_or(self.now, |since| Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)));
        let mut message = self.begin().await?;
        let mut reader = BufReader::with_capacity(PIECE, file);
        let mut piece = vec![0; PIECE];
        loop {
            let len = reader.read(&mut piece).map_err(io(path))?;
            let Some(octets) = piece.get(..len).filter(|octets| !octets.is_empty()) else { break };
            message.lines(octets).await?;
            self.bar.inc(len as u64);
        }
        if message.octets == 0 {
            return self.malformed(path, 0, "an empty file");
        }
        self.add(message, maildir::flags(path, keywords), date.at_offset(0)).await
    }

    /// The mbox files of a directory; those in directories below it are folders below the folder of that name.
    async fn mboxes(&mut self, directory: &Path) -> Result<(), TransferError> {
        let mut files = Vec::new();
        let mut directories = vec![(Vec::new(), directory.to_owned())];
        while let Some((above, directory)) = directories.pop() {
            for entry in std::fs::read_dir(&directory).map_err(io(&directory))? {
                let entry = entry.map_err(io(&directory))?;
                let kind = entry.file_type().map_err(io(&directory))?;
                if kind.is_file() {
                    files.push((names(&above, &entry.path()), entry.path()));
                } else if kind.is_dir() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    directories.push(([above.as_slice(), &[name]].concat(), entry.path()));
                }
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(TransferError::UnknownFormat(directory.to_owned()));
        }
        let mut octets = 0;
        for (_, file) in &files {
            octets += size(file)?;
        }
        self.bar = bar(octets);
        for (names, file) in &files {
            self.mbox(names, file).await?;
        }
        Ok(())
    }

    /// One mbox file, into the folder of these names.
    async fn mbox(&mut self, names: &[String], path: &Path) -> Result<(), TransferError> {
        let file = File::open(path).map_err(io(path))?;
        let mut reader = mbox::Reader::new(BufReader::with_capacity(PIECE, file));
        // Looked at before the folder is made: what is no mbox leaves nothing behind.
        let mut next = reader.next_message().map_err(io(path))?;
        if let Some(None) = next {
            self.malformed(path, 0, "no \"From \" line at the beginning")?;
            next = reader.next_message().map_err(io(path))?;
            if next.is_none() {
                return Ok(());
            }
        }
        self.enter(names).await?;
        let mut told = 0;
        while let Some(Some(separator)) = next {
            let start = reader.offset;
            let mut message = self.begin().await?;
            let mut flags = FlagSet::new();
            let mut in_header = true;
            while let Some(line) = reader.next_line().map_err(io(path))? {
                if in_header {
                    in_header = line != b"\r\n";
                    if mbox::read_flags(line, &mut flags) {
                        continue;
                    }
                }
                message.lines(line).await?;
            }
            self.bar.inc(reader.offset - told);
            told = reader.offset;
            if message.octets == 0 {
                self.malformed(path, start, "an empty message")?;
            } else {
                let date = separator.date.unwrap_or_else(|| self.now.at_offset(0));
                self.add(message, flags, date).await?;
            }
            next = reader.next_message().map_err(io(path))?;
        }
        self.commit().await
    }

    fn malformed(&mut self, path: &Path, offset: u64, problem: &'static str) -> Result<(), TransferError> {
        let error = TransferError::Malformed { path: path.to_owned(), offset, problem };
        if !self.skip_malformed {
            return Err(error);
        }
        self.bar.suspend(|| eprintln!("skipped: {error}"));
        self.done.skipped += 1;
        Ok(())
    }

    /// Goes to a folder, which is made if it is not there.
    async fn enter(&mut self, names: &[String]) -> Result<(), TransferError> {
        self.folder = Some(enter(self.store, self.account, self.now, &mut self.folders, names).await?);
        self.digest = Sha256::new();
        self.digest.update(self.account.value().to_be_bytes());
        names.iter().for_each(|name| self.digest.update(name.as_bytes()));
        Ok(())
    }

    async fn begin(&self) -> Result<Message, TransferError> {
        let upload = self.store.upload(UploadOptions::new(self.store.caps().max_message)).await?;
        Ok(Message { upload, digest: Sha256::new(), octets: 0, after_cr: false })
    }

    async fn add(&mut self, message: Message, flags: FlagSet, internal_date: DateTime) -> Result<(), TransferError> {
        let Some(folder) = self.folder else { return Ok(()) };
        let octets = message.octets;
        let (staged, digest) = message.finish().await?;
        self.digest.update(digest);
        self.batch.push(Op::Add(AddItem { folder, content: Content::Staged(staged), flags, internal_date }));
        self.batch_octets += octets;
        if self.batch.len() >= BATCH || self.batch_octets >= BATCH_OCTETS {
            self.commit().await?;
        }
        self.bar.set_message(format!("{} messages", self.done.messages + self.batch.len() as u64));
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), TransferError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let id = digest_id(self.digest.clone());
        let messages = self.batch.len() as u64;
        let before = self.store.account(self.account).await?.at;
        let done = self.store.commit(Batch::new(id, self.account, std::mem::take(&mut self.batch))).await?;
        // A batch that was committed before has changed nothing since.
        if done.accounts.iter().all(|account| account.upto <= before) {
            self.done.repeated += messages;
        } else {
            self.done.messages += messages;
            self.done.octets += self.batch_octets;
        }
        self.batch_octets = 0;
        Ok(())
    }
}

/// The folder of these names, from the top; it is made if it is not there. `known` remembers those that were looked up.
pub(super) async fn enter(
    store: &dyn MailStore,
    account: AccountId,
    now: Timestamp,
    known: &mut HashMap<Vec<String>, FolderId>,
    names: &[String],
) -> Result<FolderId, TransferError> {
    let list = store.folders(account).await?;
    let mut parent = None;
    for depth in 1..=names.len() {
        let path = names.get(..depth).unwrap_or_default();
        let found = known.get(path).copied().or_else(|| list.by_path(path).map(|folder| folder.id));
        let id = match found {
            Some(id) => id,
            None => create(store, account, now, parent, path).await?,
        };
        known.insert(path.to_vec(), id);
        parent = Some(id);
    }
    parent.ok_or_else(|| TransferError::FolderName(String::new()))
}

async fn create(
    store: &dyn MailStore,
    account: AccountId,
    now: Timestamp,
    parent: Option<FolderId>,
    path: &[String],
) -> Result<FolderId, TransferError> {
    let name = path.last().cloned().unwrap_or_default();
    let op = Op::CreateFolder { parent, name: name.clone(), role: None };
    let id =
        digest_id(Sha256::new().chain_update(b"folder").chain_update(path.join("/")).chain_update(now.0.to_be_bytes()));
    let done = store.commit(Batch::new(id, account, vec![op])).await?;
    match done.accounts.first().and_then(|account| account.outcomes.first()) {
        Some(OpOutcome::Folder(folder)) => Ok(folder.id),
        _ => Err(TransferError::FolderName(name)),
    }
}

pub(super) fn digest_id(digest: Sha256) -> BatchId {
    let mut id = [0; 16];
    id.iter_mut().zip(digest.finalize()).for_each(|(to, from)| *to = from);
    BatchId(id)
}

/// A message on its way in. Line ends become CRLF, whatever they were.
struct Message {
    upload: Box<dyn mailstore_trait::store::Upload>,
    digest: Sha256,
    octets: u64,
    after_cr: bool,
}

impl Message {
    async fn lines(&mut self, octets: &[u8]) -> Result<(), TransferError> {
        let mut out = Vec::with_capacity(octets.len() + octets.len() / 32 + 2);
        for &octet in octets {
            if octet == b'\n' && !self.after_cr {
                out.push(b'\r');
            }
            out.push(octet);
            self.after_cr = octet == b'\r';
        }
        self.digest.update(&out);
        self.octets += out.len() as u64;
        Ok(self.upload.write(Bytes::from(out)).await?)
    }

    async fn finish(self) -> Result<(Staged, [u8; 32]), TransferError> {
        Ok((self.upload.finish().await?, self.digest.finalize().into()))
    }
}
