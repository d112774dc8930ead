//! lettre, a Rust SMTP client: submission over STARTTLS and over TLS, one connection for many messages.

use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};

use crate::server::Server;

fn transport(server: &Server, service: &str, wrapped: bool, mechanism: Mechanism) -> SmtpTransport {
    let pem = std::fs::read(server.certificate()).expect("a certificate");
    let parameters = TlsParameters::builder("localhost".to_owned())
        .add_root_certificate(Certificate::from_pem(&pem).expect("PEM"))
        .build()
        .expect("parameters");
    SmtpTransport::builder_dangerous("127.0.0.1")
        .port(server.address(service).port())
        .tls(if wrapped { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
        .credentials(Credentials::new("ann@example.org".to_owned(), "secret of ann".to_owned()))
        .authentication(vec![mechanism])
        .build()
}

fn message(to: &str) -> Message {
    let parse = |address: &str| address.parse::<Mailbox>().expect("an address");
    Message::builder()
        .from(parse("Ann <ann@example.org>"))
        .to(parse(to))
        .subject("Grüße mit Anhang")
        .multipart(
            MultiPart::mixed().singlepart(SinglePart::plain("Zeile eins\r\n.\r\n..zwei\r\n".to_owned())).singlepart(
                Attachment::new("a.bin".to_owned())
                    .body(vec![0u8; 4096], "application/octet-stream".parse().expect("a type")),
            ),
        )
        .expect("a message")
}

#[test]
fn many_messages_go_over_one_connection() {
    let server = Server::start("");
    for (service, wrapped, mechanism) in
        [("submission", false, Mechanism::Plain), ("submissions", true, Mechanism::Login)]
    {
        let transport = transport(&server, service, wrapped, mechanism);
        for _ in 0..5 {
            let response = transport.send(&message("Bob <bob@example.org>")).expect("accepted");
            assert!(response.is_positive());
        }
    }
    let mut imap = crate::imap_login(&server, "bob");
    assert!(imap.ask("s SELECT INBOX", "s OK").contains(&"* 10 EXISTS".to_owned()));
}

#[test]
fn a_refused_recipient_is_the_clients_permanent_error() {
    let server = Server::start("");
    let transport = transport(&server, "submissions", true, Mechanism::Plain);
    let error = transport.send(&message("nobody@example.org")).expect_err("refused");
    assert!(error.is_permanent(), "{error}");
    transport.send(&message("bob@example.org")).expect("the next message is accepted");
}
