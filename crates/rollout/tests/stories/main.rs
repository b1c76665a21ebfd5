//! Rollouts told as stories, for people who review them: in each text file of this folder a line that
//! begins with `>` is what happens, and the lines below it are what comes of it. Told anew, each story
//! has to be the same; `LINESIDE_STORIES=write` writes them as they are told now.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod telling;

use std::fs;
use std::path::Path;
use telling::told;

#[test]
fn the_stories_are_still_told_as_they_were_reviewed() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/stories");
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut stories: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    stories.sort();
    assert!(stories.len() >= 8, "{stories:?}");
    let mut changed = Vec::new();
    for path in stories {
        let stored = fs::read_to_string(&path).unwrap();
        let now = told(&stored);
        if now != stored {
            if std::env::var("LINESIDE_STORIES").is_ok_and(|wish| wish == "write") {
                fs::write(&path, &now).unwrap();
            }
            changed.push(format!("{}:\n{now}", path.display()));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}
