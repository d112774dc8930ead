//! `queue …`: what waits to leave, listed and changed.
//!
//! As text for people, or as JSON, one object a line, for programs.

use std::fmt::{self, Write as _};
use std::io::Write;

use mailstore_trait::date::Timestamp;
use mailstore_trait::id::QueueId;
use mailstore_trait::queue::{Delivery, FLUSHED, HELD, QueueEntry, QueueRecipient, QueueStore, RecipientState};

use super::AdminError;
use crate::cli::{QueueCommand, Which};

/// Queue entries read, or changed, at once.
const PAGE: usize = 1000;

/// Does one command.
pub(super) async fn queue(queue: &dyn QueueStore, command: QueueCommand, now: Timestamp) -> Result<(), AdminError> {
    match command {
        QueueCommand::List { which, json } => {
            let which = Chosen::of(&which)?;
            let mut out = std::io::stdout().lock();
            let mut after = None;
            while let Some(entries) = page(queue, &mut after).await? {
                for entry in entries.iter().filter(|entry| which.takes(entry)) {
                    if json {
                        writeln!(out, "{}", Json(entry, now))?;
                    } else {
                        write!(out, "{}", Text(entry, now))?;
                    }
                }
            }
            Ok(())
        }
        QueueCommand::Flush { which } => {
            let which = Chosen::of(&which)?;
            if which.is_all() {
                queue.flush(None, now).await?;
                return Ok(());
            }
            let ids = which.ids(queue).await?;
            for some in ids.chunks(PAGE) {
                queue.flush(Some(some), now).await?;
            }
            Ok(())
        }
        QueueCommand::Remove { which } => {
            for id in Chosen::some(&which)?.ids(queue).await? {
                queue.discard(id).await?;
            }
            Ok(())
        }
        QueueCommand::Hold { which } => {
            for some in Chosen::some(&which)?.ids(queue).await?.chunks(PAGE) {
                queue.hold(some).await?;
            }
            Ok(())
        }
        QueueCommand::Release { which } => {
            for some in Chosen::some(&which)?.ids(queue).await?.chunks(PAGE) {
                queue.release(some, now).await?;
            }
            Ok(())
        }
    }
}

/// The next entries, by id.
async fn page(queue: &dyn QueueStore, after: &mut Option<QueueId>) -> Result<Option<Vec<QueueEntry>>, AdminError> {
    let entries = queue.list(*after, PAGE).await?;
    match entries.last() {
        Some(last) => {
            *after = Some(last.id);
            Ok(Some(entries))
        }
        None => Ok(None),
    }
}

/// The entries a command is about.
struct Chosen<'a> {
    ids: Vec<(QueueId, &'a str)>,
    domain: Option<&'a str>,
    sender: Option<&'a str>,
}

impl Chosen<'_> {
    fn of(which: &Which) -> Result<Chosen<'_>, AdminError> {
        let ids = which.ids.iter().map(|text| Ok((queue_id(text)?, text.as_str())));
        Ok(Chosen {
            ids: ids.collect::<Result<_, AdminError>>()?,
            domain: which.domain.as_deref(),
            sender: which.sender.as_deref(),
        })
    }

    /// For what nobody should do to everything by leaving something out.
    fn some(which: &Which) -> Result<Chosen<'_>, AdminError> {
        let chosen = Chosen::of(which)?;
        if chosen.is_all() && !which.all { Err(AdminError::WhichEntries) } else { Ok(chosen) }
    }

    fn is_all(&self) -> bool {
        self.ids.is_empty() && self.domain.is_none() && self.sender.is_none()
    }

    fn takes(&self, entry: &QueueEntry) -> bool {
        (self.ids.is_empty() || self.ids.iter().any(|(id, _)| *id == entry.id))
            && self
                .sender
                .is_none_or(|sender| entry.return_path.as_deref().unwrap_or_default().eq_ignore_ascii_case(sender))
            && self.domain.is_none_or(|domain| entry.recipients.iter().any(|it| it.is_waiting() && is_in(it, domain)))
    }

    /// Their ids. An id that somebody wrote down and that is not there is an error.
    async fn ids(&self, queue: &dyn QueueStore) -> Result<Vec<QueueId>, AdminError> {
        let (mut found, mut after) = (Vec::new(), None);
        while let Some(entries) = page(queue, &mut after).await? {
            found.extend(entries.iter().filter(|entry| self.takes(entry)).map(|entry| entry.id));
        }
        match self.ids.iter().find(|(id, _)| !found.contains(id)) {
            Some((_, text)) => Err(AdminError::NotQueued((*text).to_owned())),
            None => Ok(found),
        }
    }
}

