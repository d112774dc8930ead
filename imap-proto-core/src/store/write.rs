//! What changes mail and folders: one batch for each question, repeated while its outcome is not known.

use mailstore_trait::batch::{AccountCommitted, Batch, Op, OpOutcome};
use mailstore_trait::error::CommitError;
use mailstore_trait::folder::{Folder, Role};
use mailstore_trait::id::{AccountId, BatchId, FolderId};

use super::Fulfiller;
use crate::request::{
    Copy, CreateFolder, DeleteFolder, Expunge, Expunged, FlagsSet, Move, Refusal, RenameFolder, RenameInbox, SetFlags,
    Subscribe, Transferred,
};

impl Fulfiller {
    pub(super) fn batch_id(&self) -> BatchId {
        BatchId(self.environment.id())
    }

    /// Commits a batch of one account.
    pub(super) async fn commit(&mut self, batch: Batch) -> Result<AccountCommitted, Refusal> {
        let committed = self.commit_all(batch).await?;
        let committed = committed.into_iter().next().ok_or(Refusal::Unavailable)?;
        self.tell(committed.account, committed.upto);
        Ok(committed)
    }

    /// Commits a batch; what it did in each account.
    pub(super) async fn commit_all(&mut self, batch: Batch) -> Result<Vec<AccountCommitted>, Refusal> {
        let mut left = self.limits.repeats;
        let committed = loop {
            match self.store.commit(batch.clone()).await {
                Ok(committed) => break committed,
                // The batch carries its id: repeating it returns what the first one did.
                Err(CommitError::Unknown(_)) if left > 0 => left -= 1,
                Err(error) => return Err(self.commit_refused(error)),
            }
        };
        Ok(committed.accounts)
    }

    /// Commits one operation.
    async fn perform(&mut self, account: AccountId, op: Op) -> Result<(OpOutcome, AccountCommitted), Refusal> {
        let batch = Batch::new(self.batch_id(), account, vec![op]);
        let mut committed = self.commit(batch).await?;
        match committed.outcomes.pop() {
            Some(OpOutcome::Failed(error)) => Err(error.into()),
            Some(outcome) => Ok((outcome, committed)),
            None => Err(Refusal::Unavailable),
        }
    }

    pub(super) async fn set_flags(&mut self, query: SetFlags) -> Result<FlagsSet, Refusal> {
        let SetFlags { account, folder, uids, change, unchanged_since } = query;
        let op = Op::SetFlags { folder, uids, change, unchanged_since };
        match self.perform(account, op).await? {
            (OpOutcome::FlagsSet { page, conflicts }, committed) => {
                Ok(FlagsSet { page, conflicts, upto: committed.upto })
            }
            _ => Err(Refusal::Unavailable),
        }
    }

    pub(super) async fn copy(&mut self, query: Copy) -> Result<Transferred, Refusal> {
        let Copy { account, to_account, from, uids, to } = query;
        if account != to_account {
            return self.carry((account, from, uids), (to_account, to), false).await;
        }
        self.transfer(account, Op::Copy { from, uids, to }).await
    }

    pub(super) async fn move_items(&mut self, query: Move) -> Result<Transferred, Refusal> {
        let Move { account, to_account, from, uids, to } = query;
        if account != to_account {
            return self.carry((account, from, uids), (to_account, to), true).await;
        }
        self.transfer(account, Op::Move { from, uids, to }).await
    }

    async fn transfer(&mut self, account: AccountId, op: Op) -> Result<Transferred, Refusal> {
        match self.perform(account, op).await? {
            (OpOutcome::Transferred { uid_validity, from, to }, committed) => {
                Ok(Transferred { uid_validity, from, to, upto: committed.upto })
            }
            _ => Err(Refusal::Unavailable),
        }
    }

