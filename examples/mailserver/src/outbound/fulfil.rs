//! What the client asks while it sends one queue entry to one next hop.

use std::path::PathBuf;
use std::sync::Arc;

use mailstore_trait::environment::Environment;
use mailstore_trait::id::QueueId;
use mailstore_trait::sasl::client::{self, Client as Sasl};
use mailstore_trait::sasl::{Context, Credentials as Known, Mechanism, Nonce, Secret};
use mailstore_trait::session::Fulfil;
use mailstore_trait::store::MailStore;
use smtp_proto::client::Client;
use smtp_proto::client::request::{
    Answered, Credentials, Failure, Login, Next, Outcome, Outgoing, Page, Report, Request, Response, Stage,
};

use smtp_proto::delivery::request::Attempted;
use smtp_proto::reply::{EnhancedCode, Reply};

use crate::config::Route;
use crate::environment::System;

/// What is said when a conversation ended without saying anything of the recipients. It may have been taken.
const NO_REPORT: Failure = Failure {
    stage: Stage::FinalDot,
    reply: Reply {
        code: 451,
        enhanced: Some(EnhancedCode::new(4, 4, 2)),
        text: std::borrow::Cow::Borrowed("The connection ended early"),
    },
    remote: false,
};

/// Sends one message, once for each connection that is made.
pub(super) struct Sender {
    store: Arc<dyn MailStore>,
    id: QueueId,
    outgoing: Outgoing,
    /// Whether the connection at hand was given the message.
    handed: bool,
    user: Option<String>,
    password_file: Option<PathBuf>,
    sasl: Option<Sasl>,
    /// What came of the last connection.
    reported: Option<Reported>,
}

/// What a connection said of the message.
pub(super) struct Reported {
    /// One for each recipient.
    pub(super) outcomes: Vec<Outcome>,
    /// Whether the host reports successes itself.
    pub(super) dsn: bool,
    /// Whether it took over by when the message must be delivered.
    pub(super) deliver_by: bool,
    tls: bool,
}

impl Sender {
    pub(super) fn new(store: Arc<dyn MailStore>, id: QueueId, outgoing: Outgoing) -> Sender {
        Sender { store, id, outgoing, handed: false, user: None, password_file: None, sasl: None, reported: None }
    }

    /// A connection is about to be driven: it is given the message once. A new one logs in as the route has it.
    pub(super) fn hand_out(&mut self, route: Option<&Route>) {
        (self.handed, self.reported, self.sasl) = (false, None, None);
        self.user = route.and_then(|route| route.user.clone());
        self.password_file = route.and_then(|route| route.password_file.clone());
    }

    /// The same for every recipient, where no connection said anything.
    pub(super) fn report(&mut self, outcome: &Outcome) {
        let outcomes = vec![outcome.clone(); self.outgoing.envelope.recipients.len()];
        self.reported = Some(Reported { outcomes, dsn: false, deliver_by: false, tls: false });
    }

    /// What the last connection means for other hosts; of one that ended without a report, that it did.
    pub(super) fn attempted(&mut self) -> Attempted {
        if self.reported.is_none() {
            self.report(&NO_REPORT.into());
        }
        Attempted::of(self.reported.as_ref().map_or(&[], |reported| &reported.outcomes))
    }

    /// What the last connection said.
    pub(super) fn into_reported(mut self) -> Option<Reported> {
        self.reported.take()
    }

    /// Whether the last connection had TLS.
    pub(super) fn crossed_tls(&self) -> bool {
        self.reported.as_ref().is_some_and(|reported| reported.tls)
    }

    fn login(&mut self, login: &Login) -> Credentials {
        let (Some(user), Some(path)) = (&self.user, &self.password_file) else { return Credentials::None };
        let Ok(text) = std::fs::read_to_string(path) else {
            tracing::error!(path = %path.display(), "the route's password can't be read");
            return Credentials::Unfit;
        };
        let password = Secret::from(text.lines().next().unwrap_or_default());
        let known = Known::Password { user: user.clone(), password, authzid: None };
        let context = login.tls.as_ref().map_or_else(Context::cleartext, Context::over_tls);
        let offered = login.offered.iter().filter_map(|name| Mechanism::parse(name.as_bytes()));
        let Some(mechanism) = client::choose(offered, &known, &context) else { return Credentials::Unfit };
        let mut random = [0; 18];
        System.fill(&mut random);
        match Sasl::start(mechanism, &known, &context, Nonce::from_random(random)) {
            Ok(mut sasl) => {
                let initial = sasl.initial();
                self.sasl = Some(sasl);
                Credentials::Mechanism { name: mechanism.name().to_owned(), initial }
            }
            Err(_) => Credentials::Unfit,
        }
    }

    async fn page(&self, offset: u64, max: usize) -> Page {
        let Some(queue) = self.store.as_queue() else { return Page::Failed };
        match queue.read(self.id, offset, max).await {
            Ok(octets) if octets.is_empty() => Page::End,
            Ok(octets) => Page::Octets(octets),
            Err(error) => {
                tracing::error!(id = %self.id, %error, "a queued message can't be read");
                Page::Failed
            }
        }
    }
}

impl Fulfil<Client> for Sender {
    async fn fulfil(&mut self, request: Request) -> Answered {
        match request {
            Request::NextMessage(asked) => {
                let first = !std::mem::replace(&mut self.handed, true);
                asked.answer(if first { Next::Send(Box::new(self.outgoing.clone())) } else { Next::Quit })
            }
            Request::Login(asked) => {
                let credentials = self.login(&asked.query);
                asked.answer(credentials)
            }
            Request::Challenge(asked) => {
                let response = self.sasl.as_mut().and_then(|sasl| sasl.challenge(&asked.query.octets).ok());
                asked.answer(response.map_or(Response::Cancel, Response::Octets))
            }
            Request::Succeeded(asked) => {
                let proved = self.sasl.take().is_some_and(|mut sasl| sasl.success(None).is_ok());
                asked.answer(proved)
            }
            Request::ReadBody(asked) => {
                let page = self.page(asked.query.offset, asked.query.max).await;
                asked.answer(page)
            }
            Request::Report(asked) => {
                let (report, reply) = asked.split();
                let Report { outcomes, dsn, deliver_by, tls, .. } = report;
                self.reported = Some(Reported { outcomes, dsn, deliver_by, tls });
                reply.answer(())
            }
            other => other.decline(),
        }
    }
}
