//! The configuration: every key optional, unknown keys refused, relative paths relative to the file.

mod aliases;
mod authentication;
mod dns;
mod network;
mod receiving;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub(crate) use aliases::{Delimiter, Targets};
pub(crate) use authentication::{Authentication, Dkim, Enforcement};
pub(crate) use dns::Dns;
pub(crate) use network::Network;
pub(crate) use receiving::{BareLineEnds, Proxy, Smtp, Submission};
pub(crate) use units::{Octets, Span};

/// What the server is to do. `mailserver.toml` beside the sources shows all keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// This host's name: greetings, trace headers, the generated certificate.
    pub(crate) hostname: String,
    /// The domains whose mailboxes are here.
    pub(crate) domains: Vec<String>,
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// How long a shutdown may take.
    pub(crate) shutdown_grace: Span,
    /// Lets passwords of POP3 and IMAP cross connections without TLS: for loopback, tests and old machines. SMTP's never
    /// do.
    pub(crate) cleartext_logins: bool,
    pub(crate) listen: Listen,
    pub(crate) tls: Option<Tls>,
    pub(crate) store: Store,
    pub(crate) outbound: Outbound,
    pub(crate) dns: Dns,
    pub(crate) authentication: Authentication,
    /// Addresses that stand for others.
    pub(crate) aliases: BTreeMap<String, Targets>,
    /// What cuts the detail off a local part.
    pub(crate) recipient_delimiter: Delimiter,
    pub(crate) smtp: Smtp,
    pub(crate) submission: Submission,
    pub(crate) proxy: Proxy,
    pub(crate) sharing: Sharing,
    pub(crate) limits: Limits,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            hostname: "localhost".into(),
            domains: vec!["localhost".into()],
            data_dir: "mailserver-data".into(),
            shutdown_grace: Span(Duration::from_secs(10)),
            cleartext_logins: false,
            listen: Listen::defaults(),
            tls: None,
            store: Store::default(),
            outbound: Outbound::default(),
            dns: Dns::default(),
            authentication: Authentication::default(),
            aliases: BTreeMap::new(),
            recipient_delimiter: Delimiter::default(),
            smtp: Smtp::default(),
            submission: Submission::default(),
            proxy: Proxy::default(),
            sharing: Sharing::default(),
            limits: Limits::default(),
        }
    }
}

/// Mailboxes of several people (IMAP).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sharing {
    /// The address of the account whose mailboxes are the shared namespace.
    pub(crate) shared: Option<String>,
    /// The addresses of those who may set quotas.
    pub(crate) administrators: Vec<String>,
}

/// Where each service listens. With a `[listen]` table, a missing key is not served.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    pub(crate) smtp: Addresses,
    pub(crate) submission: Addresses,
    pub(crate) submissions: Addresses,
    pub(crate) lmtp: Addresses,
    pub(crate) pop3: Addresses,
    pub(crate) pop3s: Addresses,
    pub(crate) imap: Addresses,
    pub(crate) imaps: Addresses,
    pub(crate) https: Addresses,
    pub(crate) metrics: Addresses,
}

