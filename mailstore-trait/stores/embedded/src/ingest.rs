//! What is computed of a message once, while it comes in: its MIME skeleton and its summary.

use std::sync::Arc;

use bytes::Bytes;
use mailstore_trait::batch::{AddItem, Batch, Content, Hold, Op, Staged};
use mailstore_trait::id::BlobId;
use mailstore_trait::mime::{Limits, Scanner};

use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::pool::Pool;

/// Follows the octets of one message.
pub(crate) struct Ingest {
    scanner: Scanner,
}

impl Ingest {
    pub(crate) fn new() -> Ingest {
        Ingest { scanner: Scanner::new(Limits::default()) }
    }

    pub(crate) fn push(&mut self, octets: &[u8]) {
        self.scanner.push(octets);
    }

    pub(crate) fn finish(self) -> Ingested {
        Ingested { skeleton: self.scanner.finish().into_bytes().into(), summary: Bytes::new() }
    }
}

/// The skeleton and the summary as octets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ingested {
    pub(crate) skeleton: Bytes,
    pub(crate) summary: Bytes,
}

/// Makes the skeletons of messages that get a prefix in this batch, before it waits for the committer.
///
/// The upload was scanned without the prefix, which shifts everything and may hold fields of its own.
pub(crate) async fn prefixes(env: &Arc<Env>, files: &Pool<()>, batch: &mut Batch) -> Result<()> {
    let mut last: Option<(BlobId, Bytes, Ingested)> = None;
    for op in batch.accounts.iter_mut().flat_map(|account| &mut account.ops) {
        let Op::Add(AddItem { content: Content::Prefixed(prefix, staged), .. }) = op else { continue };
        if staged.skeleton.is_empty() || prefix.is_empty() {
            continue;
        }
        let known = last.take().filter(|(blob, before, _)| *blob == staged.blob && before == prefix);
        let ingested = match known {
            Some((_, _, ingested)) => ingested,
            None => scan(env, files, prefix.clone(), staged).await?,
        };
        (staged.skeleton, staged.summary) = (ingested.skeleton.clone(), ingested.summary.clone());
        last = Some((staged.blob, prefix.clone(), ingested));
    }
    Ok(())
}

async fn scan(env: &Arc<Env>, files: &Pool<()>, prefix: Bytes, staged: &Staged) -> Result<Ingested> {
    let mut ingest = Ingest::new();
    ingest.push(&prefix);
    if let Hold::Inline(octets) = &staged.hold {
        ingest.push(octets);
        return Ok(ingest.finish());
    }
    let (blobs, name) = (env.blobs.clone(), staged.blob);
    let work = move |(): &mut ()| {
        blobs.scan(name, |octets| ingest.push(octets))?;
        Ok(ingest.finish())
    };
    match files.run(work).await {
        Err(Fault::NotFound) => Err(Fault::BlobGone(name)),
        other => other,
    }
}
