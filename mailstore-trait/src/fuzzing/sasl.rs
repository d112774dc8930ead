//! SASL machines fed hostile peers, and verifier records of any text.

use bytes::Bytes;

use crate::password::Verifier;
use crate::sasl::{
    Answer, Ask, Client, Context, Credentials, Failure, Mechanism, Nonce, Refusal, ScramVerifier, Secret, Server, Step,
};

/// Between the messages of one exchange: an octet that no valid message holds.
const SEPARATOR: u8 = 0xfe;

/// The mechanism that the first octet names, the context that the bits of the second describe, and the rest.
fn scene(data: &[u8]) -> Option<(Mechanism, Context, u8, &[u8])> {
    let (&[index, bits], messages) = data.split_first_chunk::<2>()?;
    let mechanism = *Mechanism::ALL.get(usize::from(index) % Mechanism::ALL.len())?;
    let bit = |n: u8| bits & (1 << n) != 0;
    let mut context = Context::cleartext();
    context.tls = !bit(0);
    context.exporter = bit(1).then_some([7; 32]);
    context.end_point = bit(2).then(|| Bytes::from_static(&[9; 32]));
    context.peer_certificate = Some(Bytes::from_static(b"der"));
    context.plus_offered = bit(3);
    context.oauth.scope = bit(4).then(|| "a \"b\"".to_owned());
    context.limits.min_iterations = 1;
    context.limits.max_iterations = 16;
    Some((mechanism, context, bits, messages))
}

fn nonce(text: &str) -> Nonce {
    Nonce::from_printable(text).unwrap_or_else(|| Nonce::from_random([0; 18]))
}

/// A server whose peer sends the messages of `data`. Whoever gets in was accepted by an answer.
pub fn sasl_server(data: &[u8]) {
    let Some((mechanism, context, bits, messages)) = scene(data) else { return };
    let mut messages = messages.split(|octet| *octet == SEPARATOR);
    let initial = if bits & 0x20 == 0 { messages.next() } else { None };
    let (accepts, limit) = (bits & 0x40 == 0, context.limits.message);
    let mut proved = false;
    let (mut server, mut step) = Server::start(mechanism, context, nonce("server"), initial);
    loop {
        step = match step {
            Step::Challenge(challenge) => {
                assert!(challenge.len() <= 2 * limit, "a challenge is about as long as what was sent");
                match messages.next() {
                    Some(message) => server.response(message),
                    None => return,
                }
            }
            Step::Ask(ask) => {
                let answer = match ask {
                    Ask::ScramKeys { user, hash } => {
                        Answer::Keys(ScramVerifier::fake(&Secret::from("secret"), &user, hash, 4096))
                    }
                    _ if !accepts => Answer::Refuse(Refusal::Credentials),
                    Ask::Authorize { authzid, .. } => {
                        assert!(proved, "who acts as another is proved first");
                        Answer::Accept(authzid)
                    }
                    _ => {
                        proved = true;
                        Answer::Accept("tim".to_owned())
                    }
                };
                server.answer(answer)
            }
            Step::Done(identity) => {
                assert!(proved && accepts, "nobody gets in unasked");
                assert_eq!(identity.user, "tim");
                return;
            }
            Step::Failed(failure) => {
                assert_ne!(failure, Failure::Misuse, "the peer cannot make us misuse the machine");
                assert!(matches!(server.response(b""), Step::Failed(Failure::Misuse)));
                return;
            }
        };
    }
}

/// A client whose server sends the messages of `data`. A server that cannot prove itself in SCRAM is not believed.
pub fn sasl_client(data: &[u8]) {
    let Some((mechanism, context, bits, messages)) = scene(data) else { return };
    let credentials = match mechanism {
        Mechanism::OauthBearer | Mechanism::Xoauth2 => Credentials::Token {
            user: Some("tim".to_owned()),
            token: Secret::from("token"),
            host: Some("mail.example.org".to_owned()),
            port: Some(993),
        },
        Mechanism::External => Credentials::Certificate { authzid: None },
        _ => Credentials::Password { user: "tim".to_owned(), password: Secret::from("pencil"), authzid: None },
    };
    let Ok(mut client) = Client::start(mechanism, &credentials, &context, nonce("client")) else { return };
    if bits & 0x20 == 0 {
        client.initial();
    }
    let mut last = None;
    for message in messages.split(|octet| *octet == SEPARATOR) {
        if client.challenge(message).is_err() {
            break;
        }
        last = Some(message);
    }
    let believed = client.success(last.filter(|_| bits & 0x80 != 0)).is_ok();
    assert!(!believed || mechanism.scram_hash().is_none(), "a proof without the password");
}

/// A verifier record of any text: what is read is written back the same, and a cheap one is checked.
pub fn verifier_record(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(verifier) = Verifier::parse(text) else { return };
    let record = verifier.to_string();
    assert!(Verifier::parse(&record).is_ok_and(|again| again == verifier), "{record}");
    if let Verifier::Argon2(argon2) = &verifier {
        let cost = argon2.cost();
        if cost.memory_kib <= 64 && cost.passes == 1 {
            assert!(!verifier.verify(&Secret::from("no password of any seed")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn replay(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
        let mut seeds = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            run(&seed);
            // Cut short at every octet, and with every octet another.
            for at in 0..seed.len() {
                run(&seed[..at]);
                for flip in [0x01, 0x80, 0xff] {
                    let mut other = seed.clone();
                    other[at] ^= flip;
                    run(&other);
                }
            }
            seeds += 1;
        }
        assert!(seeds >= 5, "{target}: {seeds} seeds");
    }

    #[test]
    fn sasl_server_seeds_replay() {
        replay("sasl_server", sasl_server);
    }

    #[test]
    fn sasl_client_seeds_replay() {
        replay("sasl_client", sasl_client);
    }

    #[test]
    fn verifier_record_seeds_replay() {
        replay("verifier_record", verifier_record);
    }
}
