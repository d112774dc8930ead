//! Octets inside a batch: what a message's size is, and which email it becomes.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mailstore_trait::batch::{Content, Hold, Staged};
use mailstore_trait::error::OpError;
use mailstore_trait::id::{BlobId, EmailId, ThreadId};

use super::account::{Account, Known};
use crate::fault::{Fault, Result};
use crate::upload::Stored;

/// Octets that travel with the commit.
pub(crate) struct NewBlob {
    pub(crate) id: BlobId,
    pub(crate) octets: Bytes,
}

/// A message that the account did not have.
pub(crate) struct NewEmail {
    pub(crate) id: EmailId,
    pub(crate) blob: BlobId,
    pub(crate) prefix: Bytes,
    pub(crate) size: u64,
    pub(crate) skeleton: Bytes,
    pub(crate) summary: Bytes,
}

pub(crate) fn size(account: &Account, content: &Content) -> Result<u64, OpError> {
    Ok(match content {
        Content::Staged(staged) => staged.size,
        Content::Prefixed(prefix, staged) => staged.size.saturating_add(prefix.len() as u64),
        Content::Email(email) => account.emails.get(email).ok_or(OpError::NotFound)?.size,
    })
}

/// The octets that have to be written with the commit; none for those that were stored before.
pub(crate) fn new_blob(staged: &Staged) -> Result<Option<NewBlob>> {
    match &staged.hold {
        Hold::Inline(octets) => Ok(Some(NewBlob { id: staged.blob, octets: octets.clone() })),
        Hold::Stored(hold) if hold.is::<Stored>() => Ok(None),
        // Another store's.
        Hold::Stored(_) => Err(Fault::BlobGone(staged.blob)),
    }
}

/// The message of this content, made when the account has none.
pub(crate) fn email(account: &mut Account, content: &Content) -> Result<(EmailId, ThreadId)> {
    match content {
        Content::Email(id) => {
            let known = account.emails.get(id).ok_or(OpError::NotFound)?;
            Ok((*id, known.thread))
        }
        Content::Staged(staged) => match account.by_blob.get(&staged.blob).copied() {
            Some(id) => Ok((id, account.emails.get(&id).ok_or(OpError::NotFound)?.thread)),
            None => make(account, Bytes::new(), staged),
        },
        Content::Prefixed(prefix, staged) => make(account, prefix.clone(), staged),
    }
}

fn make(account: &mut Account, prefix: Bytes, staged: &Staged) -> Result<(EmailId, ThreadId)> {
    let id = EmailId(random_id()?);
    let thread = ThreadId(id.0);
    let size = staged.size.saturating_add(prefix.len() as u64);
    account.new_blobs.extend(new_blob(staged)?);
    if prefix.is_empty() {
        account.by_blob.insert(staged.blob, id);
    }
    account.emails.insert(id, Known { size, thread });
    let (skeleton, summary) = (staged.skeleton.clone(), staged.summary.clone());
    account.new_emails.push(NewEmail { id, blob: staged.blob, prefix, size, skeleton, summary });
    Ok((id, thread))
}

/// A new id: random behind the time, so that ids made together lie together in their index.
pub(crate) fn random_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Fault::unavailable(error.to_string()))?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = since.as_millis().to_be_bytes();
    id.iter_mut().zip(millis.iter().skip(10)).for_each(|(octet, value)| *octet = *value);
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_ascend_with_time() {
        let first = random_id().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(3));
        let second = random_id().unwrap();
        assert!(first < second && first[0] == second[0]);
    }
}
