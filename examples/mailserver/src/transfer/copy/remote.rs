//! The server that mail is copied from: a connection, driven one command at a time.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use imap_proto_core::client::{
    Answered, BodyChunk, ChunkTaken, Client, Command, Config, Data, Event, Request, StartTls, Task,
};
use mailstore_trait::batch::Staged;
use mailstore_trait::drive::{DriveLimits, Embedder, Ended, Transport, drive};
use mailstore_trait::environment::Environment;
use mailstore_trait::error::UploadError;
use mailstore_trait::id::SeqNum;
use mailstore_trait::sasl::{Credentials, Nonce, Secret};
use mailstore_trait::session::{Fulfil, Layer};
use mailstore_trait::store::{MailStore, Upload, UploadOptions};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::environment::System;
use crate::stream::{Stream, Upgrade};
use crate::tls::provider;
use crate::transfer::TransferError;

/// How long to wait for a connection and for TLS.
const CONNECT: Duration = Duration::from_secs(30);

/// Where to copy from: `imaps://user@host[:port]`, or `imap://…` with STARTTLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    implicit: bool,
    user: String,
    host: String,
    port: u16,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.host, self.port)
    }
}

impl FromStr for Source {
    type Err = TransferError;

    /// RFC 5092 §3 as far as it names a server and a user; an `@` in the user's name may stand as it is.
    fn from_str(text: &str) -> Result<Source, TransferError> {
        let bad = || TransferError::Source(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let (implicit, port) = match scheme.to_ascii_lowercase().as_str() {
            "imaps" => (true, 993),
            "imap" => (false, 143),
            _ => return Err(bad()),
        };
        let (user, server) = rest.trim_end_matches('/').rsplit_once('@').ok_or_else(bad)?;
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
            None => (server, port),
        };
        let user = decoded(user).ok_or_else(bad)?;
        if user.is_empty() || host.is_empty() || host.contains('/') {
            return Err(bad());
        }
        Ok(Source { implicit, user, host: host.to_owned(), port })
    }
}

/// Takes percent encoding off.
fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((plain, encoded)) = rest.split_once('%') {
        octets.extend_from_slice(plain.as_bytes());
        octets.push(u8::from_str_radix(encoded.get(..2)?, 16).ok()?);
        rest = encoded.get(2..)?;
    }
    octets.extend_from_slice(rest.as_bytes());
    String::from_utf8(octets).ok()
}

/// A connection that is logged in.
pub(super) struct Remote<'a> {
    host: String,
    client: Client,
    stream: Stream,
    desk: Desk<'a>,
    tickets: u64,
}

impl<'a> Remote<'a> {
    /// Connects, puts TLS on and logs in.
    pub(super) async fn open(
        store: &'a dyn MailStore,
        source: &Source,
        password: Secret,
        ca: Option<&Path>,
    ) -> Result<Remote<'a>, TransferError> {
        let host = source.host.clone();
        let failed = |what: &dyn fmt::Display| TransferError::Remote(format!("{host}: {what}"));
        let name = ServerName::try_from(source.host.clone()).map_err(|error| failed(&error))?;
        let connecting = timeout(CONNECT, TcpStream::connect((source.host.as_str(), source.port)));
        let tcp = connecting.await.map_err(|_| failed(&"no answer"))?.map_err(|error| failed(&error))?;
        let mut stream = Stream::new(tcp, Upgrade::Connect(connector(ca)?, name));
        let tls = if source.implicit {
            let layering = timeout(CONNECT, stream.layer(Layer::Tls)).await;
            Some(layering.map_err(|_| failed(&"no TLS"))?.map_err(|error| failed(&error))?)
        } else {
            None
        };
        let credentials = Credentials::Password { user: source.user.clone(), password, authzid: None };
        let mut random = [0; 18];
        System.fill(&mut random);
        let mut config = Config::new(credentials, Nonce::from_random(random));
        config.starttls = StartTls::Required;
        let client = Client::new(Arc::new(config), tls);
        let desk = Desk { store, coming: None, staged: HashMap::new(), error: None };
        let mut remote = Remote { host: source.host.clone(), client, stream, desk, tickets: 0 };
        remote.drive(None).await?;
        Ok(remote)
    }

    /// The source's own fault.
    pub(super) fn error(&self, what: &str) -> TransferError {
        TransferError::Remote(format!("{}: {what}", self.host))
    }

    /// Runs a command to its end; what was told meanwhile.
    pub(super) async fn run(&mut self, command: Command) -> Result<Vec<Event>, TransferError> {
        self.tickets += 1;
        self.drive(Some(Task::new(self.tickets, command))).await
    }

    /// What the names of one's own mailboxes begin with (RFC 2342 §5): `INBOX.` on some servers.
    pub(super) async fn prefix(&mut self) -> Result<String, TransferError> {
        if !self.client.capabilities().has_folded("NAMESPACE") {
            return Ok(String::new());
        }
        let events = self.run(Command::Namespace).await?;
        let prefix = events.into_iter().find_map(|event| match event {
            Event::Data(Data::Namespace(namespaces)) => namespaces.personal.into_iter().next(),
            _ => None,
        });
        Ok(prefix.map(|namespace| namespace.prefix.name().to_owned()).unwrap_or_default())
    }

    /// The message of this number that was fetched last.
    pub(super) fn staged(&mut self, seq: SeqNum) -> Option<Staged> {
        self.desk.staged.remove(&seq)
    }

    /// Says goodbye; everything is copied, so nothing depends on the answer.
    pub(super) async fn leave(mut self) {
        self.tickets += 1;
        let _ = self.drive(Some(Task::new(self.tickets, Command::Logout))).await;
    }

    /// Drives the session until this command has ended, or the login.
    async fn drive(&mut self, task: Option<Task>) -> Result<Vec<Event>, TransferError> {
        self.desk.staged.clear();
        let ticket = task.as_ref().map(|task| task.ticket);
        let mut until = Until { ticket, task, told: Vec::new(), failure: None, done: false };
        let ended =
            drive(&mut self.client, &mut self.stream, &mut self.desk, &mut until, &DriveLimits::default()).await;
        if let Some(error) = self.desk.error.take() {
            return Err(error);
        }
        match (until.failure, until.done, ended) {
            (Some(failure), ..) => Err(self.error(&failure)),
            (None, true, _) => Ok(until.told),
            (None, false, Ended::Closed(reason)) => Err(self.error(&format!("the connection ended ({reason:?})"))),
            (None, false, Ended::Left) => Err(self.error("the connection ended")),
        }
    }
}

