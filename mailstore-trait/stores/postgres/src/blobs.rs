//! Where the octets of large messages lie: behind one small trait, so that they may lie elsewhere than in the tables.
//!
//! A blob is a row of pieces of equal length, but for the last. Pieces are written before the commit that names the
//! blob, each durable when its write is answered, and are read one at a time.

use bytes::Bytes;
use mailstore_trait::future::BoxFuture;
use mailstore_trait::id::BlobId;

use crate::call::{call, sql};
use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::rows::get;

/// Keeps the pieces of blobs.
pub(crate) trait Blobs: Send + Sync {
    /// Keeps a piece for good. Repeating it is harmless.
    fn put<'a>(&'a self, env: &'a Env, blob: BlobId, no: u64, octets: Bytes) -> BoxFuture<'a, Result<()>>;

    /// Up to `max` octets of a piece from `offset`.
    fn piece<'a>(&'a self, env: &'a Env, blob: BlobId, no: u64, offset: u64, max: u64) -> BoxFuture<'a, Result<Bytes>>;
}

/// Pieces as rows of the database. They go when their blob's row goes.
pub(crate) struct InDatabase;

impl Blobs for InDatabase {
    fn put<'a>(&'a self, env: &'a Env, blob: BlobId, no: u64, octets: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let call = call!(
                "INSERT INTO mailstore.piece (blob, no, octets) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                blob.0,
                sql(no),
                octets
            );
            env.link.ask(call).await.map(drop)
        })
    }

    fn piece<'a>(&'a self, env: &'a Env, blob: BlobId, no: u64, offset: u64, max: u64) -> BoxFuture<'a, Result<Bytes>> {
        Box::pin(async move {
            let call = call!(
                "SELECT substring(octets FROM $3::int8::int4 FOR $4::int8::int4) FROM mailstore.piece
                 WHERE blob = $1 AND no = $2",
                blob.0,
                sql(no),
                sql(offset.saturating_add(1)),
                sql(max)
            );
            let rows = env.link.ask(call).await?;
            let row = rows.first().ok_or_else(|| Fault::corrupt(format!("octets {blob}")))?;
            Ok(Bytes::copy_from_slice(get(row, 0)?))
        })
    }
}
