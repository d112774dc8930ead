//! Who submits: whose address they may use, and how much they may send.
//!
//! RFC 6409 §6.1. Only users are held to anything here: a relay takes mail from everybody.

use std::time::Duration;

use mailstore_trait::directory::Resolution;

use super::{Fulfiller, directory_refusal, plain};
use crate::config::Role;
use crate::reply::{self, EnhancedCode, Reply};
use crate::request::{MailFrom, Origin};

impl Fulfiller {
    /// Brings what is known here of a login in line with what the session knows.
    pub(super) async fn adopt(&mut self, origin: &Origin) -> Result<(), Reply> {
        let Some(identity) = &origin.identity else {
            // RFC 3207 §4.2: the session forgets a login made in clear when TLS comes up, and so does this side.
            self.principal = None;
            return Ok(());
        };
        if self.principal.as_ref().is_some_and(|principal| principal.address == *identity) {
            return Ok(());
        }
        // Nobody logged in here: a trusted proxy says who did with it (XCLIENT).
        self.principal = None;
        match self.world.directory.resolve(identity).await {
            // Only who bears the address: mail for it may come to somebody else.
            Ok(Resolution::Mailboxes(owners)) => {
                self.principal = owners.into_iter().find(|owner| owner.address.eq_ignore_ascii_case(identity));
                self.principal.as_ref().map(|_| ()).ok_or(reply::AUTH_REQUIRED)
            }
            Ok(_) => Err(reply::AUTH_REQUIRED),
            Err(error) => Err(directory_refusal(&error)),
        }
    }

    // RFC 6409 §6.1: who submits may be held to their own addresses.
    pub(super) async fn submitter(&mut self, question: &MailFrom) -> Result<(), Reply> {
        if self.policy.role != Role::Submission {
            return Ok(());
        }
        let Some(principal) = self.principal.clone() else { return Err(reply::AUTH_REQUIRED) };
        if let Some(address) = &question.sender.address
            && self.policy.own_addresses_only
        {
            let known = principal.owns(address.as_str()) || principal.owns(&plain(address));
            // An address that the directory knows as the account's is its owner's too, whatever form it was written in.
            let owned = known
                || self
                    .world
                    .directory
                    .owns(principal.account, &plain(address))
                    .await
                    .map_err(|error| directory_refusal(&error))?;
            if !owned {
                return Err(reply::SENDER_NOT_OWNED);
            }
        }
        match &self.policy.rates {
            Some(rates) => {
                let now = self.world.environment.now();
                rates.message(principal.account, now).map_err(|wait| too_many("messages", wait))
            }
            None => Ok(()),
        }
    }

    // RFC 6409 §8.1: Sender names who submitted a message that was written by others, as far as its From says.
    pub(super) async fn sender(&mut self) -> Option<String> {
        let principal = self.principal.clone().filter(|principal| principal.address.is_ascii())?;
        let authors = self.header.authors();
        for author in &authors {
            // Whoever can't be asked for now is taken for the user: nothing wrong is said then.
            if principal.owns(author) || self.world.directory.owns(principal.account, author).await.unwrap_or(true) {
                return None;
            }
        }
        (!authors.is_empty()).then_some(principal.address)
    }

    /// Takes a recipient from the allowance of who submits.
    pub(super) fn spend_recipient(&self) -> Result<(), Reply> {
        match (&self.policy.rates, &self.principal) {
            (Some(rates), Some(principal)) if self.policy.role == Role::Submission => {
                let now = self.world.environment.now();
                rates.recipient(principal.account, now).map_err(|wait| too_many("recipients", wait))
            }
            _ => Ok(()),
        }
    }
}

fn too_many(what: &str, wait: Duration) -> Reply {
    let minutes = wait.as_secs().div_ceil(60).max(1);
    Reply::new(450, EnhancedCode::new(4, 7, 1), format!("Too many {what} in a short time, try again in {minutes} min"))
}
