//! Exporting: every folder of an account into a Maildir or into mbox files, flags and dates kept.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};

use mailstore_trait::folder::{Folder, FolderList};
use mailstore_trait::id::{AccountId, FolderId};
use mailstore_trait::item::{ItemPage, ItemRow, ItemsOptions, Projection};
use mailstore_trait::store::MailStore;
use mailstore_trait::uid_set::UidSet;

use super::{TransferError, io, maildir, mbox};

/// Octets read from the store in one piece.
const PIECE: usize = 256 * 1024;

/// The form to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Maildir,
    Mbox,
}

/// Writes all mail of an account below `root`, which must not exist yet; how many messages that were.
pub(crate) async fn export(
    store: &dyn MailStore,
    account: AccountId,
    root: &Path,
    format: Format,
) -> Result<u64, TransferError> {
    std::fs::create_dir(root).map_err(io(root))?;
    let list = store.folders(account).await?;
    let octets = list.folders.iter().map(|folder| folder.counts.octets).sum();
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left, {msg}");
    let bar = ProgressBar::new(octets).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut exporter = Exporter { store, account, bar, messages: 0 };
    for folder in list.folders.iter().filter(|folder| folder.selectable) {
        match format {
            Format::Maildir => exporter.maildir(root, &list, folder).await?,
            Format::Mbox => exporter.mbox(root, &list, folder).await?,
        }
    }
    exporter.bar.finish();
    Ok(exporter.messages)
}

struct Exporter<'a> {
    store: &'a dyn MailStore,
    account: AccountId,
    bar: ProgressBar,
    messages: u64,
}

impl Exporter<'_> {
    async fn maildir(&mut self, root: &Path, list: &FolderList, folder: &Folder) -> Result<(), TransferError> {
        let path = list.path(folder);
        let directory = maildir::directory(root, &path).ok_or_else(|| TransferError::FolderName(path.join("/")))?;
        for sub in ["cur", "new", "tmp"] {
            let sub = directory.join(sub);
            std::fs::create_dir_all(&sub).map_err(io(&sub))?;
        }
        let mut keywords = Vec::new();
        let mut rest = UidSet::all();
        while let Some(page) = self.page(folder.id, &mut rest).await? {
            for row in page.rows() {
                let seconds = row.internal_date.instant.seconds();
                let letters = maildir::letters(&page.flag_set(row), &mut keywords);
                let name = format!("{seconds}.{}.mailserver:2,{letters}", row.item);
                let (temporary, target) = (directory.join("tmp").join(&name), directory.join("cur").join(&name));
                let mut file = BufWriter::new(File::create(&temporary).map_err(io(&temporary))?);
                self.octets(row, |octets| file.write_all(octets).map_err(io(&temporary))).await?;
                let file = file.into_inner().map_err(|error| io(&temporary)(error.into_error()))?;
                let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                file.set_modified(SystemTime::UNIX_EPOCH + since).map_err(io(&temporary))?;
                file.sync_all().map_err(io(&temporary))?;
                std::fs::rename(&temporary, &target).map_err(io(&target))?;
                self.told();
            }
        }
        maildir::write_keywords(&directory, &keywords).map_err(io(&directory))
    }

    async fn mbox(&mut self, root: &Path, list: &FolderList, folder: &Folder) -> Result<(), TransferError> {
        let mut path = root.to_owned();
        for name in list.path(folder) {
            if name.contains(['/', '\0']) || name == "." || name == ".." {
                return Err(TransferError::FolderName(name.to_owned()));
            }
            std::fs::create_dir_all(&path).map_err(io(&path))?;
            path.push(name);
        }
        // A folder with children is a file and a directory; the directory has the name alone.
        path.as_mut_os_string().push(".mbox");
        let mut file = BufWriter::new(File::create(&path).map_err(io(&path))?);
        let mut rest = UidSet::all();
        while let Some(page) = self.page(folder.id, &mut rest).await? {
            for row in page.rows() {
                let begun = mbox::Writer::begin(file, "", row.internal_date, &page.flag_set(row));
                let mut writer = begun.map_err(io(&path))?;
                self.octets(row, |octets| writer.write(octets).map_err(io(&path))).await?;
                file = writer.end().map_err(io(&path))?;
                self.told();
            }
        }
        let file = file.into_inner().map_err(|error| io(&path)(error.into_error()))?;
        file.sync_all().map_err(io(&path))
    }

    /// The next page of what is left of a folder.
    async fn page(&self, folder: FolderId, rest: &mut UidSet) -> Result<Option<ItemPage>, TransferError> {
        if rest.is_empty() {
            return Ok(None);
        }
        let page = self.store.items(self.account, folder, rest, ItemsOptions::new(Projection::DATES)).await?;
        let mut behind = UidSet::new();
        if let Some(next) = page.next {
            behind.insert_range(next..=mailstore_trait::id::Uid::MAX);
        }
        *rest = rest.intersection(&behind);
        Ok(Some(page))
    }

    /// Hands out a message's octets piece by piece.
    async fn octets(
        &self,
        row: &ItemRow,
        mut take: impl FnMut(&[u8]) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let mut offset = 0;
        while offset < row.size {
            let piece = self.store.read(self.account, row.email, offset, PIECE).await?;
            if piece.is_empty() {
                break;
            }
            take(&piece)?;
            offset += piece.len() as u64;
            self.bar.inc(piece.len() as u64);
        }
        Ok(())
    }

    fn told(&mut self) {
        self.messages += 1;
        self.bar.set_message(format!("{} messages", self.messages));
    }
}
