//! Maildirs, with subfolders as Maildir++ has them (`.Work.2026`).

use std::io;
use std::path::{Path, PathBuf};

use mailstore_trait::flags::{FlagSet, Keyword, SystemFlags};

/// The file in which Dovecot keeps the letters of a folder's keywords (`0 $Forwarded`).
const KEYWORDS: &str = "dovecot-keywords";

/// The letters of a Maildir's flags.
const LETTERS: [(char, SystemFlags); 5] = [
    ('D', SystemFlags::DRAFT),
    ('F', SystemFlags::FLAGGED),
    ('R', SystemFlags::ANSWERED),
    ('S', SystemFlags::SEEN),
    ('T', SystemFlags::DELETED),
];

/// Whether this is a Maildir folder.
pub(super) fn is_maildir(path: &Path) -> bool {
    path.join("cur").is_dir() && path.join("new").is_dir()
}

/// The Maildir folders at `root`: their leaf names from the top, and where they are. The first is the inbox.
pub(super) fn folders(root: &Path) -> io::Result<Vec<(Vec<String>, PathBuf)>> {
    let mut found = vec![(vec!["INBOX".to_owned()], root.to_owned())];
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_prefix('.').filter(|name| !name.is_empty())
            && is_maildir(&entry.path())
        {
            found.push((name.split('.').map(str::to_owned).collect(), entry.path()));
        }
    }
    found.get_mut(1..).unwrap_or_default().sort();
    Ok(found)
}

/// The name of a folder's directory below the root; the root itself for the inbox.
pub(super) fn directory(root: &Path, path: &[&str]) -> Option<PathBuf> {
    match path {
        [] | ["INBOX"] => Some(root.to_owned()),
        // A dot in a leaf name would read back as a level of its own, a slash as another directory.
        names if names.iter().any(|name| name.contains(['.', '/', '\0'])) => None,
        names => Some(root.join(format!(".{}", names.join(".")))),
    }
}

/// The messages of one folder, oldest name first.
pub(super) fn messages(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for sub in ["new", "cur"] {
        for entry in std::fs::read_dir(folder.join(sub))? {
            let entry = entry?;
            if entry.file_type()?.is_file() && !entry.file_name().to_string_lossy().starts_with('.') {
                found.push(entry.path());
            }
        }
    }
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    Ok(found)
}

/// What a message's file name says of it. `keywords` are the names of the letters `a` to `z`.
pub(super) fn flags(message: &Path, keywords: &[Keyword]) -> FlagSet {
    let name = message.file_name().unwrap_or_default().to_string_lossy();
    let letters = name.rsplit_once(":2,").map_or("", |(_, letters)| letters);
    let mut flags = FlagSet::new();
    for letter in letters.chars() {
        match LETTERS.iter().find(|(known, _)| *known == letter) {
            Some((_, flag)) => flags.system |= *flag,
            None if letter.is_ascii_lowercase() => {
                if let Some(keyword) = keywords.get(letter as usize - 'a' as usize) {
                    flags.insert(keyword.clone());
                }
            }
            None => {}
        }
    }
    flags
}

/// The letters of a message's flags, for its file name. A keyword that is new to the folder gets the next letter; there are
/// 26, and what comes later has none.
pub(super) fn letters(flags: &FlagSet, keywords: &mut Vec<Keyword>) -> String {
    let mut letters: Vec<char> =
        LETTERS.iter().filter(|(_, flag)| flags.system.contains(*flag)).map(|(letter, _)| *letter).collect();
    for keyword in flags.keywords() {
        let at = keywords.iter().position(|known| known == keyword).unwrap_or_else(|| {
            keywords.push(keyword.clone());
            keywords.len() - 1
        });
        letters.extend(('a'..='z').nth(at));
    }
    letters.sort_unstable();
    letters.into_iter().collect()
}

/// Writes the letters of a folder's keywords down.
pub(super) fn write_keywords(folder: &Path, keywords: &[Keyword]) -> io::Result<()> {
    if keywords.is_empty() {
        return Ok(());
    }
    let lines: String =
        keywords.iter().take(26).enumerate().map(|(number, name)| format!("{number} {}\n", name.as_str())).collect();
    std::fs::write(folder.join(KEYWORDS), lines)
}

/// The keywords of a folder, in the order of their letters.
pub(super) fn keywords(folder: &Path) -> Vec<Keyword> {
    let text = std::fs::read_to_string(folder.join(KEYWORDS)).unwrap_or_default();
    let mut keywords = Vec::new();
    for line in text.lines() {
        let Some((number, name)) = line.split_once(' ') else { continue };
        // Letters are given in order; a gap would shift those behind it.
        if let (Ok(number), Some(keyword)) = (number.parse::<usize>(), Keyword::new(name))
            && number == keywords.len()
            && number < 26
        {
            keywords.push(keyword);
        }
    }
    keywords
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_flags_and_folders() {
        let keywords = [Keyword::new("$Forwarded").unwrap(), Keyword::new("work").unwrap()];
        let found = flags(Path::new("cur/1.a.host:2,FSb"), &keywords);
        assert_eq!(found.system, SystemFlags::FLAGGED | SystemFlags::SEEN);
        assert_eq!(found.keywords(), [Keyword::new("work").unwrap()]);
        assert!(flags(Path::new("new/1.a.host"), &keywords).is_empty());
        let mut named = keywords.to_vec();
        assert_eq!(letters(&found, &mut named), "FSb");

        let root = tempfile::tempdir().unwrap();
        write_keywords(root.path(), &named).unwrap();
        assert_eq!(super::keywords(root.path()), named);
        for folder in ["", ".Sent", ".Work.2026"] {
            for sub in ["cur", "new", "tmp"] {
                std::fs::create_dir_all(root.path().join(folder).join(sub)).unwrap();
            }
        }
        let names: Vec<String> = folders(root.path()).unwrap().into_iter().map(|(path, _)| path.join("/")).collect();
        assert_eq!(names, ["INBOX", "Sent", "Work/2026"]);
        assert_eq!(directory(root.path(), &["Work", "2026"]), Some(root.path().join(".Work.2026")));
        assert_eq!(directory(root.path(), &["v1.0"]), None);
    }
}