impl Listen {
    fn defaults() -> Listen {
        let local = |port| Addresses(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
        Listen {
            smtp: local(2525),
            submission: local(2587),
            submissions: local(2465),
            pop3: local(2110),
            pop3s: local(2995),
            imap: local(2143),
            imaps: local(2993),
            ..Listen::default()
        }
    }
}

/// One address or several.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "OneOrMany")]
pub(crate) struct Addresses(pub(crate) Vec<SocketAddr>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<OneOrMany> for Addresses {
    type Error = String;

    fn try_from(value: OneOrMany) -> Result<Addresses, String> {
        let texts = match value {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        };
        let parse = |text: String| {
            text.parse().map_err(|_| format!("{text:?} is not an address with a port, such as \"127.0.0.1:2143\""))
        };
        texts.into_iter().map(parse).collect::<Result<_, _>>().map(Addresses)
    }
}

/// The certificate to show.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The storage engine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    pub(crate) engine: Engine,
    pub(crate) url: Option<String>,
    pub(crate) blobs: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    #[default]
    Embedded,
    Postgres,
}

/// How mail leaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Outbound {
    /// The first whose domain matches is taken. Mail for any other domain goes to the hosts that its MX records name.
    pub(crate) routes: Vec<Route>,
    /// The port of these hosts.
    pub(crate) port: u16,
    /// Whether the policies of MTA-STS are asked for and kept to.
    pub(crate) mta_sts: bool,
    /// The port these policies are fetched from.
    pub(crate) policy_port: u16,
    /// Trust anchors in PEM instead of the system's, for hosts that must be verified.
    pub(crate) ca: Option<PathBuf>,
    /// How long a connection is kept for the next message.
    pub(crate) keep: Span,
    /// Whom reports about the TLS of other domains come from (RFC 8460); none are sent without it.
    pub(crate) tls_reports: Option<String>,
    /// How often they are sent.
    pub(crate) tls_reports_every: Span,
    /// Pauses between attempts; the last is repeated.
    pub(crate) retry: Vec<Span>,
    /// When a message is returned undelivered.
    pub(crate) give_up: Span,
    /// When its sender is told that it is late.
    pub(crate) delay_notice: Span,
    /// Messages on their way at the same time.
    pub(crate) concurrency: usize,
    /// Keys that sign what users send.
    pub(crate) dkim: Vec<Dkim>,
    /// Of these, with one next hop.
    pub(crate) per_destination: usize,
    /// From the start of one conversation with a next hop to the start of the next.
    pub(crate) spacing: Option<Span>,
    /// How long a next hop that can't be reached is left alone at first; doubled each time.
    pub(crate) backoff: Span,
    /// How long it is left alone at most.
    pub(crate) backoff_max: Span,
    /// After which time another process takes over what one that died had begun to send.
    pub(crate) lease: Span,
}

impl Default for Outbound {
    fn default() -> Outbound {
        let minutes = |minutes: u64| Span(Duration::from_secs(minutes * 60));
        Outbound {
            routes: Vec::new(),
            port: smtp_port(),
            mta_sts: true,
            policy_port: 443,
            ca: None,
            keep: Span(Duration::from_secs(5)),
            tls_reports: None,
            tls_reports_every: Span(Duration::from_secs(86_400)),
            retry: vec![minutes(5), minutes(10), minutes(20), minutes(40), minutes(80), minutes(160), minutes(240)],
            give_up: Span(Duration::from_secs(5 * 86_400)),
            delay_notice: Span(Duration::from_secs(4 * 3600)),
            dkim: Vec::new(),
            concurrency: 100,
            per_destination: 20,
            spacing: None,
            backoff: minutes(1),
            backoff_max: minutes(60),
            lease: minutes(2),
        }
    }
}

/// The next hop of some domain.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// The domain, `*.example.org` for all below it, `*` for all.
    pub(crate) domain: String,
    pub(crate) host: String,
    #[serde(default = "smtp_port")]
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) tls: RouteTls,
    /// Who to log in as.
    pub(crate) user: Option<String>,
    /// A file whose first line is the password.
    pub(crate) password_file: Option<PathBuf>,
    /// Trust anchors in PEM instead of the system's.
    pub(crate) ca: Option<PathBuf>,
}

fn smtp_port() -> u16 {
    25
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RouteTls {
    None,
    #[default]
    Opportunistic,
    Required,
    Implicit,
}

impl RouteTls {
    /// As the configuration has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            RouteTls::None => "none",
            RouteTls::Opportunistic => "opportunistic",
            RouteTls::Required => "required",
            RouteTls::Implicit => "implicit",
        }
    }
}

impl Route {
    /// Whether this route is for mail to `domain`.
    pub(crate) fn matches(&self, domain: &str) -> bool {
        matches(&self.domain, domain)
    }
}

/// Whether a domain is this one, below this `*.` one, or any for `*`.
fn matches(pattern: &str, domain: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(parent) => domain.len() > parent.len() && ends_with_ignoring_case(domain, parent),
        None => pattern.eq_ignore_ascii_case(domain),
    }
}

fn ends_with_ignoring_case(text: &str, end: &str) -> bool {
    let at = text.len().checked_sub(end.len());
    at.and_then(|at| text.get(at..)).is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

/// What one peer may cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// The largest message.
    pub(crate) message_size: Octets,
    /// Connections from one address at the same time.
    pub(crate) connections_per_address: usize,
    /// Connections in all.
    pub(crate) connections: usize,
    /// Failed logins after which a connection ends, and after which an address has to wait.
    pub(crate) failed_logins: u32,
    /// How long a client that is logged in may be silent. Each protocol's own minimum holds.
    pub(crate) idle_time: Span,
    /// The longest command line, where a protocol does not ask for more.
    pub(crate) line_length: Octets,
    /// Recipients of one message.
    pub(crate) recipients: usize,
    /// How much mail accounts that are added from now on may hold; no limit without it.
    pub(crate) quota: Option<Octets>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_size: Octets(50 * 1024 * 1024),
            connections_per_address: 100,
            connections: 10_000,
            failed_logins: 10,
            idle_time: Span(Duration::from_secs(30 * 60)),
            line_length: Octets(64 * 1024),
            recipients: 1000,
            quota: None,
        }
    }
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{key}: {problem}")]
    Value { key: &'static str, problem: String },
}

