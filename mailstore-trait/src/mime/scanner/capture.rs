//! The front of the first text parts, kept for previews.

/// Which of the two texts.
#[derive(Clone, Copy, Debug)]
pub(in crate::mime) enum Slot {
    Plain,
    Html,
}

/// What a scan keeps beside the structure.
#[derive(Debug)]
pub(in crate::mime) struct Capture {
    max: usize,
    pub(in crate::mime) plain: Option<Captured>,
    pub(in crate::mime) html: Option<Captured>,
    now: Option<Slot>,
    /// The References of the message, unfolded.
    pub(in crate::mime) references: Vec<u8>,
}

/// The front of a part's body, still encoded.
#[derive(Debug)]
pub(in crate::mime) struct Captured {
    /// The part's place in the order of the message.
    pub(in crate::mime) part: usize,
    pub(in crate::mime) octets: Vec<u8>,
}

impl Capture {
    pub(super) fn new(max: usize) -> Capture {
        Capture { max, plain: None, html: None, now: None, references: Vec::new() }
    }

    pub(super) fn has(&self, slot: Slot) -> bool {
        match slot {
            Slot::Plain => self.plain.is_some(),
            Slot::Html => self.html.is_some(),
        }
    }

    fn slot(&mut self, slot: Slot) -> &mut Option<Captured> {
        match slot {
            Slot::Plain => &mut self.plain,
            Slot::Html => &mut self.html,
        }
    }

    /// The body of `part` begins.
    pub(super) fn start(&mut self, slot: Slot, part: usize) {
        *self.slot(slot) = Some(Captured { part, octets: Vec::new() });
        self.now = Some(slot);
    }

    pub(super) fn content(&mut self, octets: &[u8]) {
        let max = self.max;
        let Some(slot) = self.now else { return };
        let Some(captured) = self.slot(slot) else { return };
        let room = max.saturating_sub(captured.octets.len());
        captured.octets.extend_from_slice(octets.get(..room).unwrap_or(octets));
        if octets.len() >= room {
            self.now = None;
        }
    }

    /// `part` ended after `len` octets; what was taken behind that belongs to the delimiter.
    pub(super) fn end(&mut self, part: usize, len: u64) {
        for slot in [Slot::Plain, Slot::Html] {
            if let Some(captured) = self.slot(slot).as_mut().filter(|captured| captured.part == part) {
                captured.octets.truncate(usize::try_from(len).unwrap_or(usize::MAX));
                self.now = None;
            }
        }
    }
}