    pub(super) async fn expunge(&mut self, query: Expunge) -> Result<Expunged, Refusal> {
        let Expunge { account, folder, uids } = query;
        match self.perform(account, Op::Remove { folder, uids, only_deleted: true }).await? {
            (OpOutcome::Removed { uids }, committed) => Ok(Expunged { uids, upto: committed.upto }),
            _ => Err(Refusal::Unavailable),
        }
    }

    pub(super) async fn create_folder(&mut self, query: CreateFolder) -> Result<Folder, Refusal> {
        let CreateFolder { account, parent, mut path, role } = query;
        let name = path.pop().ok_or(Refusal::IllegalName)?;
        let parent = self.levels(account, parent, path).await?;
        self.create(account, parent, name, role).await
    }

    pub(super) async fn rename_folder(&mut self, query: RenameFolder) -> Result<Folder, Refusal> {
        let RenameFolder { account, folder, parent, mut path } = query;
        let name = path.pop().ok_or(Refusal::IllegalName)?;
        let parent = self.levels(account, parent, path).await?;
        match self.perform(account, Op::RenameFolder { folder, parent, name }).await? {
            (OpOutcome::Folder(folder), _) => Ok(folder),
            _ => Err(Refusal::Unavailable),
        }
    }

    pub(super) async fn rename_inbox(&mut self, query: RenameInbox) -> Result<Folder, Refusal> {
        let RenameInbox { account, inbox, parent, mut path } = query;
        let name = path.pop().ok_or(Refusal::IllegalName)?;
        let parent = self.levels(account, parent, path).await?;
        let folder = self.create(account, parent, name, None).await?;
        if let Err(refusal) = self.perform(account, Op::MoveAll { from: inbox, to: folder.id }).await {
            // Nothing was moved: the new name goes again, or RENAME could not be repeated. Where even that fails, it
            // stays as an empty folder.
            let _ = self.perform(account, Op::DeleteFolder { folder: folder.id }).await;
            return Err(refusal);
        }
        let read = self.store.folders(account).await;
        let folders = read.map_err(|error| self.read_refused(error))?;
        Ok(folders.by_id(folder.id).cloned().unwrap_or(folder))
    }

    pub(super) async fn delete_folder(&mut self, query: DeleteFolder) -> Result<(), Refusal> {
        self.perform(query.account, Op::DeleteFolder { folder: query.folder }).await.map(|_| ())
    }

    pub(super) async fn subscribe(&mut self, query: Subscribe) -> Result<(), Refusal> {
        let Subscribe { account, path, subscribed } = query;
        self.perform(account, Op::Subscribe { path, subscribed }).await.map(|_| ())
    }

    /// Makes the levels above a new name, and says in which folder that one lies. RFC 9051 §6.3.4: they are made as if
    /// by CREATE.
    async fn levels(
        &mut self,
        account: AccountId,
        mut parent: Option<FolderId>,
        path: Vec<String>,
    ) -> Result<Option<FolderId>, Refusal> {
        for name in path {
            let made = match self.create(account, parent, name.clone(), None).await {
                Ok(folder) => Some(folder.id),
                // Somebody else made this level meanwhile: as good.
                Err(Refusal::Exists) => {
                    let read = self.store.folders(account).await;
                    let folders = read.map_err(|error| self.read_refused(error))?;
                    let here = |folder: &&Folder| folder.parent == parent && folder.name == name;
                    folders.folders.iter().find(here).map(|folder| folder.id)
                }
                Err(refusal) => return Err(refusal),
            };
            parent = Some(made.ok_or(Refusal::Exists)?);
        }
        Ok(parent)
    }

    async fn create(
        &mut self,
        account: AccountId,
        parent: Option<FolderId>,
        name: String,
        role: Option<Role>,
    ) -> Result<Folder, Refusal> {
        match self.perform(account, Op::CreateFolder { parent, name, role }).await? {
            (OpOutcome::Folder(folder), _) => Ok(folder),
            _ => Err(Refusal::Unavailable),
        }
    }
}