impl Config {
    /// Reads the file that was named, or the one that lies here, or none.
    pub(crate) fn load(named: Option<&Path>) -> Result<Config, ConfigError> {
        let here = Path::new("mailserver.toml");
        let config = match named {
            Some(path) => Config::read(path)?,
            None if here.exists() => Config::read(here)?,
            None => Config::default(),
        };
        config.check()?;
        Ok(config)
    }

    fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let mut config: Config = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.into(), source: Box::new(source) })?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Makes relative paths relative to the file they were written in.
    fn resolve(&mut self, base: &Path) {
        self.data_dir = base.join(&self.data_dir);
        if let Some(tls) = &mut self.tls {
            tls.certificate = base.join(&tls.certificate);
            tls.key = base.join(&tls.key);
        }
        for dkim in &mut self.outbound.dkim {
            dkim.key = base.join(&dkim.key);
        }
        self.outbound.ca = self.outbound.ca.as_ref().map(|path| base.join(path));
        self.dns.trust_anchor = self.dns.trust_anchor.as_ref().map(|path| base.join(path));
        for route in &mut self.outbound.routes {
            route.password_file = route.password_file.as_ref().map(|path| base.join(path));
            route.ca = route.ca.as_ref().map(|path| base.join(path));
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: String| Err(ConfigError::Value { key, problem });
        if !is_domain(&self.hostname) {
            return wrong("hostname", format!("{:?} is not a host name", self.hostname));
        }
        if self.domains.is_empty() {
            return wrong("domains", "at least one domain is needed".into());
        }
        if let Some(domain) = self.domains.iter().find(|domain| !is_domain(domain)) {
            return wrong("domains", format!("{domain:?} is not a domain"));
        }
        if let Some(address) = self.aliases.keys().find(|address| !address.contains('@')) {
            return wrong(
                "aliases",
                format!("{address:?} is neither an address nor, as in \"@example.org\", a whole domain"),
            );
        }
        if self.store.engine == Engine::Postgres {
            return wrong("store.engine", "this build has the embedded store only".into());
        }
        if self.store.url.is_some() || self.store.blobs.is_some() {
            return wrong("store", "url and blobs are for engine = \"postgres\"".into());
        }
        if let Some(contact) = self.outbound.tls_reports.as_ref().filter(|it| !it.contains('@')) {
            return wrong("outbound.tls_reports", format!("{contact:?} is not an address"));
        }
        if self.outbound.retry.is_empty() {
            return wrong("outbound.retry", "at least one pause is needed".into());
        }
        for route in &self.outbound.routes {
            if route.user.is_some() != route.password_file.is_some() {
                return wrong("outbound.routes", format!("{}: user and password_file go together", route.domain));
            }
            if route.user.is_some() && matches!(route.tls, RouteTls::None | RouteTls::Opportunistic) {
                return wrong(
                    "outbound.routes",
                    format!("{}: a login needs tls = \"required\" or \"implicit\"", route.domain),
                );
            }
        }
        if let Some(key) = self.outbound.dkim.iter().find(|key| !is_domain(&key.domain) || !is_domain(&key.selector)) {
            return wrong(
                "outbound.dkim",
                format!("{:?} and {:?} must be a domain and a name in it", key.domain, key.selector),
            );
        }
        if self.limits.line_length.0 < 1000 {
            return wrong("limits.line_length", "at least 1000 octets (RFC 5321 §4.5.3.1.6)".into());
        }
        if self.limits.recipients < 100 {
            return wrong("limits.recipients", "at least 100 (RFC 5321 §4.5.3.1.8)".into());
        }
        if let Some(keyword) = self.smtp.solicitations.iter().find(|keyword| !is_keyword(keyword)) {
            return wrong("smtp.solicitations", format!("{keyword:?} is not a solicitation class keyword"));
        }
        if self.submission.hold.0.as_secs() > 999_999_999 {
            return wrong("submission.hold", "at most 999999999 seconds (RFC 4865)".into());
        }
        for (key, zero) in [
            ("smtp.messages", self.smtp.messages == 0),
            ("limits.message_size", self.limits.message_size.0 == 0),
            ("limits.connections", self.limits.connections == 0),
            ("limits.connections_per_address", self.limits.connections_per_address == 0),
            ("limits.failed_logins", self.limits.failed_logins == 0),
            ("outbound.concurrency", self.outbound.concurrency == 0),
        ] {
            if zero {
                return wrong(key, "must not be 0".into());
            }
        }
        Ok(())
    }

    /// Whether mail for this domain is delivered here.
    pub(crate) fn is_local(&self, domain: &str) -> bool {
        self.domains.iter().any(|ours| ours.eq_ignore_ascii_case(domain))
    }
}

