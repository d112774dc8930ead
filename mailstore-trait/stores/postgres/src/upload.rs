//! Octets on their way in: small ones gather in memory, large ones go out in pieces as they come.
//!
//! At most one piece waits in memory. No connection is held between pieces, so a slow peer costs the database nothing.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mailstore_trait::batch::{Hold, Staged};
use mailstore_trait::error::UploadError;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::id::BlobId;
use mailstore_trait::store::{Upload, UploadOptions};

use crate::call::{call, millis, sql};
use crate::env::{Env, now};
use crate::fault::{Fault, Result};
use crate::ingest::Ingest;
use crate::write::content::random_id;

/// Octets that this store keeps already.
pub(crate) struct Stored {
    /// Octets of each of their pieces but the last.
    pub(crate) piece: u64,
}

pub(crate) struct Incoming {
    env: Arc<Env>,
    blob: BlobId,
    limit: u64,
    size: u64,
    waiting: BytesMut,
    piece: usize,
    /// How many pieces were sent; `None` while everything fits into memory.
    pieces: Option<u64>,
    /// A write failed, or was given up half-way.
    broken: bool,
    ingest: Ingest,
}

/// Names the octets, and has them collected when no commit names them in time.
const BEGIN: &str = concat!(
    "WITH begun AS (INSERT INTO mailstore.blob (id, size, piece) VALUES ($1, 0, $4) ON CONFLICT DO NOTHING)
     INSERT INTO mailstore.loose (blob, due) VALUES ($1, ",
    now!("$2"),
    " + $3) ON CONFLICT DO NOTHING"
);
/// Their size is known; the time to commit them begins.
const FINISH: &str = concat!(
    "WITH ended AS (UPDATE mailstore.blob SET size = $4 WHERE id = $1 RETURNING id)
     INSERT INTO mailstore.loose (blob, due) SELECT id, ",
    now!("$2"),
    " + $3 FROM ended ON CONFLICT (blob) DO UPDATE SET due = excluded.due RETURNING blob"
);

impl Incoming {
    pub(crate) fn begin(env: Arc<Env>, options: UploadOptions) -> Result<Box<dyn Upload>, UploadError> {
        let limit = options.limit.min(env.config.max_message);
        if options.size.is_some_and(|size| size > limit) {
            return Err(UploadError::TooLarge { limit });
        }
        let blob = BlobId(random_id()?);
        let piece = env.config.piece.max(1);
        Ok(Box::new(Incoming {
            env,
            blob,
            limit,
            size: 0,
            waiting: BytesMut::new(),
            piece,
            pieces: None,
            broken: false,
            ingest: Ingest::new(),
        }))
    }

    async fn take(&mut self, octets: Bytes) -> Result<(), UploadError> {
        if self.broken {
            return Err(Fault::unavailable("the upload has failed before").into());
        }
        self.broken = true;
        self.size = self.size.saturating_add(octets.len() as u64);
        if self.size > self.limit {
            return Err(UploadError::TooLarge { limit: self.limit });
        }
        self.ingest.push(&octets);
        let mut octets = octets;
        loop {
            let waiting = self.waiting.len() + octets.len();
            let fits = self.pieces.is_none() && waiting <= self.env.config.inline_up_to;
            if fits || waiting < self.piece {
                break;
            }
            let mut whole = self.waiting.split_to(self.piece.min(self.waiting.len()));
            let room = self.piece.saturating_sub(whole.len());
            whole.extend_from_slice(&octets.split_to(room.min(octets.len())));
            self.send(whole.freeze()).await?;
        }
        self.waiting.extend_from_slice(&octets);
        self.broken = false;
        Ok(())
    }

    async fn send(&mut self, piece: Bytes) -> Result<()> {
        let env = &self.env;
        if self.pieces.is_none() {
            let grace = millis(env.config.orphan_grace);
            env.link.ask(call!(BEGIN, self.blob.0, env.given_now(), grace, sql(self.piece as u64))).await?;
        }
        let no = self.pieces.unwrap_or(0);
        env.blobs.put(env, self.blob, no, piece).await?;
        self.pieces = Some(no + 1);
        Ok(())
    }

    async fn end(mut self: Box<Self>) -> Result<Staged, UploadError> {
        if self.broken {
            return Err(Fault::unavailable("the upload has failed before").into());
        }
        let inline = self.pieces.is_none() && self.waiting.len() <= self.env.config.inline_up_to;
        let hold = if inline {
            Hold::Inline(self.waiting.split().freeze())
        } else {
            let rest = self.waiting.split().freeze();
            if !rest.is_empty() {
                self.send(rest).await?;
            }
            let grace = millis(self.env.config.orphan_grace);
            let call = call!(FINISH, self.blob.0, self.env.given_now(), grace, sql(self.size));
            if self.env.link.ask(call).await?.is_empty() {
                return Err(Fault::unavailable("the octets were collected before they were all there").into());
            }
            Hold::Stored(Arc::new(Stored { piece: self.piece as u64 }))
        };
        let ingested = self.ingest.finish();
        Ok(Staged { blob: self.blob, size: self.size, skeleton: ingested.skeleton, summary: ingested.summary, hold })
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
