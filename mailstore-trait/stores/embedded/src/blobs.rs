//! The files of large messages.
//!
//! ```text
//! blobs/tmp/NAME   being written            -> fsync, rename, fsync of the folder ->
//! blobs/XX/NAME    staged or committed         XX: the name's last octet
//! ```
//! A file gets its final name before the commit that mentions it, so a committed row never lacks its file. A crash in
//! between leaves a file without a row: an orphan, collected once it is old enough that no other process can still be
//! about to commit it. Rows decide, under the write lock; names this process holds are never touched.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mailstore_trait::id::BlobId;

use crate::fault::{Fault, Result};
use crate::stats::count;

/// The store's folder of files. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    /// Names in use by this process, staged or being written.
    pins: Mutex<HashMap<BlobId, usize>>,
    syncs: AtomicU64,
}

impl Blobs {
    pub(crate) fn open(root: PathBuf, read_only: bool) -> io::Result<Blobs> {
        if !read_only {
            fs::create_dir_all(root.join("tmp"))?;
        }
        Ok(Blobs { inner: Arc::new(Inner { root, pins: Mutex::default(), syncs: AtomicU64::new(0) }) })
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.inner.syncs.load(Ordering::Relaxed)
    }

    fn folder(&self, name: BlobId) -> PathBuf {
        let [.., last] = name.0;
        self.inner.root.join(format!("{last:02x}"))
    }

    fn path(&self, name: BlobId) -> PathBuf {
        self.folder(name).join(name.to_string())
    }

    /// A file to be written.
    pub(crate) fn create(&self, name: BlobId) -> Result<TempFile> {
        let path = self.inner.root.join("tmp").join(name.to_string());
        let pin = self.pin(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(TempFile { blobs: self.clone(), path, pin: Some(pin), file })
    }

    /// How long the file is; nothing when there is none.
    pub(crate) fn len(&self, name: BlobId) -> Result<Option<u64>> {
        match fs::metadata(self.path(name)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// At most `max` octets from `offset`; fewer only at the end.
    pub(crate) fn read(&self, name: BlobId, offset: u64, max: usize) -> Result<Bytes> {
        let mut file = File::open(self.path(name)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Fault::corrupt(format!("octets {name}: the file is missing")),
            _ => error.into(),
        })?;
        file.seek(SeekFrom::Start(offset))?;
        let mut octets = Vec::new();
        octets.try_reserve_exact(max).map_err(Fault::unavailable)?;
        file.take(max as u64).read_to_end(&mut octets)?;
        Ok(octets.into())
    }

    /// Shows a file's octets piece by piece.
    pub(crate) fn scan(&self, name: BlobId, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut file = File::open(self.path(name)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Fault::NotFound,
            _ => error.into(),
        })?;
        let mut piece = vec![0; 256 * 1024];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(()),
                many => each(piece.get(..many).unwrap_or_default()),
            }
        }
    }

    /// Removes a file that no row names any more, unless this process is about to use it again.
    pub(crate) fn unlink(&self, name: BlobId) {
        if !self.is_pinned(name) {
            self.remove(&self.path(name));
        }
    }

    fn remove(&self, path: &Path) {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // The orphan collection will come by again.
            Err(error) => tracing::warn!(path = %path.display(), %error, "a file could not be removed"),
        }
    }

    fn pin(&self, name: BlobId) -> Pin {
        *self.inner.pins.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        Pin { blobs: self.clone(), name }
    }

    pub(crate) fn is_pinned(&self, name: BlobId) -> bool {
        self.inner.pins.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&name)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        // Elsewhere the rename itself is durable, and folders can't be opened.
        if cfg!(unix) {
            File::open(folder)?.sync_all()?;
            count(&self.inner.syncs, 1);
        }
        Ok(())
    }

    /// Whether the disk takes writes: full and read-only disks are told.
    pub(crate) fn probe(&self) -> Result<()> {
        let path = self.inner.root.join("tmp").join(format!("probe-{}", std::process::id()));
        let outcome = File::create(&path).and_then(|mut file| {
            file.write_all(&[0; 64 * 1024])?;
            file.sync_data()
        });
        let _ = fs::remove_file(&path);
        Ok(outcome?)
    }

    /// Files older than `age` that this process does not hold: being written, and in place.
    pub(crate) fn old_files(&self, age: Duration) -> io::Result<(Vec<PathBuf>, Vec<BlobId>)> {
        let (mut temporary, mut placed) = (Vec::new(), Vec::new());
        for folder in fs::read_dir(&self.inner.root)? {
            let folder = folder?;
            let is_temporary = folder.file_name() == "tmp";
            if !folder.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                // Gone meanwhile, or not ours to judge: next time.
                let Ok(modified) = file.metadata().and_then(|metadata| metadata.modified()) else { continue };
                let old = SystemTime::now().duration_since(modified).is_ok_and(|passed| passed >= age);
                let name = file.file_name().to_str().and_then(parse);
                if !old || name.is_some_and(|name| self.is_pinned(name)) {
                    continue;
                }
                match name {
                    _ if is_temporary => temporary.push(file.path()),
                    Some(name) => placed.push(name),
                    None => {}
                }
            }
        }
        Ok((temporary, placed))
    }

    pub(crate) fn remove_temporary(&self, path: &Path) {
        self.remove(path);
    }
}

