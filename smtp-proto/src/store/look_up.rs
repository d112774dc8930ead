//! VRFY, EXPN and ETRN from the directory and the queue.
//!
//! RFC 5321 §3.5 and §7.3: who has an account here is nobody's business but the users', and theirs only where the policy
//! says so; for everybody else it is 252 and 502. RFC 1985 §5.1.

use mailstore_trait::directory::{Principal, Resolution};
use mailstore_trait::queue::RecipientState;

use super::{Fulfiller, directory_refusal, plain};
use crate::address::{Address, Grammar};
use crate::extension::etrn::{self, Node};
use crate::reply::{self, Reply};
use crate::request::{Expand, ExtensionCommand, Looked, Origin, Verify};

/// Queue entries looked at in one question to the store.
const PAGE: usize = 500;

impl Fulfiller {
    pub(super) async fn verify(&mut self, question: &Verify) -> Looked {
        match self.owners(&question.origin, &question.text).await {
            // RFC 5321 §3.5.1: a name that means several is ambiguous, and EXPN's to tell.
            Ok(Some(owners)) if owners.len() > 1 => Looked::Reply(reply::AMBIGUOUS),
            Ok(Some(owners)) => Looked::Found(owners),
            Ok(None) => Looked::Reply(reply::CANNOT_VERIFY),
            Err(refusal) => Looked::Reply(refusal),
        }
    }

    pub(super) async fn expand(&mut self, question: &Expand) -> Looked {
        match self.owners(&question.origin, &question.text).await {
            Ok(Some(owners)) => Looked::Found(owners),
            Ok(None) => Looked::Reply(reply::NOT_IMPLEMENTED),
            Err(refusal) => Looked::Reply(refusal),
        }
    }

    /// Who has this address, a line each; `None` where that is not told.
    async fn owners(&mut self, origin: &Origin, text: &str) -> Result<Option<Vec<String>>, Reply> {
        self.adopt(origin).await?;
        if !self.policy.look_ups || self.principal.is_none() {
            return Ok(None);
        }
        let text = text.trim_start_matches('<').trim_end_matches('>');
        let Ok(address) = Address::parse(text, Grammar::default().with_utf8(true)) else { return Ok(None) };
        match self.world.directory.resolve(&plain(&address)).await {
            Ok(Resolution::Mailboxes(owners)) if !owners.is_empty() => Ok(Some(owners.iter().map(shown).collect())),
            Ok(Resolution::Forwarded { mailboxes, addresses }) => {
                let onward = addresses.iter().map(|address| format!("<{address}>"));
                Ok(Some(mailboxes.iter().map(shown).chain(onward).collect()))
            }
            Ok(Resolution::Mailboxes(_) | Resolution::NoSuchUser) => Err(reply::UNKNOWN_RECIPIENT),
            Ok(_) => Ok(None),
            Err(error) => Err(directory_refusal(&error)),
        }
    }

    pub(super) async fn extension_command(&mut self, question: &ExtensionCommand) -> Reply {
        match Node::parse(&question.arguments) {
            Some(node) if question.verb == etrn::VERB && self.policy.etrn => self.start_queue(node).await,
            Some(_) if question.verb == etrn::VERB => etrn::NOT_ALLOWED,
            _ => reply::LOCAL_ERROR,
        }
    }

    // RFC 1985 §5.1: what waits for the node is due at once, and goes where the node's MX points.
    async fn start_queue(&mut self, node: Node<'_>) -> Reply {
        let Some(queue) = self.world.store.as_queue() else { return etrn::UNABLE };
        let now = self.world.environment.now();
        let (mut after, mut started) = (None, 0);
        loop {
            let Ok(page) = queue.list(after, PAGE).await else { return etrn::UNABLE };
            let waiting = page.iter().filter(|entry| {
                let to_relay = entry.recipients.iter().filter(|recipient| recipient.state == RecipientState::Relay);
                to_relay.into_iter().any(|recipient| {
                    let domain = recipient.address.rsplit_once('@').map(|(_, domain)| domain);
                    domain.is_some_and(|domain| node.matches(domain))
                })
            });
            let waiting: Vec<_> = waiting.map(|entry| entry.id).collect();
            if !waiting.is_empty() && queue.flush(Some(&waiting), now).await.is_err() {
                return etrn::UNABLE;
            }
            started += waiting.len() as u64;
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.id),
                _ => return etrn::started(started),
            }
        }
    }
}

/// `Full Name <mailbox>`.
fn shown(owner: &Principal) -> String {
    match &owner.display_name {
        Some(name) => format!("{name} <{}>", owner.address),
        None => format!("<{}>", owner.address),
    }
}
