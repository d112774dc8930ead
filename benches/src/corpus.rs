//! Commands and messages, the same in every run.
//!
//! Everything is written here or grown from a fixed seed. Sizes are those of the table in `README.md`.

/// A client's commands, as a busy relay sees them: line ends included.
pub const SMTP: [&[u8]; 8] = [
    b"EHLO out7.lists.example.net\r\n",
    SMTP_MAIL,
    SMTP_RCPT,
    b"RCPT TO:<desk@harbour.example.co.uk> NOTIFY=SUCCESS,FAILURE\r\n",
    b"DATA\r\n",
    b"RSET\r\n",
    SMTP_NOOP,
    b"QUIT\r\n",
];

/// MAIL with the parameters most clients send.
pub const SMTP_MAIL: &[u8] = b"MAIL FROM:<tide-tables+return=4711@lists.example.org> SIZE=48213 BODY=8BITMIME\r\n";

/// RCPT without any.
pub const SMTP_RCPT: &[u8] = b"RCPT TO:<keeper.north@lighthouse.example>\r\n";

/// The shortest command.
pub const SMTP_NOOP: &[u8] = b"NOOP\r\n";

/// A client's commands, as a mail reader sends them: line ends included, no literals.
pub const IMAP: [&[u8]; 8] = [
    b"k1 LOGIN keeper \"north light\"\r\n",
    b"k2 SELECT INBOX\r\n",
    b"k3 UID FETCH 1:* (FLAGS)\r\n",
    IMAP_FETCH,
    b"k5 UID STORE 7301:7310 +FLAGS.SILENT (\\Seen $Forwarded)\r\n",
    IMAP_SEARCH,
    b"k7 LIST \"\" \"*\"\r\n",
    IMAP_NOOP,
];

/// FETCH as mail readers fill their message list.
pub const IMAP_FETCH: &[u8] = b"k4 UID FETCH 7301:7310,7400 (UID FLAGS INTERNALDATE RFC822.SIZE \
    BODY.PEEK[HEADER.FIELDS (DATE FROM TO CC SUBJECT MESSAGE-ID REFERENCES)])\r\n";

/// SEARCH with four keys.
pub const IMAP_SEARCH: &[u8] = b"k6 UID SEARCH UNSEEN SINCE 3-Feb-2025 FROM \"pilot\" NOT DELETED\r\n";

/// The shortest command.
pub const IMAP_NOOP: &[u8] = b"k8 NOOP\r\n";

/// A client's commands, as a collector sends them: line ends cut off.
pub const POP3: [&[u8]; 8] =
    [b"USER keeper", b"PASS north light", b"STAT", b"LIST", b"UIDL 17", b"RETR 17", b"TOP 17 20", b"DELE 17"];

/// How many lines of a text begin with a dot, stuffing included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dots {
    /// None.
    None,
    /// One in a hundred.
    Sparse,
    /// Every one: what only an attacker sends.
    All,
}

/// A xorshift generator: no corpus depends on chance.
#[derive(Debug)]
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below a usize")
    }
}

/// Lines of 76 octets of base64, at least `len` octets in all.
#[must_use]
pub fn base64(len: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut seeded = Seeded(0x51D0_2B1A_77C3_9E0F);
    let mut text = Vec::with_capacity(len + 78);
    while text.len() < len {
        text.extend((0..76).map(|_| ALPHABET.get(seeded.below(64)).copied().unwrap_or(b'A')));
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// Lines of words, dots stuffed, at least `len` octets in all. The first line has no dot.
#[must_use]
pub fn text(len: usize, dots: Dots) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "the", "lamp", "turns", "above", "grey", "water", "while", "boats", "keep", "to", "their", "lanes", "and",
        "count", "its", "seconds",
    ];
    let mut seeded = Seeded(0x0D15_EA5E_0F00_1234);
    let mut text = Vec::with_capacity(len + 100);
    let mut lines = 0_usize;
    while text.len() < len {
        let dotted = match dots {
            Dots::None => false,
            Dots::Sparse => lines % 100 == 99,
            Dots::All => lines > 0,
        };
        if dotted {
            text.extend_from_slice(b"..");
        }
        let width = 20 + seeded.below(50);
        let end = text.len() + width;
        while text.len() < end {
            text.extend_from_slice(WORDS.get(seeded.below(16)).copied().unwrap_or("sea").as_bytes());
            text.push(b' ');
        }
        text.pop();
        text.extend_from_slice(b"\r\n");
        lines += 1;
    }
    text
}