fn parse(name: &str) -> Option<BlobId> {
    let mut id = [0; 16];
    if name.len() != 32 || !name.is_ascii() {
        return None;
    }
    for (at, octet) in id.iter_mut().enumerate() {
        *octet = u8::from_str_radix(name.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(BlobId(id))
}

/// Keeps a name from being collected.
struct Pin {
    blobs: Blobs,
    name: BlobId,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.blobs.inner.pins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = pins.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.name);
            }
        }
    }
}

/// A file that is being written; dropped before [`finish`](TempFile::finish) it is removed.
pub(crate) struct TempFile {
    blobs: Blobs,
    path: PathBuf,
    /// Gone once the file has its final name.
    pin: Option<Pin>,
    file: File,
}

impl TempFile {
    pub(crate) fn write(&mut self, octets: &[u8]) -> Result<()> {
        Ok(self.file.write_all(octets)?)
    }

    /// Makes the file durable under its final name.
    pub(crate) fn finish(mut self) -> Result<StoredBlob> {
        let missing = || Fault::unavailable("a file without a name");
        let name = self.pin.as_ref().ok_or_else(missing)?.name;
        self.file.sync_all()?;
        count(&self.blobs.inner.syncs, 1);
        let folder = self.blobs.folder(name);
        if !folder.is_dir() {
            match fs::create_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => self.blobs.sync_folder(&self.blobs.inner.root)?,
            }
        }
        fs::rename(&self.path, self.blobs.path(name))?;
        let pin = self.pin.take().ok_or_else(missing)?;
        let stored = StoredBlob { pin, named: AtomicBool::new(false) };
        self.blobs.sync_folder(&folder)?;
        Ok(stored)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if self.pin.is_some() {
            self.blobs.remove(&self.path);
        }
    }
}

/// A finished file, held for a commit. The last hold on one that no commit ever named removes it.
pub(crate) struct StoredBlob {
    pin: Pin,
    named: AtomicBool,
}

impl StoredBlob {
    pub(crate) fn name(&self) -> BlobId {
        self.pin.name
    }

    /// A transaction names it: whether that was committed may never be known here.
    pub(crate) fn named(&self) {
        self.named.store(true, Ordering::Release);
    }
}

impl Drop for StoredBlob {
    fn drop(&mut self) {
        if !self.named.load(Ordering::Acquire) {
            self.pin.blobs.remove(&self.pin.blobs.path(self.pin.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_under_its_name_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().join("blobs"), false).unwrap();
        let name = BlobId([7; 16]);
        let mut file = blobs.create(name).unwrap();
        file.write(b"hello ").unwrap();
        assert_eq!(blobs.len(name).unwrap(), None);
        file.write(b"world").unwrap();
        let stored = file.finish().unwrap();
        assert_eq!(blobs.len(name).unwrap(), Some(11));
        assert_eq!(&blobs.read(name, 6, 100).unwrap()[..], b"world");
        assert_eq!(&blobs.read(name, 11, 100).unwrap()[..], b"");
        // Held: neither unlinked nor listed.
        blobs.unlink(name);
        assert!(blobs.old_files(Duration::ZERO).unwrap().1.is_empty());
        stored.named();
        drop(stored);
        assert_eq!(blobs.old_files(Duration::ZERO).unwrap().1, [name]);
        blobs.unlink(name);
        assert_eq!(blobs.len(name).unwrap(), None);
    }

    #[test]
    fn what_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().join("blobs"), false).unwrap();
        let mut file = blobs.create(BlobId([1; 16])).unwrap();
        file.write(b"x").unwrap();
        drop(file);
        let staged = blobs.create(BlobId([2; 16])).unwrap().finish().unwrap();
        drop(staged);
        let (temporary, placed) = blobs.old_files(Duration::ZERO).unwrap();
        assert!(temporary.is_empty() && placed.is_empty());
    }
}
