//! ENVELOPE (RFC 9051 §7.5.2).

use bytes::Bytes;

use super::reader::{Reader, Result};
use crate::error::Expected;

/// A message's envelope: the texts as they were sent, encoded words and all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// The Date field, not looked into.
    pub date: Option<Bytes>,
    /// The Subject.
    pub subject: Option<Bytes>,
    /// From.
    pub from: Vec<Address>,
    /// Sender; servers repeat From where there is none.
    pub sender: Vec<Address>,
    /// Reply-To; servers repeat From where there is none.
    pub reply_to: Vec<Address>,
    /// To.
    pub to: Vec<Address>,
    /// Cc.
    pub cc: Vec<Address>,
    /// Bcc.
    pub bcc: Vec<Address>,
    /// In-Reply-To.
    pub in_reply_to: Option<Bytes>,
    /// Message-ID.
    pub message_id: Option<Bytes>,
}

/// An address, or the mark of a group: without a host its `mailbox` is the group's name, without that too the group ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The name for people.
    pub name: Option<Bytes>,
    /// The source route.
    pub route: Option<Bytes>,
    /// The part before the `@`.
    pub mailbox: Option<Bytes>,
    /// The part behind it.
    pub host: Option<Bytes>,
}

/// Ten fields in parentheses. Those at the end that a server left out are as if they were NIL.
pub(super) fn envelope(reader: &mut Reader<'_>) -> Result<Envelope> {
    let mut envelope = Envelope::default();
    reader.open()?;
    let texts = |reader: &mut Reader<'_>, text: &mut Option<Bytes>| -> Result<bool> {
        if reader.closes() {
            return Ok(true);
        }
        *text = reader.owned()?;
        Ok(false)
    };
    let lists = |reader: &mut Reader<'_>, list: &mut Vec<Address>| -> Result<bool> {
        if reader.closes() {
            return Ok(true);
        }
        *list = addresses(reader)?;
        Ok(false)
    };
    let ended = texts(reader, &mut envelope.date)?
        || texts(reader, &mut envelope.subject)?
        || lists(reader, &mut envelope.from)?
        || lists(reader, &mut envelope.sender)?
        || lists(reader, &mut envelope.reply_to)?
        || lists(reader, &mut envelope.to)?
        || lists(reader, &mut envelope.cc)?
        || lists(reader, &mut envelope.bcc)?
        || texts(reader, &mut envelope.in_reply_to)?
        || texts(reader, &mut envelope.message_id)?;
    while !ended && !reader.closes() {
        reader.skip()?;
    }
    Ok(envelope)
}

/// NIL, `""` from servers that know no better, or addresses in parentheses with or without spaces between them.
fn addresses(reader: &mut Reader<'_>) -> Result<Vec<Address>> {
    let mut addresses = Vec::new();
    reader.spaces();
    if reader.peek() != Some(b'(') {
        return match reader.nstring()? {
            Some(text) if !text.is_empty() => reader.fail(Expected::Open),
            _ => Ok(addresses),
        };
    }
    reader.open()?;
    while !reader.closes() {
        reader.open()?;
        reader.charge(16)?;
        let mut fields = [None, None, None, None];
        let mut ended = false;
        for field in &mut fields {
            ended = reader.closes();
            if ended {
                break;
            }
            *field = reader.owned()?;
        }
        while !ended && !reader.closes() {
            reader.skip()?;
        }
        let [name, route, mailbox, host] = fields;
        addresses.push(Address { name, route, mailbox, host });
    }
    Ok(addresses)
}
