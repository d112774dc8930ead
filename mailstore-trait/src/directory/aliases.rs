//! Addresses that stand for others: aliases, forwarding, catch-alls and plus-addresses, in front of any directory.
//!
//! One table does all of it, as Postfix's virtual aliases do. An entry's targets are resolved in their turn, here or in the
//! directory behind; a target that is the entry's own address is the mailbox itself.
//!
//! | entry | meaning |
//! |---|---|
//! | `info@example.org` → `ann@example.org` | an alias |
//! | `team@example.org` → `ann@example.org`, `eve@elsewhere.example` | a list, also of other hosts' addresses |
//! | `ann@example.org` → `eve@elsewhere.example` | forwarding |
//! | `ann@example.org` → `ann@example.org`, `eve@elsewhere.example` | forwarding, a copy stays |
//! | `@example.org` → `ann@example.org` | whatever nobody else of the domain has |
//!
//! With a delimiter, `ann+lists@example.org` is `ann@example.org` where nobody has it as it stands (RFC 5233 §1).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Directory, Principal, Resolution};
use crate::error::DirectoryError;
use crate::future::BoxFuture;
use crate::id::AccountId;

/// What addresses stand for: in lower case, `@domain` for all others of a domain.
pub type AliasTable = BTreeMap<String, Vec<String>>;

/// A directory behind a table of aliases. See the [module documentation](self).
#[derive(Debug)]
pub struct Aliases<D> {
    inner: D,
    table: RwLock<Arc<AliasTable>>,
    delimiter: Option<char>,
}

impl<D> Aliases<D> {
    /// A directory without aliases yet; a local part is cut at the delimiter, `+` most often.
    #[must_use]
    pub fn new(inner: D, delimiter: Option<char>) -> Aliases<D> {
        Aliases { inner, table: RwLock::default(), delimiter }
    }

    /// Replaces the table. Whoever asks from now on sees it.
    pub fn set(&self, entries: impl IntoIterator<Item = (String, Vec<String>)>) {
        let table = entries.into_iter().map(|(address, targets)| (address.to_lowercase(), targets)).collect();
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// The directory behind.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    fn table(&self) -> Arc<AliasTable> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The address without its detail: `ann@x` of `ann+lists@x`.
    fn plain(&self, address: &str) -> Option<String> {
        let (local, domain) = address.rsplit_once('@')?;
        let (user, _) = local.split_once(self.delimiter?)?;
        (!user.is_empty()).then(|| format!("{user}@{domain}"))
    }
}

impl<D: Directory> Aliases<D> {
    /// Whose this address is in the directory itself, with its detail or without.
    async fn direct(&self, address: &str) -> Result<Resolution, DirectoryError> {
        let found = self.inner.resolve(address).await?;
        match (&found, self.plain(address)) {
            (Resolution::NoSuchUser, Some(plain)) => self.inner.resolve(&plain).await,
            _ => Ok(found),
        }
    }

