//! The reports of TLSRPT: what was counted of the TLS of mail to a domain, sent to whoever the domain names (RFC 8460).

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use mailstore_trait::batch::Batch;
use mailstore_trait::date::Timestamp;
use mailstore_trait::environment::Environment;
use mailstore_trait::error::CommitError;
use mailstore_trait::id::{BatchId, QueueId};
use mailstore_trait::queue::{QueueOp, RecipientState};
use mailstore_trait::store::UploadOptions;
use smtp_proto::address::{Address, Grammar};
use smtp_proto::delivery::tlsrpt::{self, Report};
use smtp_proto::queue::entry;
use smtp_proto::request::{Envelope, Recipient, Sender};

use super::Outbound;
use crate::environment::System;

/// Who reports, and how often.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    pub(super) contact: Address,
    pub(super) hostname: String,
    pub(super) every: Duration,
}

/// Reports, as long as there is a worker. What was counted since the last report is lost when the server ends.
pub(super) async fn report(outbound: Weak<Outbound>, reporter: Reporter) {
    let mut from = System.now();
    loop {
        tokio::time::sleep(reporter.every).await;
        let Some(outbound) = outbound.upgrade() else { return };
        let until = System.now();
        let domains: Vec<String> = outbound.relay.lookups().results(|it| it.domains().map(str::to_owned).collect());
        for domain in domains {
            if let Err(error) = about(&outbound, &reporter, &domain, from, until).await {
                tracing::warn!(domain, %error, "a TLS report can't be queued");
            }
        }
        from = until;
    }
}

async fn about(
    outbound: &Outbound,
    reporter: &Reporter,
    domain: &str,
    from: Timestamp,
    until: Timestamp,
) -> Result<(), CommitError> {
    let lookups = outbound.relay.lookups();
    let records = lookups.resolver().txt(&tlsrpt::record_name(domain)).await;
    let records = records.map(|found| found.records).unwrap_or_default();
    let Some(policies) = lookups.results(|it| it.take(domain)) else { return Ok(()) };
    let wanted = tlsrpt::destinations(records.iter().map(String::as_str));
    for to in wanted.iter().filter_map(|uri| tlsrpt::mailbox(uri)) {
        let Ok(to) = Address::parse(&to, Grammar::default()) else { continue };
        let mut id = [0; 32];
        System.fill(&mut id);
        let (id, boundary) = id.split_at(16);
        let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let report = Report {
            organization: &reporter.hostname,
            submitter: &reporter.hostname,
            contact: reporter.contact.as_str(),
            id: &hex(id),
            domain,
            from,
            until,
            policies: &policies,
        };
        let message = report.mail(to.as_str(), until.at_offset(0), &hex(boundary));
        tracing::info!(domain, to = to.as_str(), "a TLS report");
        queue(outbound, reporter, to, message.into()).await?;
    }
    Ok(())
}

async fn queue(outbound: &Outbound, reporter: &Reporter, to: Address, message: Bytes) -> Result<(), CommitError> {
    let store = &*outbound.world.store;
    let unavailable = |error| CommitError::Unavailable(Box::new(error));
    let size = message.len() as u64;
    let mut upload = store.upload(UploadOptions::new(size)).await.map_err(unavailable)?;
    upload.write(message).await.map_err(unavailable)?;
    let content = upload.finish().await.map_err(unavailable)?;
    let envelope = Envelope::new(Sender::new(Some(reporter.contact.clone())), vec![Recipient::new(to)]);
    let environment: &dyn Environment = &System;
    let states = [(0, RecipientState::Relay, None)];
    let entry = entry::entry(QueueId(environment.id()), &envelope, states, size, System.now());
    let mut batch = Batch::empty(BatchId(environment.id()));
    batch.queue.push(QueueOp::Append { entry, trace: Bytes::new(), content });
    store.commit(batch).await?;
    outbound.queued.notify_one();
    Ok(())
}
