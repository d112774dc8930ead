//! Who really sent what comes in: SPF, DKIM, ARC and DMARC, looked up while the client waits for its answer.

mod claims;
mod memory;
pub(crate) mod tail;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hickory_resolver::TokioResolver;
use mail_auth::MessageAuthenticator;
use mailstore_trait::future::BoxFuture;
use smtp_proto::reply::{EnhancedCode, Reply};
use smtp_proto::request::{Envelope, Origin};
use smtp_proto::store::{Accepted, Filter, Filtering, Verdict};

use crate::config::{Authentication as Config, Octets};
use claims::Claims;
use memory::{Kept, Memory, State};
use verify::Sent;

/// The longest header from which claims are taken away.
const HEADER: usize = 1024 * 1024;
/// How long all questions about one message may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Looks at every message from other servers.
pub(crate) struct Authentication {
    shared: Arc<Shared>,
}

struct Shared {
    host: String,
    config: Config,
    resolver: MessageAuthenticator,
    memory: Arc<Memory>,
}

impl Authentication {
    pub(crate) fn new(host: &str, config: Config, resolver: TokioResolver) -> Authentication {
        let memory = Memory::new(config.memory.0);
        let resolver = MessageAuthenticator(resolver);
        Authentication { shared: Arc::new(Shared { host: host.to_owned(), config, resolver, memory }) }
    }
}

impl Filter for Authentication {
    fn open(&self, origin: &Arc<Origin>, envelope: &Arc<Envelope>) -> Option<Box<dyn Filtering>> {
        let shared = &self.shared;
        let peer = origin.peer.ip().to_canonical();
        if origin.identity.is_some() || shared.config.trusts(peer) {
            return None;
        }
        let sender = envelope.sender.address.as_ref().map_or_else(String::new, ToString::to_string);
        Some(Box::new(Looking {
            claims: Claims::new(&shared.host, HEADER),
            kept: Kept::new(Arc::clone(&shared.memory), length(shared.config.max_message)),
            sent: Sent { peer, hello: origin.hello.clone(), sender },
            shared: Arc::clone(shared),
        }))
    }
}

fn length(octets: Octets) -> usize {
    usize::try_from(octets.0).unwrap_or(usize::MAX)
}

struct Looking {
    shared: Arc<Shared>,
    claims: Claims,
    kept: Kept,
    sent: Sent,
}

impl Filtering for Looking {
    fn pass(&mut self, octets: Bytes) -> Bytes {
        if self.shared.config.verify {
            self.kept.push(&octets);
        }
        self.claims.pass(octets)
    }

    fn judge(mut self: Box<Self>, _: &str) -> BoxFuture<'static, Verdict> {
        Box::pin(async move {
            let rest = self.claims.rest();
            let shared = &self.shared;
            if !shared.config.verify {
                return Verdict::Accepted(Accepted { rest, ..Accepted::default() });
            }
            let message = match self.kept.octets() {
                Ok(message) => Some(message),
                Err(State::NoMemory) => return Verdict::Refused(BUSY),
                Err(_) => None,
            };
            let verifying = verify::verify(&shared.resolver, &shared.config, &shared.host, &self.sent, message);
            match tokio::time::timeout(DEADLINE, verifying).await {
                Ok(Verdict::Accepted(accepted)) => Verdict::Accepted(Accepted { rest, ..accepted }),
                Ok(refused) => refused,
                Err(_) => {
                    let host = &shared.host;
                    let fields = format!(
                        "Authentication-Results: {host};\r\n\tspf=temperror;\r\n\tdkim=temperror;\r\n\tdmarc=temperror\r\n"
                    );
                    Verdict::Accepted(Accepted { rest, fields, folder: None })
                }
            }
        })
    }
}

const BUSY: Reply = Reply {
    code: 451,
    enhanced: Some(EnhancedCode::new(4, 3, 2)),
    text: std::borrow::Cow::Borrowed("Too many messages at the same time, try again later"),
};
