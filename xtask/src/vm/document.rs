//! docs/kernel-matrix.md: the matrix, then the comparison. Each is written by its own command and leaves the other alone.

use super::runs::Run;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub const NAME: &str = "docs/kernel-matrix.md";
/// The comparison begins with it.
pub const COMPARISON: &str = "## Side by side with bpftrace";

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Document {
    path: PathBuf,
    pub matrix: String,
    pub comparison: String,
}

impl Document {
    /// Empty where there is none yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(root: &Path) -> Result<Document, String> {
        let path = root.join(NAME);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(format!("failed to read {NAME}: {error}")),
            text => text.unwrap_or_default(),
        };
        Ok(Document { path, ..Document::parse(&text) })
    }

    fn parse(text: &str) -> Document {
        let (matrix, comparison) = text.split_at(text.find(COMPARISON).unwrap_or(text.len()));
        let part = |text: &str| text.trim_end().to_owned();
        Document { matrix: part(matrix), comparison: part(comparison), ..Document::default() }
    }

    /// # Errors
    /// It cannot be written.
    pub fn write(&self) -> Result<(), String> {
        fs::write(&self.path, self.text()).map_err(|error| format!("failed to write {NAME}: {error}"))
    }

    fn text(&self) -> String {
        let parts = [&self.matrix, &self.comparison].map(|part| part.trim_end());
        parts.into_iter().filter(|part| !part.is_empty()).map(|part| format!("{part}\n")).collect::<Vec<_>>().join("\n")
    }
}

/// The kernels of some runs as a list.
pub fn releases(runs: &[Run]) -> String {
    runs.iter()
        .map(|run| format!("- {}: {} ({})\n", run.kernel.kernel, run.kernel.release, run.kernel.package))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_is_written_without_the_other() {
        let text = format!("# Matrix\n\n| a |\n\n{COMPARISON}\n\n| b |\n");
        let mut document = Document::parse(&text);
        assert_eq!((document.text(), document.matrix.as_str()), (text, "# Matrix\n\n| a |"));
        document.matrix = "# New\n".to_owned();
        assert_eq!(document.text(), format!("# New\n\n{COMPARISON}\n\n| b |\n"));
        assert_eq!(Document::parse("# Matrix\n").text(), "# Matrix\n");
    }
}
