//! STARTTLS (RFC 9051 §6.2.1) and COMPRESS (RFC 4978 §3): layers between the session and the socket.

use mailstore_trait::sasl::Context;
use mailstore_trait::session::{CloseReason, Layer, LayerError, LayerInfo};

use super::state::{Core, Flow, Step, finish};
use crate::event::Event;
use crate::response::Reply;

/// Answers STARTTLS.
pub(super) fn start_tls(core: &mut Core) -> Step {
    if !core.config.starttls || core.connection.tls {
        return finish(Reply::bad("TLS can't be started"));
    }
    // RFC 9051 §6.2.1: no octet behind the command may be taken for something said under TLS. A client that sends some,
    // or somebody between it and us, is not to be talked to any further.
    if !core.inbox.is_empty() {
        core.event(Event::Fault { what: "octets behind STARTTLS" });
        core.bye("Octets behind STARTTLS", CloseReason::Protocol);
        return Step::Flush;
    }
    core.tagged(&Reply::ok("Begin TLS"));
    Step::Go(Flow::Layering(Layer::Tls))
}

/// Answers COMPRESS.
pub(super) fn compress(core: &mut Core, algorithm: &[u8]) -> Step {
    if !algorithm.eq_ignore_ascii_case(b"DEFLATE") {
        return finish(Reply::bad("Unknown algorithm"));
    }
    if core.compressed {
        return finish(Reply::no("COMPRESSIONACTIVE", "DEFLATE is active"));
    }
    // RFC 4978 §3: a client waits for the answer; what it sent before is not compressed, and nobody could tell.
    if !core.inbox.is_empty() {
        core.event(Event::Fault { what: "octets behind COMPRESS" });
        core.bye("Octets behind COMPRESS", CloseReason::Protocol);
        return Step::Flush;
    }
    core.tagged(&Reply::ok("DEFLATE active"));
    Step::Go(Flow::Layering(Layer::Deflate))
}

/// The layer is up, or not.
pub(super) fn layered(core: &mut Core, layer: Layer, done: Result<LayerInfo, LayerError>) -> Flow {
    match (layer, done) {
        (Layer::Tls, Ok(info)) => {
            core.connection = Context::over_tls(&info);
            core.connection.allow_cleartext = core.config.allow_cleartext;
            core.tls = Some(info);
            core.inbox.clear();
        }
        (Layer::Deflate, Ok(_)) => {
            core.compressed = true;
            core.inbox.clear();
        }
        // The client was told to begin: there is nothing left to say that it would understand.
        (_, Err(_)) => core.close(CloseReason::Layer),
    }
    Flow::Ready
}
