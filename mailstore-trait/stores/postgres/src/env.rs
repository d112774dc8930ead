//! What all parts of a store share.

use mailstore_trait::date::Timestamp;

use crate::blobs::Blobs;
use crate::config::Config;
use crate::hints::Hints;
use crate::link::Link;
use crate::uid_cache::UidCache;

/// The time: the one that was given in this parameter, or else the database's, so that all machines have one clock.
macro_rules! now {
    ($given:literal) => {
        concat!("coalesce(", $given, "::int8, floor(extract(epoch FROM clock_timestamp()) * 1000)::int8)")
    };
}
pub(crate) use now;

/// Asks the time.
pub(crate) const NOW: &str = concat!("SELECT ", now!("$1"));

pub(crate) struct Env {
    pub(crate) config: Config,
    pub(crate) link: Link,
    pub(crate) blobs: Box<dyn Blobs>,
    pub(crate) hints: Hints,
    pub(crate) uids: UidCache,
}

impl Env {
    /// The time when it does not come from the database.
    pub(crate) fn given_now(&self) -> Option<i64> {
        self.config.clock.as_ref().map(|clock| {
            let Timestamp(now) = clock();
            now
        })
    }
}