fn is_in(recipient: &QueueRecipient, domain: &str) -> bool {
    recipient.address.rsplit_once('@').is_some_and(|(_, its)| its.eq_ignore_ascii_case(domain))
}

/// Reads an id as lists and logs show it.
fn queue_id(text: &str) -> Result<QueueId, AdminError> {
    let wrong = || AdminError::QueueId(text.to_owned());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32).ok_or_else(wrong)?;
    Ok(QueueId(number.to_be_bytes()))
}

/// An entry for people: a line about the message, and one for each recipient.
struct Text<'a>(&'a QueueEntry, Timestamp);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Text(entry, now) = *self;
        let (age, from) = (Age(now.since(entry.queued).as_secs()), entry.return_path.as_deref().unwrap_or_default());
        write!(f, "{} <{from}> {} octets, {age} old, tried {} times, ", entry.id, entry.size, entry.attempts)?;
        match entry.due {
            HELD => writeln!(f, "held")?,
            due if due <= now => writeln!(f, "next now")?,
            due => writeln!(f, "next in {} at {}", Age(due.since(now).as_secs()), due.at_offset(0))?,
        }
        for recipient in &entry.recipients {
            write!(f, "    {}: {}", recipient.address, word(recipient.state))?;
            if let Some(last) = &recipient.last {
                write!(f, ", {}", last.reply)?;
                if let Some(remote) = &last.remote_mta {
                    write!(f, " (said {remote})")?;
                }
            }
            f.write_char('\n')?;
        }
        Ok(())
    }
}

/// How long, roughly.
struct Age(u64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds @ 0..120 => write!(f, "{seconds}s"),
            seconds @ 120..7200 => write!(f, "{}m", seconds / 60),
            seconds @ 7200..172_800 => write!(f, "{}h", seconds / 3600),
            seconds => write!(f, "{}d", seconds / 86_400),
        }
    }
}

fn word(state: RecipientState) -> &'static str {
    match state {
        RecipientState::Relay => "to be sent",
        RecipientState::Spool => "to be delivered here",
        RecipientState::Failed => "failed",
        RecipientState::Delivered(Delivery::Mailbox) => "delivered",
        RecipientState::Delivered(Delivery::Expanded) => "expanded",
        RecipientState::Delivered(Delivery::Relayed | Delivery::Passed) => "sent",
    }
}

fn name(state: RecipientState) -> &'static str {
    match state {
        RecipientState::Relay => "relay",
        RecipientState::Spool => "spool",
        RecipientState::Failed => "failed",
        RecipientState::Delivered(Delivery::Mailbox) => "delivered",
        RecipientState::Delivered(Delivery::Expanded) => "expanded",
        RecipientState::Delivered(Delivery::Relayed | Delivery::Passed) => "relayed",
    }
}

