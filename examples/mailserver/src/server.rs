//! What all connections share, and how each protocol's session is made and driven.

mod imap;
mod pop3;
mod smtp;

use std::sync::Arc;
use std::time::Duration;

use mailstore_embedded::{Store, Users};
use mailstore_trait::auth::Authenticator;
use mailstore_trait::directory::aliases::Aliases;
use mailstore_trait::drive::DriveLimits;
use mailstore_trait::environment::Environment;
use mailstore_trait::sasl::{Mechanism, ScramHash};
use mailstore_trait::store::MailStore;
use tokio::sync::Notify;

pub(crate) use self::smtp::policy;
use crate::Failure;
use crate::authentication::Authentication;
use crate::config::{Config, Proxy};
use crate::environment::System;
use crate::listener::Service;
use crate::signing::Signing;
use crate::throttle::{Throttle, Throttled};
use crate::tls::{Acceptor, Certificates};

/// Everything a connection needs.
pub(crate) struct Server {
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) drive: DriveLimits,
    pub(crate) proxy: Proxy,
    store: Arc<dyn MailStore>,
    directory: Arc<Aliases<Users>>,
    authenticator: Arc<dyn Authenticator>,
    environment: Arc<dyn Environment>,
    acceptors: Acceptors,
    smtp: smtp::Configs,
    authentication: Arc<Authentication>,
    signing: Arc<Signing>,
    pop3: Arc<pop3_proto::Config>,
    /// One for all connections: it remembers what the last login of a maildrop saw.
    maildrops: pop3_proto::store::World,
    imap: Arc<imap_proto_core::Config>,
    sharing: crate::config::Sharing,
    /// Rung whenever a message was put into the queue.
    queued: Arc<Notify>,
}

/// One acceptor for each set of ALPN names: offering another protocol's name ends the handshake, so that no client can
/// be led to the wrong port unawares.
struct Acceptors {
    smtp: Acceptor,
    pop3: Acceptor,
    imap: Acceptor,
}

impl Server {
    pub(crate) fn new(
        config: &Config,
        store: Arc<Store>,
        certificates: &Certificates,
        queued: Arc<Notify>,
    ) -> Result<Server, Failure> {
        let throttle = Throttle::new(&config.limits);
        let users = store.users().clone();
        let directory = Aliases::new(users.clone(), config.recipient_delimiter.0);
        let resolver = crate::dns::resolver(&config.dns).map_err(Failure::Dns)?;
        let authentication = Authentication::new(&config.hostname, config.authentication.clone(), resolver);
        let authenticator: Arc<dyn Authenticator> =
            Arc::new(Throttled { inner: users, throttle: Arc::clone(&throttle) });
        let environment: Arc<dyn Environment> = Arc::new(System);
        let maildrops =
            pop3_proto::store::World::new(store.clone(), Arc::clone(&authenticator), Arc::clone(&environment));
        let server = Server {
            throttle,
            drive: DriveLimits::default(),
            proxy: config.proxy.clone(),
            store,
            directory: Arc::new(directory),
            authenticator,
            environment,
            acceptors: Acceptors {
                // No ALPN name is registered for SMTP.
                smtp: certificates.acceptor(&[])?,
                pop3: certificates.acceptor(&[b"pop3"])?,
                imap: certificates.acceptor(&[b"imap"])?,
            },
            smtp: smtp::Configs::new(config),
            authentication: Arc::new(authentication),
            signing: Arc::new(Signing::new(&config.outbound.dkim)?),
            pop3: Arc::new(pop3::config(config)),
            maildrops,
            imap: Arc::new(imap::config(config)),
            sharing: config.sharing.clone(),
            queued,
        };
        server.set_aliases(config);
        Ok(server)
    }

    /// Lets addresses stand for others as this configuration says.
    pub(crate) fn set_aliases(&self, config: &Config) {
        let entries = config.aliases.iter().map(|(address, targets)| (address.clone(), targets.clone().into()));
        self.directory.set(entries);
    }

    /// What puts TLS on this service's connections.
    pub(crate) fn acceptor(&self, service: Service) -> &Acceptor {
        match service {
            Service::Smtp | Service::Submission | Service::Submissions | Service::Lmtp => &self.acceptors.smtp,
            Service::Pop3 | Service::Pop3s => &self.acceptors.pop3,
            Service::Imap | Service::Imaps => &self.acceptors.imap,
        }
    }
}

/// How long a client that is logged in may be silent.
fn idle(config: &Config) -> Duration {
    config.limits.idle_time.0
}

/// Octets of the configuration as a length in memory.
fn length(octets: crate::config::Octets) -> usize {
    usize::try_from(octets.0).unwrap_or(usize::MAX)
}

/// The SASL mechanisms offered, best first. What a user's stored verifiers can't answer is refused like a wrong password.
fn mechanisms() -> impl Iterator<Item = Mechanism> {
    [
        Mechanism::Scram { hash: ScramHash::Sha256, plus: true },
        Mechanism::Scram { hash: ScramHash::Sha256, plus: false },
        Mechanism::Plain,
        Mechanism::Login,
    ]
    .into_iter()
}
