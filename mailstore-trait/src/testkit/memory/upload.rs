//! Octets on their way into a [`MemStore`](super::MemStore).

use bytes::{Bytes, BytesMut};

use crate::batch::{Hold, Staged};
use crate::error::UploadError;
use crate::future::BoxFuture;
use crate::id::BlobId;
use crate::mime::{Ingest, Limits};
use crate::store::Upload;

/// An upload, held in memory until it is finished.
#[derive(Debug)]
pub(super) struct MemUpload {
    pub(super) blob: BlobId,
    pub(super) octets: BytesMut,
    pub(super) limit: u64,
}

impl Upload for MemUpload {
    fn write(&mut self, octets: Bytes) -> BoxFuture<'_, Result<(), UploadError>> {
        Box::pin(async move {
            if (self.octets.len() as u64).saturating_add(octets.len() as u64) > self.limit {
                return Err(UploadError::TooLarge { limit: self.limit });
            }
            self.octets.extend_from_slice(&octets);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Staged, UploadError>> {
        Box::pin(async move {
            let octets = self.octets.freeze();
            let (skeleton, summary) = ingest(&octets);
            let size = octets.len() as u64;
            Ok(Staged { blob: self.blob, size, skeleton, summary, hold: Hold::Inline(octets) })
        })
    }
}

/// The skeleton and the summary of a message.
pub(super) fn ingest(octets: &[u8]) -> (Bytes, Bytes) {
    let mut ingest = Ingest::new(Limits::default());
    ingest.push(octets);
    let ingested = ingest.finish();
    (ingested.skeleton.into_bytes().into(), ingested.summary.into_bytes().into())
}
