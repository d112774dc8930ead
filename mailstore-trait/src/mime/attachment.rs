//! Whether a message has attachments, as a list of messages shows it (RFC 8621 §4.1.4, hasAttachment).

use smallvec::SmallVec;

use super::skeleton::{Children, PartKind, PartRef};

/// What holds a part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Parts after the first belong to it and are shown inside.
    Related,
    /// Parts are forms of one content, or say something about it.
    Alternative,
    Other,
}

/// Whether some part is more than the text of the message and what is shown inside it.
pub(super) fn has_attachment(root: PartRef<'_>) -> bool {
    if root.kind() != PartKind::Multipart {
        return is_attachment(&root, Holder::Other, true);
    }
    let mut open: SmallVec<[(Children<'_>, Holder, bool); 8]> = SmallVec::new();
    open.push((root.children(), holder(&root), true));
    while let Some((children, of, first)) = open.last_mut() {
        let Some(part) = children.next() else {
            open.pop();
            continue;
        };
        let (of, is_first) = (*of, std::mem::take(first));
        if part.kind() == PartKind::Multipart {
            open.push((part.children(), holder(&part), true));
        } else if is_attachment(&part, of, is_first) {
            return true;
        }
    }
    false
}

fn holder(part: &PartRef<'_>) -> Holder {
    let content_type = part.content_type();
    if content_type.is("multipart", "related") {
        Holder::Related
    } else if ["alternative", "report", "digest"].iter().any(|subtype| content_type.is("multipart", subtype)) {
        Holder::Alternative
    } else {
        Holder::Other
    }
}

fn is_attachment(part: &PartRef<'_>, holder: Holder, first: bool) -> bool {
    if part.is_synthetic() {
        return false;
    }
    let content_type = part.content_type();
    let disposition = part.disposition();
    let is_disposed = |wanted: &[u8]| {
        disposition.is_some_and(|disposition| disposition.disposition_type.eq_ignore_ascii_case(wanted))
    };
    // Signatures and the like are marked as attachments by some programs; they are not what a reader looks for.
    let wrapping = ["pgp-signature", "pkcs7-signature", "x-pkcs7-signature", "pgp-encrypted"]
        .iter()
        .any(|subtype| content_type.is("application", subtype));
    if wrapping {
        return false;
    }
    if is_disposed(b"attachment") {
        return true;
    }
    match holder {
        Holder::Alternative => return false,
        Holder::Related if !first => return false,
        Holder::Related | Holder::Other => {}
    }
    if content_type.is("text", "*") {
        return part.file_name().is_some();
    }
    !(is_disposed(b"inline") && content_type.is("image", "*"))
}