/// The header fields most mail has, without the blank line.
fn header(content_type: &str) -> Vec<u8> {
    let fields = format!(
        "Received: from out7.lists.example.net (out7.lists.example.net [198.51.100.7])\r\n\
         \tby mx1.lighthouse.example with ESMTPS id 5Kq1Zt; Tue, 04 Feb 2025 06:12:44 +0100\r\n\
         Received: from desk.example.net (desk.example.net [192.0.2.31])\r\n\
         \tby out7.lists.example.net with ESMTP id 2b7f9c; Tue, 04 Feb 2025 06:12:41 +0100\r\n\
         DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=lists.example.net; s=key1;\r\n\
         \th=from:to:subject:date; bh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=;\r\n\
         \tb=dGhpcyBpcyBub3QgYSByZWFsIHNpZ25hdHVyZSBidXQgaXQgbG9va3MgbGlrZSBvbmU=\r\n\
         Date: Tue, 04 Feb 2025 06:12:40 +0100\r\n\
         From: Mara Quist <mara@lists.example.net>\r\n\
         To: \"North Keeper\" <keeper.north@lighthouse.example>, Desk <desk@harbour.example.co.uk>,\r\n\
         \t=?UTF-8?Q?J=C3=B6rg_Amann?= <joerg@harbour.example.co.uk>\r\n\
         Cc: watch@harbour.example.co.uk\r\n\
         Subject: Tide tables for the week, and a note about the fog horn =?utf-8?b?4pqT?=\r\n\
         Message-ID: <20250204.0612.4711@lists.example.net>\r\n\
         In-Reply-To: <20250203.1840.4690@lighthouse.example>\r\n\
         References: <20250201.0911.4502@lists.example.net> <20250203.1840.4690@lighthouse.example>\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: {content_type}\r\n"
    );
    fields.into_bytes()
}

/// A message of 2 KiB: one text.
#[must_use]
pub fn small_message() -> Vec<u8> {
    text_message(2048)
}

/// A message of one text, at least `len` octets.
#[must_use]
pub fn text_message(len: usize) -> Vec<u8> {
    let mut message = header("text/plain; charset=utf-8");
    message.extend_from_slice(b"\r\n");
    let body = text(len.saturating_sub(message.len()), Dots::None);
    message.extend_from_slice(&body);
    message
}

/// A message of about 30 KB: a text twice, quoted-printable, and a picture.
#[must_use]
pub fn middle_message() -> Vec<u8> {
    let quoted: Vec<u8> =
        text(8000, Dots::None).split(|octet| *octet == b' ').collect::<Vec<_>>().join(&b" =C3=A9"[..]);
    let mut message = header("multipart/mixed; boundary=\"outer-7301\"");
    message.extend_from_slice(
        b"\r\n--outer-7301\r\nContent-Type: multipart/alternative; boundary=\"inner-7301\"\r\n\
          \r\n--inner-7301\r\nContent-Type: text/plain; charset=utf-8\r\n\
          Content-Transfer-Encoding: quoted-printable\r\n\r\n",
    );
    message.extend_from_slice(quoted.get(..5000).unwrap_or_default());
    message.extend_from_slice(
        b"\r\n--inner-7301\r\nContent-Type: text/html; charset=utf-8\r\n\
          Content-Transfer-Encoding: quoted-printable\r\n\r\n<html><body>",
    );
    message.extend_from_slice(&quoted);
    message.extend_from_slice(
        b"</body></html>\r\n--inner-7301--\r\n--outer-7301\r\nContent-Type: image/png; name=\"chart.png\"\r\n\
          Content-Disposition: attachment; filename=\"chart.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\n",
    );
    message.extend_from_slice(&base64(10_000));
    message.extend_from_slice(b"--outer-7301--\r\n");
    message
}

/// A message of 5 MB: a line of text and one attachment.
#[must_use]
pub fn large_message() -> Vec<u8> {
    let mut message = header("multipart/mixed; boundary=\"outer-7302\"");
    message.extend_from_slice(
        b"\r\n--outer-7302\r\nContent-Type: text/plain\r\n\r\nThe chart is attached.\r\n--outer-7302\r\n\
          Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"chart.pdf\"\r\n\
          Content-Transfer-Encoding: base64\r\n\r\n",
    );
    message.extend_from_slice(&base64(5 << 20));
    message.extend_from_slice(b"--outer-7302--\r\n");
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_sizes_the_tables_name() {
        assert!((2048..2200).contains(&small_message().len()));
        assert!((28_000..34_000).contains(&middle_message().len()), "{}", middle_message().len());
        assert!((5 << 20..6 << 20).contains(&large_message().len()));
    }

    #[test]
    fn dots_are_where_they_are_said_to_be() {
        let dotted = |dots| {
            let text = text(64 << 10, dots);
            let lines = text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
            let (mut all, mut some) = (0, 0);
            for line in lines {
                assert!(line.ends_with(b"\r"));
                all += 1;
                some += usize::from(line.starts_with(b".."));
            }
            (some, all)
        };
        assert_eq!(dotted(Dots::None).0, 0);
        let (some, all) = dotted(Dots::Sparse);
        assert_eq!(some, all / 100);
        let (some, all) = dotted(Dots::All);
        assert_eq!(some, all - 1);
    }
}
