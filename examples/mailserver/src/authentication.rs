//! Who really sent what comes in: SPF, DKIM, ARC and DMARC, looked up while the client waits for its answer.
//!
//! The header is held back until it is whole, because claims are taken out of it; the body goes by, and only hashes of it
//! stay. A message of any size costs the memory of its header.

pub(crate) mod canonical;
mod claims;
mod hashes;
pub(crate) mod split;
mod verify;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hickory_resolver::TokioResolver;
use mail_auth::MessageAuthenticator;
use mailstore_trait::future::BoxFuture;
use smtp_proto::reply::{EnhancedCode, Reply};
use smtp_proto::request::{Envelope, Origin};
use smtp_proto::store::{Accepted, Filter, Filtering, Verdict};

use crate::config::Authentication as Config;
use hashes::Hashes;
use split::Split;
use verify::Sent;

/// Looks at every message from other servers.
pub(crate) struct Authentication {
    shared: Arc<Shared>,
}

struct Shared {
    host: String,
    config: Config,
    resolver: MessageAuthenticator,
}

impl Authentication {
    pub(crate) fn new(host: &str, config: Config, resolver: TokioResolver) -> Authentication {
        let resolver = MessageAuthenticator(resolver);
        Authentication { shared: Arc::new(Shared { host: host.to_owned(), config, resolver }) }
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
            most: usize::try_from(shared.config.header_size.0).unwrap_or(usize::MAX),
            split: Split::default(),
            header: BytesMut::new(),
            hashes: None,
            sent: Sent { peer, hello: origin.hello.clone(), sender },
            shared: Arc::clone(shared),
        }))
    }
}

struct Looking {
    shared: Arc<Shared>,
    /// Octets of a header, at most.
    most: usize,
    split: Split,
    /// As it came in.
    header: BytesMut,
    /// Once the header is over.
    hashes: Option<Hashes>,
    sent: Sent,
}

impl Looking {
    fn is_too_long(&self) -> bool {
        self.header.len() > self.most
    }

    /// The header is whole: what of it goes on.
    fn begin_body(&mut self) -> Vec<u8> {
        self.hashes = Some(if self.shared.config.verify { Hashes::of(&self.header) } else { Hashes::default() });
        claims::without(&self.header, &self.shared.host)
    }
}

impl Filtering for Looking {
    fn pass(&mut self, octets: Bytes) -> Bytes {
        if let Some(hashes) = &mut self.hashes {
            hashes.push(&octets);
            return octets;
        }
        // What is refused in the end need not be written.
        if self.is_too_long() {
            return Bytes::new();
        }
        let (header, body) = self.split.split(&octets);
        self.header.extend_from_slice(header);
        if !self.split.is_over() || self.is_too_long() {
            return Bytes::new();
        }
        let mut onward = self.begin_body();
        onward.extend_from_slice(body);
        if let Some(hashes) = &mut self.hashes {
            hashes.push(body);
        }
        onward.into()
    }

    fn judge(mut self: Box<Self>) -> BoxFuture<'static, Verdict> {
        Box::pin(async move {
            if self.is_too_long() {
                return Verdict::Refused(HEADER_TOO_LONG);
            }
            let rest = match self.hashes {
                Some(_) => Bytes::new(),
                None => self.begin_body().into(),
            };
            let shared = &self.shared;
            if !shared.config.verify {
                return Verdict::Accepted(Accepted { rest, ..Accepted::default() });
            }
            let hashes = self.hashes.take().unwrap_or_default();
            let verifying =
                verify::verify(&shared.resolver, &shared.config, &shared.host, &self.sent, &self.header, hashes);
            match tokio::time::timeout(shared.config.deadline.0, verifying).await {
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

/// Whose From can't be found can't be checked.
const HEADER_TOO_LONG: Reply = Reply {
    code: 552,
    enhanced: Some(EnhancedCode::new(5, 3, 4)),
    text: std::borrow::Cow::Borrowed("The header is too long"),
};
