//! async-imap, a Rust IMAP client, over TLS.

use std::sync::Arc;

use futures_util::TryStreamExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::mail;
use crate::server::Server;

#[tokio::test]
async fn a_session_reads_marks_and_files() {
    let server = Server::start("");
    let sent = mail::message("async", 20_000);
    crate::deliver(&server, "bob@example.org", &sent);
    crate::deliver(&server, "bob@example.org", &mail::message("other", 500));

    let tcp = TcpStream::connect(server.address("imaps")).await.expect("a connection");
    let connector = TlsConnector::from(Arc::clone(&server.tls_client()));
    let tls = connector.connect("localhost".try_into().expect("a name"), tcp).await.expect("TLS");
    let mut client = async_imap::Client::new(tls);
    client.read_response().await.expect("a greeting").expect("a greeting");
    let mut session =
        client.login("bob@example.org", "secret of bob").await.map_err(|(error, _)| error).expect("login");

    let capabilities = session.capabilities().await.expect("capabilities");
    for name in ["IMAP4rev1", "IDLE", "UIDPLUS", "MOVE", "NAMESPACE", "SPECIAL-USE", "LITERAL+"] {
        assert!(capabilities.has_str(name), "{name}");
    }
    let mailbox = session.select("INBOX").await.expect("selected");
    assert_eq!(mailbox.exists, 2);
    let fetched: Vec<_> = session
        .uid_fetch("1:*", "(UID FLAGS ENVELOPE BODYSTRUCTURE RFC822.SIZE BODY.PEEK[])")
        .await
        .expect("a fetch")
        .try_collect()
        .await
        .expect("rows");
    assert_eq!(fetched.len(), 2);
    let body = fetched[0].body().expect("a body");
    assert_eq!(fetched[0].size, Some(u32::try_from(body.len()).expect("small")));
    mail::assert_delivered(&String::from_utf8_lossy(body), &sent);
    let envelope = fetched[0].envelope().expect("an envelope");
    assert_eq!(envelope.subject.as_deref(), Some(&b"async"[..]));
    assert!(fetched[0].bodystructure().is_some());

    let flags: Vec<_> = session
        .uid_store("1", "+FLAGS (\\Answered $Forwarded)")
        .await
        .expect("a store")
        .try_collect()
        .await
        .expect("rows");
    assert_eq!(flags.len(), 1);
    let found = session.uid_search("ANSWERED").await.expect("a search");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [1]);
    session.create("Filed").await.expect("a folder");
    session.uid_mv("1", "Filed").await.expect("moved");
    assert_eq!(session.select("Filed").await.expect("selected").exists, 1);
    session.append("Filed", Some("(\\Seen)"), None, &sent).await.expect("appended");
    assert_eq!(session.select("Filed").await.expect("selected").exists, 2);
    session.logout().await.expect("goodbye");
}
