//! TLSRPT: what a domain hears of the TLS that mail for it had.
//!
//! RFC 8460. A domain asks for reports by a TXT record; whoever sends to it counts sessions by policy and, where TLS
//! failed, by reason ([`Results`]), and once a day writes them down ([`Report`]): as JSON, and as the mail that carries
//! it. Sending it is a message like any other, but for its `TLS-Required: No`, since it tells of broken TLS.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use mail_builder::MessageBuilder;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};
use mailstore_trait::date::{DateTime, Timestamp};

use super::request::{Security, Target};
use super::sts::{self, Mode, Policy};

/// Where the TXT record of a domain lies (§3).
#[must_use]
pub fn record_name(domain: &str) -> String {
    format!("_smtp._tls.{domain}")
}

/// Whom a domain's TXT records want reports sent to: `mailto:` and `https:` URIs; none when it wants none.
// RFC 8460 §3: of all records those that begin with the version count, and more than one of them is none.
#[must_use]
pub fn destinations<'a>(records: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut wanted = records.into_iter().filter(|record| sts::is_version(record, "TLSRPTv1"));
    let (Some(record), None) = (wanted.next(), wanted.next()) else { return Vec::new() };
    let Some((_, uris)) = sts::fields(record).find(|(name, _)| *name == "rua") else { return Vec::new() };
    let known = |uri: &&str| uri.starts_with("mailto:") || uri.starts_with("https:");
    uris.split(',').map(str::trim).filter(known).take(DESTINATIONS_MAX).map(str::to_owned).collect()
}

/// Addresses of one domain that reports go to, at most.
const DESTINATIONS_MAX: usize = 10;

/// The mailbox of a `mailto:` URI, its escapes undone; `None` for other URIs.
// RFC 6068 §2: octets that a URI can't hold are written as % and two digits; what follows a ? is of no concern here.
#[must_use]
pub fn mailbox(uri: &str) -> Option<String> {
    let text = uri.strip_prefix("mailto:")?.split('?').next()?;
    let (mut octets, mut rest) = (Vec::new(), text.as_bytes());
    loop {
        rest = match rest {
            [] => break,
            [b'%', high, low, tail @ ..] => {
                let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                octets.push(digit(*high)? << 4 | digit(*low)?);
                tail
            }
            [b'%', ..] => return None,
            [octet, tail @ ..] => {
                octets.push(*octet);
                tail
            }
        };
    }
    String::from_utf8(octets).ok().filter(|text| !text.is_empty())
}

/// Which kind of policy a session was under (§4.4, `policy-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyType {
    /// TLSA records.
    Tlsa,
    /// An MTA-STS policy.
    Sts,
    /// None.
    NoPolicyFound,
}

/// The policy a session was under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    /// Its kind.
    pub kind: PolicyType,
    /// The policy itself, line by line or record by record.
    pub strings: Vec<String>,
    /// The domain it is of.
    pub domain: String,
    /// The hosts it names.
    pub hosts: Vec<String>,
}

impl Applied {
    /// The policy a target of this domain was tried under; `None` where the try is no session of its own: a second one
    /// after TLS failed.
    #[must_use]
    pub fn of(domain: &str, policy: Option<&Policy>, target: &Target) -> Option<Applied> {
        let of = |kind, strings, hosts| Some(Applied { kind, strings, domain: domain.to_owned(), hosts });
        match (&target.security, policy) {
            (Security::Clear, _) => None,
            (Security::Dane { records, .. }, _) => {
                let text = |record: &super::dane::Tlsa| {
                    let mut text = format!("{} {} {} ", record.usage, record.selector, record.matching);
                    record.data.iter().for_each(|octet| text.push_str(&format!("{octet:02x}")));
                    text
                };
                of(PolicyType::Tlsa, records.iter().map(text).collect(), vec![target.host.clone()])
            }
            (Security::Encrypted, _) => of(PolicyType::Tlsa, Vec::new(), vec![target.host.clone()]),
            (Security::Verified { .. }, Some(policy)) if policy.permits(&target.host) => {
                of(PolicyType::Sts, policy.lines.clone(), policy.mx.clone())
            }
            (Security::Opportunistic, Some(policy)) if policy.mode == Mode::Testing && policy.permits(&target.host) => {
                None
            }
            (Security::Verified { .. } | Security::Opportunistic, _) => {
                of(PolicyType::NoPolicyFound, Vec::new(), Vec::new())
            }
        }
    }
}