/// RFC 3865 §2.2.
fn is_keyword(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_' | b':'))
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    name.len() <= 253 && name.split('.').all(label)
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_configuration_is_read() {
        let config = parse(
            r#"
            hostname = "mail.example.org"
            domains = ["example.org"]
            shutdown_grace = "3s"
            [listen]
            smtp = "127.0.0.1:2525"
            imap = ["127.0.0.1:2143", "[::1]:0"]
            [outbound]
            routes = [{ domain = "*", host = "127.0.0.1", port = 2626, tls = "opportunistic" }]
            retry = ["5m", "10m", "20m"]
            give_up = "5d"
            [limits]
            message_size = "50MiB"
            "#,
        )
        .unwrap();
        assert_eq!(config.limits.message_size.0, 50 << 20);
        assert_eq!(config.listen.imap.0.len(), 2);
        assert!(config.listen.pop3.0.is_empty());
        assert_eq!(config.outbound.retry[1].0, Duration::from_secs(600));
        assert!(config.is_local("EXAMPLE.org"));
    }

    #[test]
    fn the_example_file_shows_the_defaults_and_every_key() {
        let text = include_str!("../mailserver.toml");
        let mut shown = parse(text).unwrap();
        shown.hostname = "localhost".into();
        shown.domains = vec!["localhost".into()];
        assert_eq!(format!("{shown:?}"), format!("{:?}", Config::default()));

        // What is behind "# " is read too, once it is taken away.
        let uncommented: Vec<&str> = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest)
                    if rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
                {
                    rest
                }
                _ => line,
            })
            .collect();
        let all = parse(&uncommented.join("\n")).unwrap();
        assert_eq!((all.listen.lmtp.0.len(), all.outbound.routes.len(), all.tls.is_some()), (1, 1, true));
    }

    #[test]
    fn mistakes_name_the_key() {
        for (text, part) in [
            ("hostnam = \"x\"", "hostnam"),
            ("domains = []", "domains"),
            ("hostname = \"a b\"", "hostname"),
            ("[listen]\nimap = \"2143\"", "127.0.0.1:2143"),
            ("[limits]\nmessage_size = \"50 parsecs\"", "50 parsecs"),
            ("[limits]\nidle_time = \"soon\"", "soon"),
            ("[limits]\nline_length = 10", "line_length"),
            ("[store]\nengine = \"postgres\"", "store.engine"),
            ("[outbound]\nretry = []", "outbound.retry"),
            ("[smtp]\nsolicitations = [\"a b\"]", "smtp.solicitations"),
            ("[smtp]\nbare_line_ends = \"maybe\"", "bare_line_ends"),
            ("[submission]\nper = \"0s\"", "0s"),
            ("[proxy]\ntrusted = [\"nearby\"]", "nearby"),
            ("[outbound]\ntls_reports = \"me\"", "outbound.tls_reports"),
            ("[outbound]\nroutes = [{ domain = \"*\", host = \"h\", user = \"u\" }]", "password_file"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn routes_match_by_domain() {
        let route = |domain: &str| Route {
            domain: domain.into(),
            host: "h".into(),
            port: 25,
            tls: RouteTls::None,
            user: None,
            password_file: None,
            ca: None,
        };
        assert!(route("*").matches("example.org"));
        assert!(route("Example.org").matches("example.ORG"));
        assert!(!route("example.org").matches("a.example.org"));
        assert!(route("*.example.org").matches("a.example.org"));
        assert!(!route("*.example.org").matches("example.org"));
        assert!(!route("*.example.org").matches(".example.org"));
    }
}
