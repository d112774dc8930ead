//! Buffers that lie apart.
//!
//! A processor copies several times slower between addresses that agree in their last 12 bits than between others, and
//! the allocator would decide by chance which a race gets. So what is copied in a race lies half a page off the place it
//! is copied to.

const PAGE: usize = 4096;

/// Octets half a page off another buffer.
#[derive(Debug)]
pub struct Placed {
    octets: Vec<u8>,
    pad: usize,
}

impl Placed {
    /// Nothing yet, and room for `room` octets, beside the buffer at this address.
    #[must_use]
    pub fn beside(address: usize, room: usize) -> Placed {
        let mut octets: Vec<u8> = Vec::with_capacity(room + 2 * PAGE);
        let off = octets.as_ptr().addr().wrapping_sub(address) % PAGE;
        let pad = (PAGE + PAGE / 2 - off) % PAGE;
        octets.resize(pad, 0);
        Placed { octets, pad }
    }

    /// These octets, beside the buffer at this address.
    #[must_use]
    pub fn copied(octets: &[u8], address: usize) -> Placed {
        let mut placed = Placed::beside(address, octets.len());
        placed.emptied().extend_from_slice(octets);
        placed
    }

    /// Forgets the octets; behind what is in the vector then, new ones go.
    pub fn emptied(&mut self) -> &mut Vec<u8> {
        self.octets.truncate(self.pad);
        &mut self.octets
    }

    /// The octets.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.octets.get(self.pad..).unwrap_or_default()
    }

    /// Where they lie.
    #[must_use]
    pub fn address(&self) -> usize {
        self.octets.as_ptr().addr() + self.pad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placed_is_half_a_page_off() {
        for address in [0, 1, 16, 2048, 4095, 70_000] {
            let placed = Placed::copied(b"octets", address);
            assert_eq!(placed.address().wrapping_sub(address) % PAGE, PAGE / 2);
            assert_eq!(placed.as_slice(), b"octets");
        }
    }
}
