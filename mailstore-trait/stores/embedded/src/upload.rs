//! Octets on their way in: small ones gather in memory, large ones stream into a file.
//!
//! The file is written and synced by threads of its own, so a slow disk holds up the one who uploads and no session
//! beside it. At most [`PIECE`] octets wait in memory beyond the small ones.

use std::sync::Arc;

use bytes::Bytes;
use mailstore_trait::batch::{Hold, Staged};
use mailstore_trait::error::UploadError;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::id::BlobId;
use mailstore_trait::mime::Ingest;
use mailstore_trait::store::{Upload, UploadOptions};

use crate::blobs::TempFile;
use crate::env::{Env, blob_name};
use crate::fault::{Fault, Result};
use crate::ingest;
use crate::pool::Pool;

/// Written to the file at once.
const PIECE: usize = 128 * 1024;

pub(crate) struct Incoming {
    env: Arc<Env>,
    files: Arc<Pool<()>>,
    name: BlobId,
    limit: u64,
    size: u64,
    buffer: Vec<u8>,
    place: Place,
    ingest: Ingest,
}

enum Place {
    Memory,
    File(TempFile),
    /// A write failed or was given up half-way.
    Lost,
}

impl Incoming {
    pub(crate) fn begin(
        env: Arc<Env>,
        files: Arc<Pool<()>>,
        options: UploadOptions,
    ) -> Result<Box<dyn Upload>, UploadError> {
        let limit = options.limit.min(env.config.max_message);
        if options.size.is_some_and(|size| size > limit) {
            return Err(UploadError::TooLarge { limit });
        }
        if env.config.read_only {
            return Err(Fault::ReadOnly.into());
        }
        let name = blob_name()?;
        let ingest = ingest::begin();
        Ok(Box::new(Incoming { env, files, name, limit, size: 0, buffer: Vec::new(), place: Place::Memory, ingest }))
    }

    async fn take(&mut self, octets: Bytes) -> Result<(), UploadError> {
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.size > self.limit {
            self.place = Place::Lost;
            return Err(UploadError::TooLarge { limit: self.limit });
        }
        self.ingest.push(&octets);
        if matches!(self.place, Place::Memory) {
            if self.buffer.len() + octets.len() <= self.env.config.inline_up_to {
                self.buffer.extend_from_slice(&octets);
                return Ok(());
            }
            let (blobs, name) = (self.env.blobs.clone(), self.name);
            self.place = Place::Lost;
            self.place = Place::File(self.files.run(move |()| blobs.create(name)).await?);
        }
        if octets.len() < PIECE / 2 {
            self.buffer.extend_from_slice(&octets);
            if self.buffer.len() >= PIECE {
                self.flush(Bytes::new()).await?;
            }
            return Ok(());
        }
        Ok(self.flush(octets).await?)
    }

    /// Writes what waits, and these behind it.
    async fn flush(&mut self, behind: Bytes) -> Result<()> {
        let Place::File(mut file) = std::mem::replace(&mut self.place, Place::Lost) else {
            return Err(Fault::unavailable("the upload has failed before"));
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let work = move |(): &mut ()| {
            file.write(&buffer)?;
            file.write(&behind)?;
            buffer.clear();
            Ok((file, buffer))
        };
        let (file, buffer) = self.files.run(work).await?;
        (self.place, self.buffer) = (Place::File(file), buffer);
        Ok(())
    }

    async fn end(mut self: Box<Self>) -> Result<Staged, UploadError> {
        let hold = match self.place {
            Place::Lost => return Err(Fault::unavailable("the upload has failed before").into()),
            Place::Memory => Hold::Inline(std::mem::take(&mut self.buffer).into()),
            Place::File(mut file) => {
                let buffer = std::mem::take(&mut self.buffer);
                let stored = self.files.run(move |()| {
                    file.write(&buffer)?;
                    file.finish()
                });
                Hold::Stored(Arc::new(stored.await?))
            }
        };
        let made = ingest::end(self.ingest);
        Ok(Staged { blob: self.name, size: self.size, skeleton: made.skeleton, summary: made.summary, hold })
    }
}

impl Upload for Incoming {
    fn write(&mut self, octets: Bytes) -> BoxFuture<'_, Result<(), UploadError>> {
        Box::pin(self.take(octets))
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Staged, UploadError>> {
        Box::pin(self.end())
    }
}