/// Why TLS failed: the result types of RFC 8460 §4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The host does not offer STARTTLS.
    StartTlsNotSupported,
    /// The certificate is for other names.
    CertificateHostMismatch,
    /// The certificate is too old.
    CertificateExpired,
    /// Nobody this host trusts vouches for the certificate.
    CertificateNotTrusted,
    /// Any other failure.
    ValidationFailure,
    /// No TLSA record means the certificate.
    TlsaInvalid,
    /// DNSSEC calls the answer forged.
    DnssecInvalid,
    /// The MTA-STS policy can't be fetched.
    StsPolicyFetchError,
    /// The MTA-STS policy makes no sense.
    StsPolicyInvalid,
    /// The host of the MTA-STS policy has no valid certificate.
    StsWebpkiInvalid,
}

impl Reason {
    /// The word of `result-type`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Reason::StartTlsNotSupported => "starttls-not-supported",
            Reason::CertificateHostMismatch => "certificate-host-mismatch",
            Reason::CertificateExpired => "certificate-expired",
            Reason::CertificateNotTrusted => "certificate-not-trusted",
            Reason::ValidationFailure => "validation-failure",
            Reason::TlsaInvalid => "tlsa-invalid",
            Reason::DnssecInvalid => "dnssec-invalid",
            Reason::StsPolicyFetchError => "sts-policy-fetch-error",
            Reason::StsPolicyInvalid => "sts-policy-invalid",
            Reason::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }
}

/// A session whose TLS failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failed {
    /// Why.
    pub reason: Reason,
    /// The host, if one was reached.
    pub host: Option<String>,
    /// Its address.
    pub address: Option<IpAddr>,
}

/// Sessions counted since a report was made last, by domain, policy and reason.
#[derive(Debug)]
pub struct Results {
    domains: BTreeMap<String, BTreeMap<Applied, Counts>>,
    most: usize,
    held: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    successes: u64,
    failures: BTreeMap<Failed, u64>,
}

impl Default for Results {
    /// At most 100,000 rows.
    fn default() -> Results {
        Results::new(100_000)
    }
}

impl Results {
    /// At most this many rows of domain, policy and reason; sessions that would need another are not counted.
    #[must_use]
    pub fn new(most: usize) -> Results {
        Results { domains: BTreeMap::new(), most, held: 0 }
    }

    /// Counts a session.
    pub fn record(&mut self, applied: Applied, failed: Option<Failed>) {
        let known = self.domains.get(&applied.domain).and_then(|policies| policies.get(&applied));
        let new_reason = failed.as_ref().is_some_and(|it| known.is_none_or(|counts| !counts.failures.contains_key(it)));
        let grown = self.held + usize::from(known.is_none()) + usize::from(new_reason);
        if grown > self.held && grown > self.most {
            return;
        }
        self.held = grown;
        let policies = self.domains.entry(applied.domain.clone()).or_default();
        let counts = policies.entry(applied).or_default();
        match failed {
            None => counts.successes += 1,
            Some(failed) => *counts.failures.entry(failed).or_default() += 1,
        }
    }

    /// The domains that sessions were counted for.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.keys().map(String::as_str)
    }

    /// Takes what was counted for a domain out, as the body of a report; `None` when nothing was.
    pub fn take(&mut self, domain: &str) -> Option<Policies> {
        let policies = self.domains.remove(domain)?;
        let rows: usize = policies.values().map(|counts| 1 + counts.failures.len()).sum();
        self.held = self.held.saturating_sub(rows);
        Some(Policies(policies))
    }
}

