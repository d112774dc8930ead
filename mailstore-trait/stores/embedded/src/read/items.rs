//! Pages of rows.

use bytes::Bytes;
use mailstore_trait::id::{AccountId, FolderId, Uid};
use mailstore_trait::item::{ItemPage, ItemPageBuilder, ItemsOptions, Projection, RowParts};
use mailstore_trait::uid_set::UidSet;
use rusqlite::{OptionalExtension, params};

use super::{Snapshot, content};
use crate::env::sql;
use crate::fault::{Fault, Result};
use crate::rows::{ITEM_COLUMNS, ItemRowRaw};
use crate::words::Words;

pub(crate) fn page(
    snapshot: &Snapshot<'_>,
    account: AccountId,
    folder: FolderId,
    uids: &UidSet,
    options: &ItemsOptions,
) -> Result<ItemPage> {
    let head = snapshot.account(account)?;
    if !snapshot.folder(account, folder)?.selectable {
        return Err(Fault::NotFound);
    }
    if options.at_least.is_some_and(|least| least > head.at) {
        // One database has no older copies: this number was never given out here.
        return Err(Fault::Busy);
    }
    let mut page = ItemPageBuilder::new();
    let mut words = Words::new(account);
    let mut statement = snapshot.connection.prepare_cached(concat!(
        "SELECT ",
        ITEM_COLUMNS!(),
        " FROM item WHERE account = ?1 AND folder = ?2 AND uid BETWEEN ?3 AND ?4 ORDER BY uid"
    ))?;
    for range in uids.ranges() {
        let mut rows = statement.query(params![
            sql(account.value()),
            sql(folder.value()),
            range.start().value(),
            range.end().value()
        ])?;
        while let Some(row) = rows.next()? {
            let row = ItemRowRaw::read(row).map_err(|error| match Fault::from(error) {
                Fault::Corrupt(what) => Fault::Corrupt(format!("a message of folder {folder}: {what}")),
                other => other,
            })?;
            let Parts { skeleton, summary, content } = Parts::read(snapshot, &row, options)?;
            let parts = RowParts { skeleton: &skeleton, summary: &summary, content: &content };
            if page.is_full(options, &parts) {
                return Ok(page.finish(Uid::new(row.uid)));
            }
            let keywords = words.all(snapshot.connection, &row.keywords)?;
            page.push(
                row.head(snapshot.env.ids, folder)?,
                row.flags,
                keywords.iter(),
                RowParts { content: &[], ..parts },
            );
            page.share_content(content);
        }
    }
    Ok(page.finish(None))
}

/// What of a message's email was asked for.
#[derive(Default)]
struct Parts {
    skeleton: Vec<u8>,
    summary: Vec<u8>,
    content: Bytes,
}

impl Parts {
    fn read(snapshot: &Snapshot<'_>, row: &ItemRowRaw, options: &ItemsOptions) -> Result<Parts> {
        let wants = options.projection;
        let mut parts = Parts::default();
        if wants.intersects(Projection::SKELETON | Projection::SUMMARY) {
            let found = snapshot
                .connection
                .prepare_cached("SELECT iif(?2, skeleton, x''), iif(?3, summary, x'') FROM email WHERE id = ?1")?
                .query_row(
                    params![row.email, wants.contains(Projection::SKELETON), wants.contains(Projection::SUMMARY)],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            // Caches both: what is missing is made anew by those who need it.
            (parts.skeleton, parts.summary) = found.unwrap_or_default();
        }
        if wants.contains(Projection::CONTENT) && row.size <= options.content_up_to {
            match content::whole(snapshot, row.email, row.size) {
                Ok(octets) => parts.content = octets,
                // One message's damage is told to those who read that message, not to everybody on its page.
                Err(Fault::Corrupt(what)) => tracing::warn!(%what, "a message does not read back"),
                Err(other) => return Err(other),
            }
        }
        Ok(parts)
    }
}
