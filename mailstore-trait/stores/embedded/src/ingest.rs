//! What is computed of a message once, while it comes in: its MIME skeleton and its summary.

use std::sync::Arc;

use bytes::Bytes;
use mailstore_trait::batch::{AddItem, Batch, Content, Hold, Op, Staged};
use mailstore_trait::id::BlobId;
use mailstore_trait::mime::{Ingest, Ingested, Limits};

use crate::env::Env;
use crate::fault::{Fault, Result};
use crate::pool::Pool;

/// The skeleton and the summary as octets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    pub(crate) skeleton: Bytes,
    pub(crate) summary: Bytes,
}

pub(crate) fn begin() -> Ingest {
    Ingest::new(Limits::default())
}

pub(crate) fn end(ingest: Ingest) -> Made {
    let Ingested { skeleton, summary, .. } = ingest.finish();
    Made { skeleton: skeleton.into_bytes().into(), summary: summary.into_bytes().into() }
}

/// Makes the skeletons of messages that get a prefix in this batch, before it waits for the committer.
///
/// The upload was scanned without the prefix, which shifts everything and may hold fields of its own.
pub(crate) async fn prefixes(env: &Arc<Env>, files: &Pool<()>, batch: &mut Batch) -> Result<()> {
    let mut last: Option<(BlobId, Bytes, Made)> = None;
    for op in batch.accounts.iter_mut().flat_map(|account| &mut account.ops) {
        let Op::Add(AddItem { content: Content::Prefixed(prefix, staged), .. }) = op else { continue };
        if staged.skeleton.is_empty() || prefix.is_empty() {
            continue;
        }
        let known = last.take().filter(|(blob, before, _)| *blob == staged.blob && before == prefix);
        let made = match known {
            Some((_, _, made)) => made,
            None => scan(env, files, prefix.clone(), staged).await?,
        };
        (staged.skeleton, staged.summary) = (made.skeleton.clone(), made.summary.clone());
        last = Some((staged.blob, prefix.clone(), made));
    }
    Ok(())
}

async fn scan(env: &Arc<Env>, files: &Pool<()>, prefix: Bytes, staged: &Staged) -> Result<Made> {
    let mut ingest = begin();
    ingest.push(&prefix);
    if let Hold::Inline(octets) = &staged.hold {
        ingest.push(octets);
        return Ok(end(ingest));
    }
    let (blobs, name) = (env.blobs.clone(), staged.blob);
    let work = move |(): &mut ()| {
        blobs.scan(name, |octets| ingest.push(octets))?;
        Ok(end(ingest))
    };
    match files.run(work).await {
        Err(Fault::NotFound) => Err(Fault::BlobGone(name)),
        other => other,
    }
}
