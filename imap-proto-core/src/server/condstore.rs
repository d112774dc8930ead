//! What makes a client one that is told mod-sequences, and what it is told because of that (RFC 7162).
//!
//! ```text
//!  plain ── ENABLE CONDSTORE, a command with MODSEQ, HIGHESTMODSEQ, CHANGEDSINCE… ──▶ condstore
//!    └───────────── ENABLE QRESYNC ──────────────────────────────▶ condstore and qresync ◀─┘
//! ```
//!
//! There is no way back while the connection lasts.

use bytes::BufMut;
use mailstore_trait::id::{MAX_48, ModSeq};

use super::state::Core;
use crate::capability;
use crate::command::{Command, FetchItem, StatusItems};
use crate::response::{self, Reply};

/// A client's number as the store has them. RFC 7162 §7: 0 is no mod-sequence, yet iOS sends `CHANGEDSINCE 0`; nothing
/// is older than 1, so both mean the same.
pub(super) fn modseq(value: u64) -> ModSeq {
    ModSeq::new(value.clamp(1, MAX_48)).unwrap_or(ModSeq::FIRST)
}

/// Notes what a command says about its client, before it runs.
///
/// # Errors
/// The answer to a command whose arguments are switched off or not enabled.
pub(super) fn note(core: &mut Core, command: &Command<'_>) -> Result<(), Reply> {
    if !capability::knows(&core.config, core.abilities(), command) {
        return Err(Reply::bad("Unknown option"));
    }
    let qresync = match command {
        Command::Select { parameters, .. } => parameters.qresync.is_some(),
        Command::Fetch { modifiers, .. } => modifiers.vanished,
        _ => false,
    };
    // RFC 7162 §3.2.3, §3.2.5, §3.2.6: BAD without ENABLE QRESYNC.
    if qresync && !core.qresync {
        return Err(Reply::bad("Enable QRESYNC first"));
    }
    // RFC 7162 §3.1: the commands that make a client CONDSTORE-aware.
    match command {
        // The new mailbox tells its own HIGHESTMODSEQ.
        Command::Select { parameters, .. } => core.condstore |= parameters.condstore,
        Command::Fetch { modifiers, items, .. }
            if modifiers.changed_since.is_some() || items.contains(&FetchItem::ModSeq) =>
        {
            aware(core);
        }
        Command::Store { unchanged_since: Some(_), .. } => aware(core),
        Command::Search { arguments, .. } | Command::Sort { arguments, .. } | Command::Thread { arguments, .. }
            if arguments.has_modseq() =>
        {
            aware(core);
        }
        Command::Status { items, .. } if items.contains(StatusItems::HIGHESTMODSEQ) => aware(core),
        Command::List(arguments) if arguments.status.contains(StatusItems::HIGHESTMODSEQ) => aware(core),
        _ => {}
    }
    Ok(())
}

/// RFC 7162 §3.1: the first such command with a mailbox selected is answered with its HIGHESTMODSEQ.
pub(super) fn aware(core: &mut Core) {
    if std::mem::replace(&mut core.condstore, true) {
        return;
    }
    let Core { view: Some(view), outbox, .. } = core else { return };
    let out = outbox.text();
    out.put_slice(b"* OK [");
    response::highest_modseq(view.highest(), out);
    out.put_slice(b"] Highest\r\n");
}

/// Puts HIGHESTMODSEQ into a tagged answer where it must stand: after removals (RFC 7162 §3.2.7), and while the client
/// was told mod-sequences above a removal that is held (RFC 7162 §3.2, RFC 7162 §6).
pub(super) fn correct(core: &mut Core, reply: &mut Reply, expunged: bool) {
    let Core { condstore: true, view: Some(view), qresync, outbox, .. } = core else { return };
    let correction = view.correction();
    let told = if expunged && *qresync { Some(view.highest()) } else { correction };
    let Some(modseq) = told else { return };
    if reply.code.is_empty() {
        response::highest_modseq(modseq, &mut reply.code);
        return;
    }
    let out = outbox.text();
    out.put_slice(b"* OK [");
    response::highest_modseq(modseq, out);
    out.put_slice(b"] Highest\r\n");
}
