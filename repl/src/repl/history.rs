//! History: lines of earlier sessions, in `$XDG_STATE_HOME/skep/history`. A disk that is full costs the history, no more.

use std::path::PathBuf;

/// Lines that are kept.
pub const LENGTH: usize = 2_000;

/// The file; `None` where there is no home.
pub fn file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    let folder = state.join("skep");
    std::fs::create_dir_all(&folder).ok()?;
    let file = folder.join("history");
    // A device or a pipe could be read for ever.
    (file.is_file() || !file.exists()).then_some(file)
}