/// What was counted for one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies(BTreeMap<Applied, Counts>);

/// A report of one domain (§4.4).
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Who reports, for people.
    pub organization: &'a str,
    /// This host's name.
    pub submitter: &'a str,
    /// Whom to ask about it, an address.
    pub contact: &'a str,
    /// A name for the report that no other has.
    pub id: &'a str,
    /// The domain it is about.
    pub domain: &'a str,
    /// From when sessions were counted.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// What was counted.
    pub policies: &'a Policies,
}

impl Report<'_> {
    /// The report as JSON (§4.4).
    #[must_use]
    pub fn json(&self) -> String {
        let mut out = String::from("{");
        member(&mut out, "organization-name", self.organization);
        let date = |at: Timestamp| Timestamp::from_seconds(at.seconds()).at_offset(0).rfc3339().to_string();
        let _ = write!(out, ",\"date-range\":{{");
        member(&mut out, "start-datetime", &date(self.from));
        out.push(',');
        member(&mut out, "end-datetime", &date(self.until));
        out.push_str("},");
        member(&mut out, "contact-info", self.contact);
        out.push(',');
        member(&mut out, "report-id", self.id);
        out.push_str(",\"policies\":[");
        for (place, (applied, counts)) in self.policies.0.iter().enumerate() {
            out.push_str(if place == 0 { "{" } else { ",{" });
            policy(&mut out, applied);
            let failures: u64 = counts.failures.values().sum();
            let _ = write!(
                out,
                ",\"summary\":{{\"total-successful-session-count\":{},\"total-failure-session-count\":{failures}}}",
                counts.successes
            );
            out.push_str(",\"failure-details\":[");
            for (place, (failed, count)) in counts.failures.iter().enumerate() {
                out.push_str(if place == 0 { "{" } else { ",{" });
                member(&mut out, "result-type", failed.reason.word());
                if let Some(host) = &failed.host {
                    out.push(',');
                    member(&mut out, "receiving-mx-hostname", host);
                }
                if let Some(address) = failed.address {
                    out.push(',');
                    member(&mut out, "receiving-ip", &address.to_string());
                }
                let _ = write!(out, ",\"failed-session-count\":{count}}}");
            }
            out.push_str("]}");
        }
        out.push_str("]}");
        out
    }

    /// The mail that carries the report (§5.3), from the contact's address. `boundary` stands nowhere in it.
    // RFC 8460 §5.3: multipart/report with a part for people and the JSON. The report is about broken TLS, so none of it
    // may keep the report from arriving (RFC 8689 §3).
    #[must_use]
    pub fn mail(&self, to: &str, date: DateTime, boundary: &str) -> Vec<u8> {
        let (from, until) = (self.from.seconds(), self.until.seconds());
        let text = format!(
            "This is a report about the TLS of mail for {} as {} saw it.\r\nNo answer is expected.\r\n",
            clean(self.domain),
            clean(self.submitter)
        );
        let name = format!("{}!{}!{from}!{until}!{}.json", clean(self.submitter), clean(self.domain), clean(self.id));
        let json = MimePart::new(ContentType::new("application/tlsrpt+json"), BodyPart::Text(self.json().into()))
            .attachment(name);
        let text = MimePart::new(ContentType::new("text/plain").attribute("charset", "utf-8"), text);
        let report =
            ContentType::new("multipart/report").attribute("report-type", "tlsrpt").attribute("boundary", boundary);
        let subject = format!(
            "Report Domain: {} Submitter: {} Report-ID: <{}>",
            clean(self.domain),
            clean(self.submitter),
            clean(self.id)
        );
        let mut message = Vec::new();
        MessageBuilder::new()
            .header("From", Raw::new(format!("<{}>", clean(self.contact))))
            .header("To", Raw::new(format!("<{}>", clean(to))))
            .header("Subject", Raw::new(subject))
            .header("Date", Raw::new(date.to_string()))
            .header("Message-ID", Raw::new(format!("<{}@{}>", clean(self.id), clean(self.submitter))))
            .header("TLS-Report-Domain", Raw::new(clean(self.domain)))
            .header("TLS-Report-Submitter", Raw::new(clean(self.submitter)))
            .header("TLS-Required", Raw::new("No"))
            .header("Auto-Submitted", Raw::new("auto-generated"))
            .body(MimePart::new(report, BodyPart::Multipart(vec![text, json])))
            .serialize(&mut message);
        message
    }
}

