//! An SMTP server that takes everything and keeps nothing: what a session costs by itself, beside Postfix's `smtp-sink`.
//!
//! `smtp-discard ADDRESS`, one thread, until it is ended. Used by `benches/compare/smtp_postfix.py`.

use std::sync::Arc;

use mailstore_trait::drive::{DriveLimits, Plain, Silent, drive};
use mailstore_trait::session::{Fulfil, Peer};
use smtp_proto::request::{Answered, Committed, Decision, Request};
use smtp_proto::{Config, Server};
use tokio::net::TcpListener;

/// Takes everything.
struct Discard;

impl Fulfil<Server> for Discard {
    async fn fulfil(&mut self, request: Request) -> Answered {
        match request {
            Request::MailFrom(asked) => asked.answer(Decision::Accepted),
            Request::RcptTo(asked) => {
                let all = asked.query.accept_all();
                asked.answer(all)
            }
            Request::BodyOpen(asked) => asked.answer(Decision::Accepted),
            Request::BodyChunk(asked) => {
                let (chunk, reply) = asked.split();
                drop(chunk);
                reply.answer(Decision::Accepted)
            }
            Request::Commit(asked) => asked.answer(Committed::Accepted("discarded".into())),
            other => other.decline(),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening smtp {}", listener.local_addr()?);
    let config = Arc::new(Config::new("localhost"));
    loop {
        let (tcp, address) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let mut session = Server::new(Arc::clone(&config), Peer::new(address));
        tokio::spawn(async move {
            drive(&mut session, &mut Plain(tcp), &mut Discard, &mut Silent, &DriveLimits::default()).await
        });
    }
}
