//! APPEND: octets are staged as they come, and one commit makes all messages of the command visible.

use std::fmt;

use mailstore_trait::batch::{AddItem, Batch, Content, Op, OpOutcome, Staged};
use mailstore_trait::store::{Upload, UploadOptions};
use mailstore_trait::uid_set::UidSet;

use super::Fulfiller;
use crate::request::{AppendChunk, AppendCommit, AppendOpen, Appended, Refusal, Replaced};

/// What was sent and is not visible yet. Dropping it lets the store forget the octets.
#[derive(Default)]
pub(super) struct Appending {
    staged: Vec<Staged>,
    /// Octets of all that were opened.
    octets: u64,
    open: Option<Box<dyn Upload>>,
}

impl Fulfiller {
    pub(super) async fn append_open(&mut self, query: AppendOpen) -> Result<(), Refusal> {
        let mut appending = std::mem::take(&mut self.appending);
        self.finish(&mut appending).await?;
        // RFC 9051 §6.3.12: refused before the client sends it. The commit looks again, when it counts.
        let read = self.store.account(query.account).await;
        let state = read.map_err(|error| self.read_refused(error))?;
        appending.octets = appending.octets.saturating_add(query.size.unwrap_or(0));
        let over = |quota| state.octets.saturating_add(appending.octets) > quota;
        if !query.replaces && state.quota.is_some_and(over) {
            return Err(Refusal::OverQuota);
        }
        let options = UploadOptions::new(self.store.caps().max_message);
        let options = query.size.map_or(options, |size| options.expecting(size));
        let opened = self.store.upload(options).await;
        appending.open = Some(opened.map_err(|error| self.upload_refused(error))?);
        self.appending = appending;
        Ok(())
    }

    pub(super) async fn append_chunk(&mut self, query: AppendChunk) -> Result<(), Refusal> {
        // While the octets are on their way nothing is open: a dropped future abandons the upload, which by then lacks
        // an unknown part of them.
        let mut open = self.appending.open.take().ok_or(Refusal::Unavailable)?;
        match open.write(query.octets).await {
            Ok(()) => {
                self.appending.open = Some(open);
                Ok(())
            }
            Err(error) => {
                self.appending = Appending::default();
                Err(self.upload_refused(error))
            }
        }
    }

    pub(super) async fn append_commit(&mut self, query: AppendCommit) -> Result<Appended, Refusal> {
        let mut appending = std::mem::take(&mut self.appending);
        self.finish(&mut appending).await?;
        // Fewer staged than announced: an upload broke off, and half a command is not done.
        if appending.staged.len() != query.messages.len() || query.messages.is_empty() {
            return Err(Refusal::Unavailable);
        }
        let now = self.environment.now().at_offset(0);
        let added = |(staged, message): (Staged, crate::request::AppendMessage)| {
            Op::Add(AddItem {
                folder: query.folder,
                content: Content::Staged(staged),
                flags: message.flags,
                internal_date: message.internal_date.unwrap_or(now),
            })
        };
        // First, so that the quota has its room.
        let removed = query.replaces.map(|Replaced { folder, uid }| {
            let uids = std::iter::once(uid).collect();
            Op::Remove { folder, uids, only_deleted: false }
        });
        let ops = removed.into_iter().chain(appending.staged.into_iter().zip(query.messages).map(added)).collect();
        let batch = Batch::new(self.batch_id(), query.account, ops);
        let committed = self.commit(batch).await?;
        let mut appended: Option<Appended> = None;
        for outcome in committed.outcomes {
            let OpOutcome::Added { uid, uid_validity, .. } = outcome else { continue };
            let known = Appended { uid_validity, uids: UidSet::new(), upto: committed.upto };
            appended.get_or_insert(known).uids.insert(uid);
        }
        appended.ok_or(Refusal::Unavailable)
    }

    async fn finish(&mut self, appending: &mut Appending) -> Result<(), Refusal> {
        if let Some(open) = appending.open.take() {
            let staged = open.finish().await.map_err(|error| self.upload_refused(error))?;
            appending.staged.push(staged);
        }
        Ok(())
    }
}

impl fmt::Debug for Appending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appending").field("staged", &self.staged).field("open", &self.open.is_some()).finish()
    }
}
