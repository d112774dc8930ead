//! What SPF, DKIM, ARC and DMARC say of a message, and what this host then does.
//!
//! RFC 7208, RFC 6376, RFC 8617, RFC 9989 by the mail-auth crate; the field is RFC 8601's, the decision RFC 9989 §5.4's.

use std::net::IpAddr;

use mail_auth::common::headers::HeaderWriter;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    ArcOutput, AuthenticatedMessage, AuthenticationResults, DkimResult, DmarcOutput, DmarcResult, MessageAuthenticator,
    SpfOutput,
};
use mailstore_trait::folder::Role;
use smtp_proto::reply::{EnhancedCode, Reply};
use smtp_proto::store::{Accepted, Verdict};

use super::claims;
use super::hashes::Hashes;
use crate::config::{Authentication, Enforcement};

/// Who sent a message.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) peer: IpAddr,
    pub(super) hello: String,
    /// Empty for the null reverse-path.
    pub(super) sender: String,
}

/// Looks a message up by its header and the hashes of its body, and says what becomes of it.
pub(super) async fn verify(
    resolver: &MessageAuthenticator,
    config: &Authentication,
    host: &str,
    sent: &Sent,
    header: &[u8],
    hashes: Hashes,
) -> Verdict {
    // RFC 5322 §3.6: From stands there once. With two of them, what is checked may not be what the reader is shown.
    if config.dmarc != Enforcement::Mark && claims::fields(header).filter(|field| is_from(field)).count() > 1 {
        return Verdict::Refused(SEVERAL_AUTHORS);
    }
    let helo = resolver.verify_spf(SpfParameters::verify_ehlo(sent.peer, &sent.hello, host)).await;
    let spf = match sent.sender.as_str() {
        "" => helo.clone(),
        sender => resolver.verify_spf(SpfParameters::verify_mail_from(sent.peer, &sent.hello, host, sender)).await,
    };
    let results = AuthenticationResults::new(host);
    let results = match sent.sender.as_str() {
        "" => results.with_spf_ehlo_result(&helo, sent.peer, &sent.hello),
        sender => results.with_spf_mailfrom_result(&spf, sent.peer, sender, &sent.hello),
    };
    let Some(mut parsed) = AuthenticatedMessage::parse(header) else {
        return marked(&results, ";\r\n\tdkim=none");
    };
    hashes.fill(&mut parsed);
    // RFC 6376 §6.1: how many signatures are looked at is the verifier's choice; each asks DNS for a key. Those of a
    // chain belong together, so one that is too long is left alone.
    parsed.dkim_headers.truncate(config.signatures);
    if parsed.as_headers.len() > config.signatures {
        parsed.as_headers.clear();
        parsed.ams_headers.clear();
        parsed.aar_headers.clear();
    }
    let dkim = resolver.verify_dkim(&parsed).await;
    let arc = resolver.verify_arc(&parsed).await;
    let domain = sent.sender.rsplit_once('@').map_or(sent.hello.as_str(), |(_, domain)| domain);
    let dmarc = resolver
        .verify_dmarc(DmarcParameters {
            message: &parsed,
            dkim_output: &dkim,
            dkim2_output: None,
            rfc5321_mail_from_domain: domain,
            spf_output: &spf,
        })
        .await;
    let results = results.with_dkim_results(&dkim, parsed.from());
    let results = match arc.result() {
        DkimResult::None => results,
        _ => results.with_arc_result(&arc, sent.peer),
    };
    let results = results.with_dmarc_result(&dmarc);
    let verdict = decide(config, &dmarc, &arc);
    tracing::debug!(peer = %sent.peer, domain = dmarc.domain(), spf = %result(&spf), dmarc = %dmarc.result(), ?verdict, "authenticated");
    match verdict {
        Decision::Accept => marked(&results, ""),
        Decision::Junk => match marked(&results, "") {
            Verdict::Accepted(accepted) => Verdict::Accepted(Accepted { folder: Some(Role::Junk), ..accepted }),
            refused => refused,
        },
        Decision::Refuse => Verdict::Refused(refusal(dmarc.domain())),
    }
}

fn result(spf: &SpfOutput) -> String {
    spf.result().to_string().to_lowercase()
}

/// Accepted, with what was found out in front.
fn marked(results: &AuthenticationResults<'_>, more: &str) -> Verdict {
    let mut fields = results.to_header();
    if !more.is_empty() {
        fields.truncate(fields.trim_end().len());
        fields.push_str(more);
        fields.push_str("\r\n");
    }
    Verdict::Accepted(Accepted { fields, ..Accepted::default() })
}

/// What is done about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Accept,
    Junk,
    Refuse,
}

// RFC 9989 §5.4: the domain says what it wants done with a message that fails, the receiver decides. One whose look-ups
// failed for now is taken: refusing it for a time would hold up mail for somebody's broken DNS.
fn decide(config: &Authentication, dmarc: &DmarcOutput, arc: &ArcOutput<'_>) -> Decision {
    if !matches!(dmarc.result(), DmarcResult::Fail(_)) || is_vouched_for(config, arc) {
        return Decision::Accept;
    }
    match (dmarc.policy(), config.enforcement(dmarc.domain())) {
        (Policy::None | Policy::Unspecified, _) | (_, Enforcement::Mark) => Decision::Accept,
        (Policy::Quarantine, _) | (_, Enforcement::Quarantine) => Decision::Junk,
        (Policy::Reject, Enforcement::Enforce) => Decision::Refuse,
    }
}

// RFC 8617 §7.2.1: a chain that holds, whose last seal is of a host we trust, says what the message was before.
fn is_vouched_for(config: &Authentication, arc: &ArcOutput<'_>) -> bool {
    let sealer = arc.sets().last().map(|set| set.seal.header.d.as_str());
    *arc.result() == DkimResult::Pass
        && sealer.is_some_and(|sealer| config.trusted_sealers.iter().any(|ours| ours.eq_ignore_ascii_case(sealer)))
}

// RFC 9989 §8.3 suggests a text that names the domain.
fn refusal(domain: &str) -> Reply {
    // The domain is from the message, so only what a domain may hold goes into the reply.
    let domain: String = domain.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).take(255).collect();
    let text = format!("Not authenticated as {domain}, whose DMARC policy is to refuse it").into();
    Reply { code: 550, enhanced: Some(EnhancedCode::new(5, 7, 1)), text }
}

fn is_from(field: &[u8]) -> bool {
    claims::value(field, "From").is_some()
}

const SEVERAL_AUTHORS: Reply = Reply {
    code: 550,
    enhanced: Some(EnhancedCode::new(5, 7, 1)),
    text: std::borrow::Cow::Borrowed("From stands in the header more than once"),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_holds_nothing_of_the_message_but_a_domain() {
        assert!(!refusal("evil.example\r\n250 OK").text.contains('\r'));
    }
}
