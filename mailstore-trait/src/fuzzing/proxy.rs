//! The PROXY header.

use crate::proxy::{Read, read};

/// A header at the front of a stream: what is asked for is asked for once, and a whole header stays one.
pub fn proxy_header(data: &[u8]) {
    let mut at = 0;
    while let Some(octets) = data.get(..at) {
        match read(octets) {
            Ok(Read::More(more)) => {
                assert!(more > 0);
                at += more;
            }
            Ok(Read::Header(header)) => {
                assert_eq!(read(octets), Ok(Read::Header(header)));
                return;
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn proxy_header_seeds_replay() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/proxy_header");
        let mut seeds = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            super::proxy_header(&seed);
            for at in 0..seed.len() {
                super::proxy_header(&seed[..at]);
                for flip in [0x01, 0x80, 0xff] {
                    let mut other = seed.clone();
                    other[at] ^= flip;
                    super::proxy_header(&other);
                }
            }
            seeds += 1;
        }
        assert!(seeds >= 5);
    }
}
