//! What is computed of a message once, while it comes in: its MIME skeleton and its summary.

use bytes::Bytes;
use mailstore_trait::batch::{AddItem, Batch, Content, Hold, Op, Staged};
use mailstore_trait::id::BlobId;
use mailstore_trait::mime::{self, Limits};

use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::upload::Stored;

/// Follows the octets of one message.
pub(crate) struct Ingest {
    inner: mime::Ingest,
}

/// The skeleton and the summary as octets.
#[derive(Clone)]
pub(crate) struct Ingested {
    pub(crate) skeleton: Bytes,
    pub(crate) summary: Bytes,
}

impl Ingest {
    pub(crate) fn new() -> Ingest {
        Ingest { inner: mime::Ingest::new(Limits::default()) }
    }

    pub(crate) fn push(&mut self, octets: &[u8]) {
        self.inner.push(octets);
    }

    pub(crate) fn finish(self) -> Ingested {
        let mime::Ingested { skeleton, summary, .. } = self.inner.finish();
        Ingested { skeleton: skeleton.into_bytes().into(), summary: summary.into_bytes().into() }
    }
}

/// Makes the skeletons of messages that get a prefix in this batch, before its transaction begins.
///
/// The upload was scanned without the prefix, which shifts everything and may hold fields of its own.
pub(crate) async fn prefixes(env: &Env, batch: &mut Batch) -> Result<()> {
    let mut last: Option<(BlobId, Bytes, Ingested)> = None;
    for op in batch.accounts.iter_mut().flat_map(|account| &mut account.ops) {
        let Op::Add(AddItem { content: Content::Prefixed(prefix, staged), .. }) = op else { continue };
        if staged.skeleton.is_empty() || prefix.is_empty() {
            continue;
        }
        let known = last.take().filter(|(blob, before, _)| *blob == staged.blob && before == prefix);
        let ingested = match known {
            Some((_, _, ingested)) => ingested,
            None => scan(env, prefix, staged).await?,
        };
        (staged.skeleton, staged.summary) = (ingested.skeleton.clone(), ingested.summary.clone());
        last = Some((staged.blob, prefix.clone(), ingested));
    }
    Ok(())
}

async fn scan(env: &Env, prefix: &Bytes, staged: &Staged) -> Result<Ingested> {
    let mut ingest = Ingest::new();
    ingest.push(prefix);
    let piece = match &staged.hold {
        Hold::Inline(octets) => {
            ingest.push(octets);
            return Ok(ingest.finish());
        }
        Hold::Stored(hold) => hold.downcast_ref::<Stored>().ok_or(Fault::BlobGone(staged.blob))?.piece.max(1),
    };
    for no in 0..staged.size.div_ceil(piece) {
        let octets = env.blobs.piece(env, staged.blob, no, 0, piece).await;
        ingest.push(&octets.map_err(|fault| match fault {
            Fault::Corrupt(_) => Fault::BlobGone(staged.blob),
            other => other,
        })?);
    }
    Ok(ingest.finish())
}
