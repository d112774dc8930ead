//! Receives messages over SMTP and prints them: the whole of what embedding a session takes.
//!
//! `cargo run -p minimal-smtp`, then in another terminal:
//! `curl smtp://127.0.0.1:2526 --mail-from a@example.org --mail-rcpt b@example.org -T message.txt`

use std::sync::Arc;

use mailstore_trait::drive::{DriveLimits, Plain, Silent, drive};
use mailstore_trait::session::{Fulfil, Peer};
use smtp_proto::request::{Answered, Committed, Decision, Request};
use smtp_proto::{Config, Server};
use tokio::net::TcpListener;

/// Answers the session's questions: takes everything, keeps the body in memory, prints it when it is whole.
#[derive(Default)]
struct Print {
    body: Vec<u8>,
}

impl Fulfil<Server> for Print {
    async fn fulfil(&mut self, request: Request) -> Answered {
        match request {
            Request::MailFrom(asked) => asked.answer(Decision::Accepted),
            Request::RcptTo(asked) => {
                let all = asked.query.accept_all();
                asked.answer(all)
            }
            Request::BodyOpen(asked) => {
                self.body.clear();
                asked.answer(Decision::Accepted)
            }
            Request::BodyChunk(asked) => {
                asked.query.pieces.iter().for_each(|piece| self.body.extend_from_slice(piece));
                asked.answer(Decision::Accepted)
            }
            Request::Commit(asked) => {
                let to: Vec<String> = asked.query.envelope.recipients.iter().map(|to| to.address.to_string()).collect();
                println!(
                    "--- {} octets for {}\n{}",
                    asked.query.size,
                    to.join(", "),
                    String::from_utf8_lossy(&self.body)
                );
                asked.answer(Committed::Accepted("printed".into()))
            }
            // Whatever else is asked has a safe refusal.
            other => other.decline(),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:2526").await?;
    println!("listening smtp {}", listener.local_addr()?);
    let config = Arc::new(Config::new("localhost"));
    loop {
        let (tcp, address) = listener.accept().await?;
        let mut session = Server::new(Arc::clone(&config), Peer::new(address));
        tokio::spawn(async move {
            let ended =
                drive(&mut session, &mut Plain(tcp), &mut Print::default(), &mut Silent, &DriveLimits::default()).await;
            eprintln!("{address}: {ended:?}");
        });
    }
}
