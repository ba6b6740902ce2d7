//! `ottla-release` in a data directory: the release of Ottla that has served it last.
//!
//! A release that meets a format which is newer than itself cannot know which one wrote it. So each leaves its name.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

const FILE: &str = "ottla-release";
/// Of this program.
pub(crate) const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// A release is named in so many bytes at most.
const NAME_LIMIT: usize = 64;

/// Leaves the name of a release in a directory.
///
/// # Errors
/// It cannot be written.
pub(crate) fn leave(dir: &Path, release: &str) -> io::Result<()> {
    if last(dir).is_some_and(|last| last == release) {
        return Ok(());
    }
    let new = dir.join(FILE).with_extension("new");
    let mut file = File::create(&new)?;
    writeln!(file, "{release}")?;
    file.sync_all()?;
    fs::rename(&new, dir.join(FILE))
}

/// The release that has served a directory last, if it has said so.
pub(crate) fn last(dir: &Path) -> Option<String> {
    let text = fs::read_to_string(dir.join(FILE)).ok()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
    let name = text.trim();
    (!name.is_empty() && name.len() <= NAME_LIMIT && name.chars().all(is_name))
        .then(|| name.to_owned())
}

/// What to do about a directory with a format that is not known, if another release has served it last.
pub(crate) fn advice(dir: &Path) -> Option<String> {
    let last = last(dir).filter(|last| last != RELEASE)?;
    Some(format!(
        "Ottla {last} has served it last, and this is {RELEASE}: start it with Ottla {last}, or a later release"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_before_is_named_and_what_is_no_name_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(advice(dir.path()), None);
        leave(dir.path(), RELEASE).unwrap();
        assert_eq!(advice(dir.path()), None, "it is this one");
        leave(dir.path(), "99.1.0-rc.1").unwrap();
        let advice = advice(dir.path()).unwrap();
        assert!(
            advice.contains("start it with Ottla 99.1.0-rc.1"),
            "{advice}"
        );
        for text in ["", "\n", "a\u{1b}[2J", "a b", &"9".repeat(100)] {
            fs::write(dir.path().join(FILE), text).unwrap();
            assert_eq!(last(dir.path()), None, "{text:?}");
        }
    }
}
