//! Reaching a next hop: address, TLS, a session to drive.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use mailstore_trait::drive::Transport;
use mailstore_trait::session::Layer;
use smtp_proto::client::request::{Failure, Stage};
use smtp_proto::client::{Client, Config, TlsPolicy};
use smtp_proto::delivery::Security;
use smtp_proto::reply::{EnhancedCode, Reply};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::verify::{self, Anchors, Why};
use crate::config::Route;
use crate::stream::{Stream, Upgrade};

/// RFC 5321 §4.5.3.2 has no limit for connecting; this is what mail hosts usually wait.
const CONNECT: Duration = Duration::from_secs(30);

/// Where to connect, and how.
pub(super) struct Place<'a> {
    /// Its name, or an address literal.
    pub(super) host: &'a str,
    /// An address and a port, or a name and a port.
    pub(super) address: String,
    pub(super) security: Security,
    /// The route this is the host of, for its login and its trust anchors.
    pub(super) route: Option<&'a Route>,
    /// Whether TLS comes first of all.
    pub(super) implicit: bool,
}

impl Place<'_> {
    /// What connections share that may carry each other's messages.
    pub(super) fn key(&self) -> String {
        let user = self.route.and_then(|route| route.user.as_deref()).unwrap_or_default();
        format!("{} {} {user} {:?}", self.address, self.host, self.security)
    }
}

/// A session on an open connection.
pub(super) struct Opened {
    pub(super) session: Client,
    pub(super) stream: Stream,
    /// Why TLS failed, should it.
    pub(super) why: Why,
}

/// Connects.
pub(super) async fn open(hostname: &str, place: &Place<'_>, anchors: &Anchors) -> Result<Opened, Failure> {
    let own = place.route.and_then(|route| route.ca.as_deref());
    let made = verify::connector(&place.security, place.host, || anchors.load(own));
    let (upgrade, why) = match (&place.security, made) {
        (Security::Clear, _) => (Upgrade::Never, Why::default()),
        (_, Ok((connector, name, why))) => (Upgrade::Connect(connector, name), why),
        // Without a name to ask for, a host that need not have TLS has none.
        (Security::Opportunistic, Err(_)) => (Upgrade::Never, Why::default()),
        (_, Err(text)) => return Err(failed(Stage::StartTls, (4, 7, 5), text)),
    };
    let mut config = Config::new(hostname);
    config.login = place.route.is_some_and(|route| route.user.is_some());
    config.tls = match (&upgrade, place.implicit) {
        (Upgrade::Never, _) | (_, true) => TlsPolicy::None,
        _ => place.security.client_policy(),
    };
    let tcp = match timeout(CONNECT, TcpStream::connect(place.address.as_str())).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Err(failed(Stage::Connect, (4, 4, 1), format!("{}: {error}", place.host))),
        Err(_) => return Err(failed(Stage::Connect, (4, 4, 1), format!("{}: no answer", place.host))),
    };
    let mut stream = Stream::new(tcp, upgrade);
    let info = match place.implicit {
        true => match timeout(config.timeouts.layer, stream.layer(Layer::Tls)).await {
            Ok(Ok(info)) => Some(info),
            _ => return Err(failed(Stage::StartTls, (4, 7, 5), "TLS handshake failed")),
        },
        false => None,
    };
    Ok(Opened { session: Client::new(Arc::new(config), info), stream, why })
}

fn failed(stage: Stage, (class, subject, detail): (u8, u16, u16), text: impl Into<Cow<'static, str>>) -> Failure {
    let text = text.into().replace(|c: char| c.is_control() || !c.is_ascii(), " ");
    let enhanced = Some(EnhancedCode::new(class, subject, detail));
    Failure { stage, reply: Reply { code: 451, enhanced, text: text.into() }, remote: false }
}