fn policy(out: &mut String, applied: &Applied) {
    out.push_str("\"policy\":{");
    let kind = match applied.kind {
        PolicyType::Tlsa => "tlsa",
        PolicyType::Sts => "sts",
        PolicyType::NoPolicyFound => "no-policy-found",
    };
    member(out, "policy-type", kind);
    out.push(',');
    strings(out, "policy-string", &applied.strings);
    out.push(',');
    member(out, "policy-domain", &applied.domain);
    out.push(',');
    strings(out, "mx-host", &applied.hosts);
    out.push('}');
}

fn member(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, "\"{name}\":");
    string(out, value);
}

fn strings(out: &mut String, name: &str, values: &[String]) {
    let _ = write!(out, "\"{name}\":[");
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        string(out, value);
    }
    out.push(']');
}

/// A string of JSON (RFC 8259 §7).
fn string(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A value for a header field: one line.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::delivery::dane::Tlsa;

    #[test]
    fn records_name_destinations() {
        let of = |records: &[&str]| destinations(records.iter().copied());
        assert_eq!(of(&["v=TLSRPTv1;rua=mailto:r@example.com"]), ["mailto:r@example.com"]);
        let two = of(&["x", "v=TLSRPTv1; rua=mailto:r@example.com , https://r.example.com/v1;"]);
        assert_eq!(two, ["mailto:r@example.com", "https://r.example.com/v1"]);
        for none in [&["v=TLSRPTv1"][..], &["v=TLSRPTv1;rua=ftp:x"], &["rua=mailto:x"], &["v=TLSRPTv1;rua=mailto:x"; 2]]
        {
            assert!(of(none).is_empty(), "{none:?}");
        }
        assert_eq!(mailbox("mailto:a%2Bb@example.com?subject=x"), Some("a+b@example.com".into()));
        for none in ["https://x", "mailto:", "mailto:a%2", "mailto:%zz", "mailto:%ff"] {
            assert_eq!(mailbox(none), None, "{none}");
        }
    }

    fn target(security: Security) -> Target {
        Target { host: "mx.d.example".into(), address: ([192, 0, 2, 1], 25).into(), security }
    }

    fn policy_of(mode: &str) -> Policy {
        Policy::parse(format!("version: STSv1\nmode: {mode}\nmx: *.d.example\nmax_age: 1").as_bytes()).unwrap()
    }

    #[test]
    fn a_session_is_counted_once_and_under_its_policy() {
        let kind = |policy: Option<&Policy>, security| {
            Applied::of("d.example", policy, &target(security)).map(|applied| applied.kind)
        };
        let verified = |enforced| Security::Verified { names: Vec::new(), enforced };
        assert_eq!(kind(None, Security::Opportunistic), Some(PolicyType::NoPolicyFound));
        assert_eq!(kind(None, Security::Clear), None, "TLS was tried before");
        assert_eq!(kind(Some(&policy_of("enforce")), verified(true)), Some(PolicyType::Sts));
        assert_eq!(kind(Some(&policy_of("testing")), verified(false)), Some(PolicyType::Sts));
        assert_eq!(kind(Some(&policy_of("testing")), Security::Opportunistic), None);
        assert_eq!(kind(None, Security::Encrypted), Some(PolicyType::Tlsa));
        let records: Arc<[Tlsa]> = [Tlsa { usage: 3, selector: 1, matching: 1, data: vec![1, 255] }].into();
        let dane = target(Security::Dane { records, names: Vec::new() });
        assert_eq!(Applied::of("d.example", None, &dane).unwrap().strings, ["3 1 1 01ff"]);
    }

    #[test]
    fn a_days_results_are_a_report() {
        let mut results = Results::new(5);
        let applied = Applied::of(
            "d.example",
            Some(&policy_of("enforce")),
            &target(Security::Verified { names: Vec::new(), enforced: true }),
        )
        .unwrap();
        let failed =
            |reason| Failed { reason, host: Some("mx.d.example".into()), address: Some([192, 0, 2, 1].into()) };
        results.record(applied.clone(), None);
        results.record(applied.clone(), None);
        results.record(applied.clone(), Some(failed(Reason::CertificateExpired)));
        results.record(applied.clone(), Some(failed(Reason::CertificateExpired)));
        let other = Applied {
            kind: PolicyType::NoPolicyFound,
            strings: vec!["\"\\\n".into()],
            domain: "e.example".into(),
            hosts: Vec::new(),
        };
        results.record(other.clone(), Some(failed(Reason::StartTlsNotSupported)));
        let rows = results.held;
        for host in 0..10 {
            let failed = Failed { host: Some(host.to_string()), ..failed(Reason::ValidationFailure) };
            results.record(other.clone(), Some(failed));
        }
        assert_eq!((rows, results.held), (4, 5), "a limit");
        assert_eq!(results.domains().collect::<Vec<_>>(), ["d.example", "e.example"]);
        let policies = results.take("d.example").unwrap();
        assert_eq!(results.take("d.example"), None);
        let report = Report {
            organization: "Example \"Inc\"",
            submitter: "mail.own.example",
            contact: "tls@own.example",
            id: "5065427c",
            domain: "d.example",
            from: Timestamp::from_seconds(1_459_468_800),
            until: Timestamp::from_seconds(1_459_555_199),
            policies: &policies,
        };
        let json = report.json();
        assert_eq!(
            json,
            "{\"organization-name\":\"Example \\\"Inc\\\"\",\"date-range\":{\"start-datetime\":\"2016-04-01T00:00:00Z\",\
             \"end-datetime\":\"2016-04-01T23:59:59Z\"},\"contact-info\":\"tls@own.example\",\"report-id\":\"5065427c\",\
             \"policies\":[{\"policy\":{\"policy-type\":\"sts\",\"policy-string\":[\"version: STSv1\",\"mode: enforce\",\
             \"mx: *.d.example\",\"max_age: 1\"],\"policy-domain\":\"d.example\",\"mx-host\":[\"*.d.example\"]},\
             \"summary\":{\"total-successful-session-count\":2,\"total-failure-session-count\":2},\
             \"failure-details\":[{\"result-type\":\"certificate-expired\",\"receiving-mx-hostname\":\"mx.d.example\",\
             \"receiving-ip\":\"192.0.2.1\",\"failed-session-count\":2}]}]}"
        );
        let mail = String::from_utf8(report.mail("r@d.example", report.until.at_offset(0), "b1")).unwrap();
        for part in [
            "From: <tls@own.example>\r\n",
            "TLS-Report-Domain: d.example\r\n",
            "TLS-Report-Submitter: mail.own.example\r\n",
            "TLS-Required: No\r\n",
            "report-type=\"tlsrpt\"",
            "application/tlsrpt+json",
            "mail.own.example!d.example!1459468800!1459555199!5065427c.json",
        ] {
            assert!(mail.contains(part), "{part}: {mail}");
        }
        let policies = results.take("e.example").unwrap();
        let json = Report { policies: &policies, ..report }.json();
        assert!(json.contains("[\"\\\"\\\\\\u000a\"]"), "{json}");
        assert_eq!(results.held, 0);
    }
}