    async fn expand(&self, address: &str) -> Result<Resolution, DirectoryError> {
        let table = self.table();
        let mut found = Found::default();
        // Entries that were followed: each once, so that entries which name each other come to an end.
        let mut followed = BTreeSet::new();
        let mut left = VecDeque::from([address.to_owned()]);
        while let Some(address) = left.pop_front() {
            let exact = address.to_lowercase();
            let plain = self.plain(&exact);
            let entry = [Some(&exact), plain.as_ref()].into_iter().flatten().find_map(|key| table.get_key_value(key));
            if let Some((key, targets)) = entry.filter(|(key, _)| !followed.contains(*key)) {
                followed.insert(key);
                left.extend(targets.iter().cloned());
                continue;
            }
            match self.direct(&address).await? {
                Resolution::Mailboxes(owners) => found.add_mailboxes(owners),
                Resolution::Forwarded { mailboxes, addresses } => {
                    found.add_mailboxes(mailboxes);
                    addresses.into_iter().for_each(|address| found.add_address(address));
                }
                Resolution::NotLocal => found.add_address(address),
                Resolution::NoSuchUser => {
                    let rest = exact.rfind('@').and_then(|at| table.get_key_value(exact.get(at..)?));
                    if let Some((key, targets)) = rest
                        && followed.insert(key)
                    {
                        left.extend(targets.iter().cloned());
                    }
                }
            }
        }
        Ok(match (found.mailboxes.is_empty(), found.addresses.is_empty()) {
            (true, true) => Resolution::NoSuchUser,
            (false, true) => Resolution::Mailboxes(found.mailboxes),
            // Nothing stood for it: it is another host's from the start.
            (true, false) if followed.is_empty() => Resolution::NotLocal,
            (_, false) => Resolution::Forwarded { mailboxes: found.mailboxes, addresses: found.addresses },
        })
    }
}

/// What was found so far, each once.
#[derive(Default)]
struct Found {
    mailboxes: Vec<Principal>,
    addresses: Vec<String>,
}

impl Found {
    fn add_mailboxes(&mut self, owners: Vec<Principal>) {
        for owner in owners {
            if !self.mailboxes.iter().any(|have| have.account == owner.account) {
                self.mailboxes.push(owner);
            }
        }
    }

    fn add_address(&mut self, address: String) {
        if !self.addresses.iter().any(|have| have.eq_ignore_ascii_case(&address)) {
            self.addresses.push(address);
        }
    }
}

impl<D: Directory> Directory for Aliases<D> {
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Resolution, DirectoryError>> {
        Box::pin(self.expand(address))
    }

    fn principal(&self, account: AccountId) -> BoxFuture<'_, Result<Principal, DirectoryError>> {
        self.inner.principal(account)
    }

