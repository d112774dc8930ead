//! Folders, rows, octets and changes.

use std::sync::Arc;

use bytes::Bytes;
use mailstore_trait::change::ChangePage;
use mailstore_trait::error::ReadError;
use mailstore_trait::folder::{FolderList, FolderView};
use mailstore_trait::id::AccountId;
use mailstore_trait::item::{ItemPage, ItemPageBuilder, ItemRow, Projection, RowHead, RowParts};
use mailstore_trait::mime::{self, Ingest, Ingested, SkeletonRef, SummaryRef};
use mailstore_trait::store::ViewOptions;

use super::Fulfiller;
use crate::request::{Changes, Folders, Items, ReadBody, Refusal, View};

impl Fulfiller {
    pub(super) async fn folders(&mut self, query: Folders) -> Result<Arc<FolderList>, Refusal> {
        let read = self.store.folders(query.account).await;
        let folders = read.map_err(|error| self.read_refused(error))?;
        Ok(Arc::new(folders))
    }

    pub(super) async fn view(&mut self, query: View) -> Result<FolderView, Refusal> {
        let options = ViewOptions::claiming_recent(query.claim_recent);
        let read = self.store.view(query.account, query.folder, options).await;
        let view = read.map_err(|error| self.read_refused(error))?;
        self.tell(query.account, view.at);
        Ok(view)
    }

    pub(super) async fn items(&mut self, query: Items) -> Result<ItemPage, Refusal> {
        let mut options = query.options;
        options.at_least = options.at_least.max(self.told(query.account));
        let read = self.store.items(query.account, query.folder, &query.uids, options).await;
        let page = read.map_err(|error| self.read_refused(error))?;
        let projection = options.projection;
        if page.rows().iter().any(|row| lacks(&page, row, projection)) {
            return self.completed(query.account, &page, projection).await.map_err(|error| self.read_refused(error));
        }
        Ok(page)
    }

    pub(super) async fn read_body(&mut self, query: ReadBody) -> Result<Bytes, Refusal> {
        let read = self.store.read(query.account, query.email, query.offset, query.max).await;
        read.map_err(|error| self.read_refused(error))
    }

    pub(super) async fn changes(&mut self, query: Changes) -> Result<ChangePage, Refusal> {
        let read = self.store.changes(query.account, query.options).await;
        let page = read.map_err(|error| self.read_refused(error))?;
        if !page.more {
            self.tell(query.account, page.upto);
        }
        Ok(page)
    }

    /// The page with every skeleton and summary in it; those the store has not made or keeps in another version are made
    /// now.
    async fn completed(
        &mut self,
        account: AccountId,
        page: &ItemPage,
        projection: Projection,
    ) -> Result<ItemPage, ReadError> {
        let mut builder = ItemPageBuilder::new();
        for row in page.rows() {
            let content = page.content(row).unwrap_or_default();
            let made =
                if lacks(page, row, projection) { Some(self.ingest(account, row, &content).await?) } else { None };
            let (skeleton, summary) = match &made {
                Some(made) => (Some(made.skeleton.as_bytes()), Some(made.summary.as_bytes())),
                None => (page.skeleton(row), page.summary(row)),
            };
            let parts = RowParts {
                skeleton: skeleton.filter(|_| projection.contains(Projection::SKELETON)).unwrap_or_default(),
                summary: summary.filter(|_| projection.contains(Projection::SUMMARY)).unwrap_or_default(),
                content: &content,
            };
            builder.push(head(row), row.flags, page.keywords(row), parts);
        }
        Ok(builder.finish(page.next))
    }

    async fn ingest(&mut self, account: AccountId, row: &ItemRow, content: &Bytes) -> Result<Ingested, ReadError> {
        let mut ingest = Ingest::new(mime::Limits::default());
        ingest.push(content);
        let mut at = 0;
        while content.is_empty() {
            let piece = match self.store.read(account, row.email, at, self.limits.piece).await {
                Ok(piece) => piece,
                // One message that does not read back must not take the page with it: it is told as it can be.
                Err(error @ (ReadError::NotFound | ReadError::Corrupt { .. })) => {
                    self.hear(&error);
                    Bytes::new()
                }
                Err(error) => return Err(error),
            };
            if piece.is_empty() {
                break;
            }
            ingest.push(&piece);
            at += piece.len() as u64;
        }
        Ok(ingest.finish())
    }
}

/// Whether the row lacks something that was asked for.
fn lacks(page: &ItemPage, row: &ItemRow, projection: Projection) -> bool {
    let skeleton = || page.skeleton(row).is_none_or(|octets| SkeletonRef::from_bytes(octets).is_err());
    let summary = || page.summary(row).is_none_or(|octets| SummaryRef::from_bytes(octets).is_err());
    projection.contains(Projection::SKELETON) && skeleton() || projection.contains(Projection::SUMMARY) && summary()
}

fn head(row: &ItemRow) -> RowHead {
    RowHead {
        item: row.item,
        uid: row.uid,
        email: row.email,
        thread: row.thread,
        internal_date: row.internal_date,
        save_date: row.save_date,
        size: row.size,
        generation: row.generation,
        created: row.created,
        content_change: row.content_change,
        read_change: row.read_change,
        change: row.change,
    }
}
