//! Files that only their owner may read.

use std::io::Write;
use std::path::Path;

/// Writes a file that nobody but its owner can read, from its first octet on.
pub(crate) fn write_private(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}
