//! ENABLE (RFC 5161 §3.1, RFC 9051 §6.3.1): ways of talking that a client asks for, until the connection ends.

use bytes::BufMut;

use super::condstore;
use super::state::{Core, Step, finish};
use crate::capability;
use crate::command::Command;
use crate::response::{Quoted, Reply};

bitflags::bitflags! {
    /// What a client has enabled, but for CONDSTORE and QRESYNC, which other commands enable too.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Enabled: u8 {
        /// RFC 6855 §3.
        const UTF8 = 1;
        /// RFC 9051 appendix A.
        const REV2 = 2;
        /// RFC 9586 §3.1.
        const UID_ONLY = 4;
    }
}

/// One row of the table of what can be enabled.
struct Row {
    name: &'static str,
    /// The capabilities that must be offered.
    needs: &'static [&'static str],
    enable: fn(&mut Core),
}

const TABLE: &[Row] = &[
    Row { name: "CONDSTORE", needs: &["CONDSTORE"], enable: condstore::aware }, // RFC 7162 §3.1
    // RFC 7162 §3.2.3
    Row {
        name: "QRESYNC",
        needs: &["CONDSTORE", "QRESYNC"],
        enable: |core| {
            condstore::aware(core);
            core.qresync = true;
        },
    },
    // RFC 6855 §3
    Row {
        name: "UTF8=ACCEPT",
        needs: &["UTF8=ACCEPT"],
        enable: |core| {
            core.enabled |= Enabled::UTF8;
            core.quoted = Quoted::Utf8;
        },
    },
    Row { name: "UIDONLY", needs: &["UIDONLY"], enable: |core| core.enabled |= Enabled::UID_ONLY }, // RFC 9586 §3.1
    Row { name: "IMAP4rev2", needs: capability::REV2, enable: rev2 },
];

/// RFC 9051 appendix A, appendix E: names and strings in UTF-8, ESEARCH always, nothing recent any more.
fn rev2(core: &mut Core) {
    core.enabled |= Enabled::REV2;
    core.quoted = Quoted::Utf8;
    if let Some(view) = &mut core.view {
        view.forget_recent();
    }
}

/// What holds from the greeting on: a server without IMAP4rev1 has nothing to be enabled for IMAP4rev2.
pub(super) fn begin(core: &mut Core) {
    let config = &core.config;
    if !config.offers(&["IMAP4rev1"]) && config.offers(capability::REV2) {
        rev2(core);
    }
}

/// Answers ENABLE: what can't be enabled is passed over.
pub(super) fn enable(core: &mut Core, words: &[&[u8]]) -> Step {
    let named = |row: &&Row| words.iter().any(|word| word.eq_ignore_ascii_case(row.name.as_bytes()));
    let config = std::sync::Arc::clone(&core.config);
    let rows = || TABLE.iter().filter(named).filter(|row| config.offers(row.needs));
    let out = core.out();
    out.put_slice(b"* ENABLED");
    for row in rows() {
        out.put_u8(b' ');
        out.put_slice(row.name.as_bytes());
    }
    out.put_slice(b"\r\n");
    rows().for_each(|row| (row.enable)(core));
    finish(Reply::ok("ENABLE completed"))
}

/// Whether a command may be said after what was enabled.
///
/// # Errors
/// The answer to one that may not.
pub(super) fn permits(core: &Core, command: &Command<'_>) -> Result<(), Reply> {
    match command {
        // RFC 6855 §3: everything is UTF-8 then, and no other charset can be named.
        Command::Search { arguments, .. } if arguments.charset_named && core.enabled.contains(Enabled::UTF8) => {
            Err(Reply::bad("The charset is UTF-8"))
        }
        // RFC 9586 §3.5: no message numbers among the keys.
        Command::Search { arguments, .. } | Command::Sort { arguments, .. } | Command::Thread { arguments, .. }
            if core.is_uid_only() && arguments.has_numbers() =>
        {
            Err(uid_required())
        }
        // RFC 9586 §3.7: nor among what a client knows of a mailbox.
        Command::Select { parameters, .. }
            if core.is_uid_only() && parameters.qresync.as_ref().is_some_and(|qresync| qresync.matches.is_some()) =>
        {
            Err(uid_required())
        }
        _ => Ok(()),
    }
}

/// RFC 9586 §3: the answer to message numbers where only UIDs are spoken of.
pub(super) fn uid_required() -> Reply {
    Reply::bad("UIDs only").with_code(|code| code.put_slice(b"UIDREQUIRED"))
}
