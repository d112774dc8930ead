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
    Answered, Credentials, Login, Next, Outcome, Outgoing, Page, Request, Response, Stage,
};

use crate::config::Route;
use crate::environment::System;

/// What a next hop took over beside the message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    /// To report successes itself.
    pub(super) reports: bool,
    /// By when it must be delivered.
    pub(super) deliver_by: bool,
}

/// Sends one message, once for each connection that is made.
pub(super) struct Sender {
    store: Arc<dyn MailStore>,
    id: QueueId,
    outgoing: Outgoing,
    user: Option<String>,
    password_file: Option<PathBuf>,
    sasl: Option<Sasl>,
    /// What became of the recipients on the last connection, and what its host took over.
    report: Option<(Vec<Outcome>, Taken)>,
}

impl Sender {
    pub(super) fn new(store: Arc<dyn MailStore>, id: QueueId, outgoing: Outgoing, route: &Route) -> Sender {
        let (user, password_file) = (route.user.clone(), route.password_file.clone());
        Sender { store, id, outgoing, user, password_file, sasl: None, report: None }
    }

    pub(super) fn report(&mut self, outcomes: Vec<Outcome>) {
        self.report = Some((outcomes, Taken::default()));
    }

    /// Whether nothing came of the last connection but a failed handshake.
    pub(super) fn handshake_failed(&self) -> bool {
        self.report.as_ref().is_some_and(|(outcomes, _)| {
            !outcomes.is_empty()
                && outcomes.iter().all(|outcome| {
                    matches!(outcome, Outcome::Deferred(failure) | Outcome::Failed(failure) if failure.stage == Stage::StartTls)
                })
        })
    }

    /// What became of every recipient; of a conversation that ended without a report, nothing did.
    pub(super) fn into_outcomes(self, recipients: usize) -> (Vec<Outcome>, Taken) {
        self.report.unwrap_or_else(|| (vec![super::deferred(super::NO_REPORT); recipients], Taken::default()))
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
                let next = if asked.query.sent == 0 { Next::Send(Box::new(self.outgoing.clone())) } else { Next::Quit };
                asked.answer(next)
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
                let taken = Taken { reports: report.dsn, deliver_by: report.deliver_by };
                self.report = Some((report.outcomes, taken));
                reply.answer(())
            }
            other => other.decline(),
        }
    }
}