/// TLS that trusts this file, or the system.
fn connector(ca: Option<&Path>) -> Result<TlsConnector, TransferError> {
    let failed = |what: String| TransferError::Remote(format!("TLS: {what}"));
    let mut anchors = RootCertStore::empty();
    match ca {
        Some(path) => {
            let unreadable = |error| failed(format!("{}: {error}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                anchors.add(certificate.map_err(unreadable)?).map_err(|error| failed(error.to_string()))?;
            }
        }
        None => {
            anchors.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    Ok(TlsConnector::from(Arc::new(builder.with_root_certificates(anchors).with_no_client_auth())))
}

/// Hears what is told until a command has ended.
struct Until {
    ticket: Option<u64>,
    task: Option<Task>,
    told: Vec<Event>,
    failure: Option<String>,
    done: bool,
}

impl Embedder<Client> for Until {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Ready => self.done = self.ticket.is_none(),
            Event::LoginFailed(failure) => self.failure = Some(format!("the login failed: {failure:?}")),
            Event::Done { ticket, .. } => self.done = self.ticket == Some(ticket),
            Event::Failed { ticket, text, .. } if self.ticket == Some(ticket) => {
                self.failure = Some(format!("{text:?}"))
            }
            Event::NotTaken { ticket, reason } if self.ticket == Some(ticket) => {
                self.failure = Some(format!("the server can't do what is needed: {reason:?}"));
            }
            Event::Data(_) | Event::Found { .. } | Event::Told { .. } => self.told.push(event),
            _ => {}
        }
        if self.done || self.failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn poll_news(&mut self, _: &mut Context<'_>) -> Poll<Task> {
        self.task.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Takes messages as they come into the store, not yet into a folder.
struct Desk<'a> {
    store: &'a dyn MailStore,
    coming: Option<(SeqNum, Box<dyn Upload>)>,
    staged: HashMap<SeqNum, Staged>,
    error: Option<TransferError>,
}

impl Desk<'_> {
    async fn take(&mut self, chunk: BodyChunk) -> Result<(), UploadError> {
        if chunk.offset == 0 {
            let upload = self.store.upload(UploadOptions::new(self.store.caps().max_message)).await?;
            self.coming = Some((chunk.seq, upload));
        }
        let Some((seq, upload)) = self.coming.as_mut().filter(|(seq, _)| *seq == chunk.seq) else { return Ok(()) };
        let whole = chunk.offset + chunk.octets.len() as u64 == chunk.total;
        upload.write(chunk.octets).await?;
        if whole {
            let seq = *seq;
            if let Some((_, upload)) = self.coming.take() {
                self.staged.insert(seq, upload.finish().await?);
            }
        }
        Ok(())
    }
}

impl Fulfil<Client> for Desk<'_> {
    async fn fulfil(&mut self, request: Request) -> Answered {
        let Request::BodyChunk(chunk) = request else { return request.decline() };
        let (chunk, reply) = chunk.split();
        match self.take(chunk).await {
            Ok(()) => reply.answer(ChunkTaken::Taken),
            Err(error) => {
                self.coming = None;
                // One that is too large is left where it is, and told.
                if !matches!(error, UploadError::TooLarge { .. }) {
                    self.error = Some(error.into());
                }
                reply.answer(ChunkTaken::Refused)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_urls() {
        let source: Source = "imaps://ann%40example.org@mail.example.org".parse().unwrap();
        assert_eq!(source.to_string(), "ann@example.org@mail.example.org:993");
        let source: Source = "IMAP://ann@example.org@localhost:1143/".parse().unwrap();
        assert_eq!((source.user.as_str(), source.port, source.implicit), ("ann@example.org", 1143, false));
        for bad in
            ["", "imaps://", "imaps://host", "pop3://a@b", "imaps://@b", "imaps://a@", "imaps://a@b:x", "imaps://a%4@b"]
        {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }
}
