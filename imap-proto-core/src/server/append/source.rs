//! Parts that CATENATE copies from messages of this account (RFC 4469 §3).

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use mailstore_trait::folder::FolderList;
use mailstore_trait::id::{AccountId, EmailId, FolderId, Uid};
use mailstore_trait::item::{ItemPage, ItemsOptions, Projection};
use mailstore_trait::mime::SkeletonRef;

use crate::command::url::{self, MessageUrl};
use crate::command::{SectionOf, Text};
use crate::request::{Answer, Items, ReadBody, Refusal};
use crate::response::Reply;
use crate::server::fetch::section::{cut, filter, range_of, slice};
use crate::server::names;
use crate::server::state::{Core, Step};

/// A message, or a piece of one, that is copied.
#[derive(Debug)]
pub(super) struct Source {
    /// As the client wrote it: what BADURL tells.
    text: Vec<u8>,
    url: MessageUrl,
    account: AccountId,
    folder: FolderId,
    uid: Uid,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Start,
    /// These octets of the message are still to be read.
    Read(EmailId, Range<u64>),
    /// The header, gathered for HEADER.FIELDS.
    Header(EmailId, Range<u64>, BytesMut),
    /// Octets to pass on, and what is to be read behind them.
    Octets(Bytes, Option<(EmailId, Range<u64>)>),
    Done,
    Failed(Reply),
}

/// What a source needs or gives.
#[allow(clippy::large_enum_variant, reason = "handed on at once; a box would cost more")]
pub(super) enum Next {
    Ask(Step),
    Octets(Bytes),
    Done,
    Failed(Reply),
}

impl Source {
    /// The message a URL names.
    ///
    /// # Errors
    /// The answer to a URL that is none of a message here.
    pub(super) fn new(core: &Core, folders: &FolderList, text: Vec<u8>) -> Result<Source, Reply> {
        let Ok(url) = url::parse(&text, &core.config.limits.bounds) else { return Err(bad_url(&text)) };
        // A named mailbox must lie where the message goes, for those are the folders that are known.
        let account = if url.mailbox.is_some() { core.account() } else { core.view_account() };
        let Some(account) = account else { return Err(bad_url(&text)) };
        let found = match &url.mailbox {
            Some(name) => {
                let path = names::within(core, names::split(name));
                let folder = path.and_then(|path| names::selectable(folders, &path));
                folder.map(|folder| (folder.id, folder.uid_validity))
            }
            None => core.view.as_ref().map(|view| (view.folder(), view.uid_validity())),
        };
        match (found, Uid::new(url.uid)) {
            (Some((folder, validity)), Some(uid)) if url.uid_validity.is_none_or(|of| of == validity.value()) => {
                Ok(Source { text, url, account, folder, uid, stage: Stage::Start })
            }
            _ => Err(bad_url(&text)),
        }
    }