/// An entry for programs: one JSON object without line breaks (RFC 8259). Times are seconds since 1970.
struct Json<'a>(&'a QueueEntry, Timestamp);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Json(entry, now) = *self;
        write!(f, "{{\"id\":\"{}\",\"sender\":", entry.id)?;
        string(f, entry.return_path.as_deref().unwrap_or_default())?;
        write!(
            f,
            ",\"size\":{},\"arrival\":{},\"age\":{},\"attempts\":{},\"priority\":{},\"held\":{},\"next_attempt\":",
            entry.size,
            entry.queued.seconds(),
            now.since(entry.queued).as_secs(),
            entry.attempts,
            entry.priority,
            entry.due == HELD
        )?;
        match entry.due {
            HELD => f.write_str("null")?,
            FLUSHED => write!(f, "{}", now.seconds())?,
            due => write!(f, "{}", due.seconds())?,
        }
        f.write_str(",\"recipients\":[")?;
        for (at, recipient) in entry.recipients.iter().enumerate() {
            f.write_str(if at == 0 { "{\"address\":" } else { ",{\"address\":" })?;
            string(f, &recipient.address)?;
            write!(f, ",\"state\":\"{}\"", name(recipient.state))?;
            if let Some(last) = &recipient.last {
                write!(f, ",\"last_attempt\":{},\"last_error\":", last.at.seconds())?;
                string(f, &last.reply)?;
                f.write_str(",\"remote_mta\":")?;
                match &last.remote_mta {
                    Some(remote) => string(f, remote)?,
                    None => f.write_str("null")?,
                }
            }
            f.write_char('}')?;
        }
        f.write_str("]}")
    }
}

/// A JSON string: RFC 8259 §7.
fn string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use mailstore_trait::queue::LastAttempt;

    use super::*;

    fn entry() -> QueueEntry {
        let at = Timestamp::from_seconds;
        let mut recipient = QueueRecipient::new("\"x\\y\"@b.example", Vec::new(), RecipientState::Relay);
        recipient.last = Some(LastAttempt { at: at(90), reply: "451 \"no\"\u{1}".into(), remote_mta: None });
        QueueEntry {
            id: QueueId([7; 16]),
            return_path: None,
            recipients: vec![recipient, QueueRecipient::new("z@c.example", Vec::new(), RecipientState::Spool)],
            size: 5,
            mail_parameters: Vec::new(),
            queued: at(0),
            due: at(10_000),
            attempts: 2,
            delay_reported: None,
            priority: -1,
        }
    }

    #[test]
    fn entries_are_shown_to_people() {
        let shown = Text(&entry(), Timestamp::from_seconds(600)).to_string();
        assert_eq!(
            shown,
            "07070707070707070707070707070707 <> 5 octets, 10m old, tried 2 times, next in 2h at Thu, 1 Jan 1970 02:46:40 +0000\n    \
             \"x\\y\"@b.example: to be sent, 451 \"no\"\u{1}\n    z@c.example: to be delivered here\n"
        );
        assert!(Text(&QueueEntry { due: HELD, ..entry() }, FLUSHED).to_string().contains(", held\n"));
    }

    #[test]
    fn entries_are_shown_to_programs() {
        let shown = Json(&entry(), Timestamp::from_seconds(600)).to_string();
        assert_eq!(
            shown,
            "{\"id\":\"07070707070707070707070707070707\",\"sender\":\"\",\"size\":5,\"arrival\":0,\"age\":600,\"attempts\":2,\
             \"priority\":-1,\"held\":false,\"next_attempt\":10000,\"recipients\":[{\"address\":\"\\\"x\\\\y\\\"@b.example\",\
             \"state\":\"relay\",\"last_attempt\":90,\"last_error\":\"451 \\\"no\\\"\\u0001\",\"remote_mta\":null},\
             {\"address\":\"z@c.example\",\"state\":\"spool\"}]}"
        );
    }

    #[test]
    fn entries_are_chosen() {
        let which = |ids: &[&str], domain: Option<&str>, sender: Option<&str>| Which {
            ids: ids.iter().map(ToString::to_string).collect(),
            all: false,
            domain: domain.map(Into::into),
            sender: sender.map(Into::into),
        };
        let takes = |which: Which| Chosen::of(&which).unwrap().takes(&entry());
        assert!(takes(which(&[], Some("B.example"), None)) && takes(which(&[], None, Some(""))));
        assert!(takes(which(&["07070707070707070707070707070707"], Some("c.example"), Some(""))));
        assert!(!takes(which(&[], Some("example"), None)) && !takes(which(&[], None, Some("x@y"))));
        assert!(!takes(which(&["07070707070707070707070707070708"], None, None)));
        assert!(Chosen::of(&which(&["7"], None, None)).is_err());
        assert!(Chosen::some(&Which::default()).is_err(), "not everything by mistake");
        assert!(Chosen::some(&Which { all: true, ..Which::default() }).is_ok());
    }
}