    /// Its own addresses, with a detail too, and those whose entry names one of them. Whoever somebody's mail is forwarded
    /// to does not own their address for it.
    fn owns<'a>(&'a self, account: AccountId, address: &'a str) -> BoxFuture<'a, Result<bool, DirectoryError>> {
        Box::pin(async move {
            match self.direct(address).await? {
                Resolution::Mailboxes(owners) => return Ok(owners.iter().any(|owner| owner.account == account)),
                Resolution::NoSuchUser => {}
                Resolution::NotLocal | Resolution::Forwarded { .. } => return Ok(false),
            }
            let table = self.table();
            let exact = address.to_lowercase();
            let rest = exact.rfind('@').and_then(|at| exact.get(at..));
            let entry = table.get(&exact).or_else(|| table.get(rest?));
            for target in entry.into_iter().flatten() {
                if let Resolution::Mailboxes(owners) = self.direct(target).await?
                    && owners.iter().any(|owner| owner.account == account)
                {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::directory::MemDirectory;

    fn directory(entries: &[(&str, &[&str])]) -> Aliases<MemDirectory> {
        let inner = MemDirectory::new();
        for user in ["ann", "bob", "c+d"] {
            inner.add(&format!("{user}@example.org"), "secret").unwrap();
        }
        let aliases = Aliases::new(inner, Some('+'));
        aliases.set(entries.iter().map(|(address, targets)| {
            ((*address).to_owned(), targets.iter().map(|target| (*target).to_owned()).collect())
        }));
        aliases
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// Mailboxes and addresses as one line.
    fn resolved(directory: &Aliases<MemDirectory>, address: &str) -> String {
        let names = |owners: Vec<Principal>| owners.into_iter().map(|it| it.address.replace("@example.org", ""));
        match now(directory.resolve(address)).unwrap() {
            Resolution::Mailboxes(owners) => names(owners).collect::<Vec<_>>().join(" "),
            Resolution::Forwarded { mailboxes, addresses } => {
                names(mailboxes).chain(addresses).collect::<Vec<_>>().join(" ")
            }
            Resolution::NoSuchUser => "nobody".into(),
            Resolution::NotLocal => "elsewhere".into(),
        }
    }

    #[test]
    fn addresses_stand_for_others() {
        let directory = directory(&[
            ("INFO@example.org", &["ann@example.org"]),
            ("team@example.org", &["info@example.org", "BOB@example.org", "eve@elsewhere.example"]),
            ("bob@example.org", &["bob@example.org", "b@elsewhere.example"]),
            ("gone@example.org", &["nobody@example.org"]),
        ]);
        for (address, whose) in [
            ("ann@example.org", "ann"),
            ("info@EXAMPLE.org", "ann"),
            ("team@example.org", "eve@elsewhere.example ann b@elsewhere.example bob"),
            ("bob@example.org", "bob b@elsewhere.example"),
            ("gone@example.org", "nobody"),
            ("nobody@example.org", "nobody"),
            ("x@elsewhere.example", "elsewhere"),
        ] {
            let mut words: Vec<_> = resolved(&directory, address).split(' ').map(str::to_owned).collect();
            let mut expected: Vec<_> = whose.split(' ').map(str::to_owned).collect();
            words.sort();
            expected.sort();
            assert_eq!(words, expected, "{address}");
        }
    }

    #[test]
    fn details_belong_to_the_user() {
        let directory =
            directory(&[("team+all@example.org", &["bob@example.org"]), ("bob@example.org", &["x@y.example"])]);
        assert_eq!(resolved(&directory, "ann+lists@example.org"), "ann");
        assert_eq!(resolved(&directory, "ann+a+b@example.org"), "ann");
        assert_eq!(resolved(&directory, "c+d@example.org"), "c+d", "somebody who is called so");
        assert_eq!(resolved(&directory, "team+all@example.org"), "x@y.example");
        assert_eq!(resolved(&directory, "bob+lists@example.org"), "x@y.example", "forwarding is for details too");
        assert_eq!(resolved(&directory, "+ann@example.org"), "nobody");
        assert_eq!(resolved(&directory, "ann+x@elsewhere.example"), "elsewhere");
    }

    #[test]
    fn a_catch_all_gets_what_nobody_has() {
        let directory = directory(&[("@example.org", &["ann@example.org", "nobody@example.org"])]);
        assert_eq!(resolved(&directory, "whoever@example.org"), "ann");
        assert_eq!(resolved(&directory, "bob@example.org"), "bob");
        assert_eq!(resolved(&directory, "whoever+x@example.org"), "ann");
        assert_eq!(resolved(&directory, "whoever@elsewhere.example"), "elsewhere");
    }

    #[test]
    fn entries_that_name_each_other_come_to_an_end() {
        let directory = directory(&[
            ("a@example.org", &["b@example.org"]),
            ("b@example.org", &["a@example.org", "ann@example.org"]),
            ("ann@example.org", &["bob@example.org"]),
            ("bob@example.org", &["ann@example.org"]),
        ]);
        assert_eq!(resolved(&directory, "a@example.org"), "ann", "the circle ends in a mailbox where there is one");
        assert_eq!(resolved(&directory, "bob@example.org"), "bob");
    }

    #[test]
    fn what_is_forwarded_stays_its_owners() {
        let directory = directory(&[
            ("ann@example.org", &["bob@example.org"]),
            ("info@example.org", &["ann@example.org"]),
            ("@example.org", &["bob@example.org"]),
        ]);
        let owns = |account, address| now(directory.owns(AccountId::new(account).unwrap(), address)).unwrap();
        assert!(owns(1, "ann@example.org") && owns(1, "ann+x@example.org") && owns(1, "info@example.org"));
        assert!(!owns(2, "ann@example.org") && !owns(2, "info@example.org"), "bob gets it, and does not own it");
        assert!(owns(2, "whatever@example.org") && !owns(1, "whatever@example.org"));
        assert!(!owns(1, "x@elsewhere.example"));
    }
}
