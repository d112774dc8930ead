//! STARTTLS (RFC 9051 §6.2.1).

use mailstore_trait::sasl::Context;
use mailstore_trait::session::{CloseReason, LayerError, LayerInfo};

use super::state::{Core, Flow, Step, finish};
use crate::event::Event;
use crate::response::Reply;

/// A layer is being put on the stream.
#[derive(Debug)]
pub(super) struct StartTls;

impl StartTls {
    pub(super) fn start(core: &mut Core) -> Step {
        if !core.config.starttls || core.connection.tls {
            return finish(Reply::bad("TLS can't be started"));
        }
        // RFC 9051 §6.2.1: no octet behind the command may be taken for something said under TLS. A client that sends
        // some, or somebody between it and us, is not to be talked to any further.
        if !core.inbox.is_empty() {
            core.event(Event::Fault { what: "octets behind STARTTLS" });
            core.bye("Octets behind STARTTLS", CloseReason::Protocol);
            return Step::Flush;
        }
        core.tagged(&Reply::ok("Begin TLS"));
        Step::Go(Flow::StartTls(StartTls))
    }

    /// The layer is up, or not.
    pub(super) fn layered(core: &mut Core, done: Result<LayerInfo, LayerError>) -> Flow {
        match done {
            Ok(info) => {
                core.connection = Context::over_tls(&info);
                core.connection.allow_cleartext = core.config.allow_cleartext;
                core.tls = Some(info);
                core.inbox.clear();
            }
            // The client was told to begin TLS: there is nothing left to say that it would understand.
            Err(_) => core.close(CloseReason::Layer),
        }
        Flow::Ready
    }
}