    pub(super) fn next(&mut self, core: &mut Core) -> Next {
        let account = self.account;
        let limits = core.config.limits;
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Start => {
                let projection = Projection::DATES | Projection::SKELETON | Projection::CONTENT;
                let mut options = ItemsOptions::new(projection);
                options.max_rows = 1;
                options.content_up_to = limits.inline;
                let uids = std::iter::once(self.uid).collect();
                Next::Ask(core.ask(Items { account, folder: self.folder, uids, options }))
            }
            Stage::Read(_, range) if range.is_empty() => Next::Done,
            Stage::Read(email, range) => {
                let max = limits.read.max(1).min(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
                let offset = range.start;
                self.stage = Stage::Read(email, range);
                Next::Ask(core.ask(ReadBody { account, email, offset, max }))
            }
            Stage::Header(email, range, octets) => {
                let offset = range.start + octets.len() as u64;
                let max =
                    usize::try_from(range.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(limits.read.max(1));
                self.stage = Stage::Header(email, range, octets);
                Next::Ask(core.ask(ReadBody { account, email, offset, max }))
            }
            Stage::Octets(octets, rest) => {
                self.stage = rest.map_or(Stage::Done, |(email, range)| Stage::Read(email, range));
                if octets.is_empty() { self.next(core) } else { Next::Octets(octets) }
            }
            Stage::Done => Next::Done,
            Stage::Failed(reply) => Next::Failed(reply),
        }
    }

    pub(super) fn answer(&mut self, core: &Core, answer: Answer) {
        self.stage = match (std::mem::replace(&mut self.stage, Stage::Done), answer) {
            (_, Answer::Items(Ok(page))) => self.found(core, &page),
            (Stage::Read(email, range), Answer::ReadBody(Ok(mut octets))) if !octets.is_empty() => {
                octets.truncate(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
                let rest = range.start + octets.len() as u64..range.end;
                Stage::Octets(octets, Some((email, rest)))
            }
            (Stage::Header(email, range, mut gathered), Answer::ReadBody(Ok(octets))) => {
                gathered.extend_from_slice(&octets);
                let want = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                if octets.is_empty() || gathered.len() >= want {
                    gathered.truncate(want);
                    self.filtered(&gathered.freeze())
                } else {
                    Stage::Header(email, range, gathered)
                }
            }
            // RFC 4469 §4.1: a message that went away meanwhile.
            (_, Answer::Items(Err(Refusal::NotFound)) | Answer::ReadBody(Err(Refusal::NotFound))) => {
                Stage::Failed(bad_url(&self.text))
            }
            (_, Answer::Items(Err(refusal)) | Answer::ReadBody(Err(refusal))) => Stage::Failed(refusal.into()),
            (_, Answer::ReadBody(Ok(_))) => Stage::Failed(Refusal::Corrupt.into()),
            _ => Stage::Failed(Refusal::Unavailable.into()),
        };
    }

    fn found(&self, core: &Core, page: &ItemPage) -> Stage {
        let row = page.rows().iter().find(|row| row.uid == self.uid);
        let Some(row) = row else { return Stage::Failed(bad_url(&self.text)) };
        let skeleton = page.skeleton(row).and_then(|octets| SkeletonRef::from_bytes(octets).ok());
        let range = range_of(&self.url.section, row.size, skeleton);
        let Some(range) = range else { return Stage::Failed(bad_url(&self.text)) };
        let content = page.content(row).filter(|content| content.len() as u64 == row.size);
        if self.fields().is_some() {
            let range = range.start..range.end.min(range.start.saturating_add(core.config.limits.header as u64));
            return match content.and_then(|content| slice(&content, &range)) {
                Some(header) => self.filtered(&header),
                None if range.is_empty() => self.filtered(&Bytes::new()),
                None => Stage::Header(row.email, range, BytesMut::new()),
            };
        }
        let range = cut(range, self.url.partial);
        match content.and_then(|content| slice(&content, &range)) {
            Some(octets) => Stage::Octets(octets, None),
            None => Stage::Read(row.email, range),
        }
    }

    fn fields(&self) -> Option<(&[Text<'static>], bool)> {
        match &self.url.section.of {
            SectionOf::Fields(fields) => Some((fields, true)),
            SectionOf::FieldsNot(fields) => Some((fields, false)),
            _ => None,
        }
    }

    fn filtered(&self, header: &Bytes) -> Stage {
        let Some((fields, wanted)) = self.fields() else { return Stage::Done };
        let filtered = filter(header, fields, wanted);
        let piece = cut(0..filtered.len() as u64, self.url.partial);
        Stage::Octets(slice(&filtered, &piece).unwrap_or_default(), None)
    }
}

/// RFC 4469 §4.1: the URL goes back with what may not stand in a code as percent and digits.
fn bad_url(text: &[u8]) -> Reply {
    Reply::no("BADURL ", "No such message or part").with_code(|code| {
        for &octet in text {
            if octet.is_ascii_graphic() && octet != b']' {
                code.extend_from_slice(&[octet]);
            } else {
                code.extend_from_slice(format!("%{octet:02X}").as_bytes());
            }
        }
    })
}
