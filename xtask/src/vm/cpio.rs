//! An initramfs in memory, in the "newc" format: no root, no mknod. Source: Documentation/driver-api/early-userspace.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    present: BTreeSet<String>,
}

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

impl Archive {
    pub fn folder(&mut self, name: &str) {
        self.add(name, FOLDER, &[], (0, 0));
    }

    pub fn file(&mut self, name: &str, data: &[u8], mode: u32) {
        self.add(name, FILE | (mode & 0o777), data, (0, 0));
    }

    pub fn link(&mut self, name: &str, to: &str) {
        self.add(name, LINK, to.as_bytes(), (0, 0));
    }

    pub fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.add(name, CHARACTER_DEVICE, &[], (major, minor));
    }

    /// A file of this machine.
    pub fn copy(&mut self, from: &Path, name: &str) -> Result<(), String> {
        let failed = |error| format!("failed to read {}: {error}", from.display());
        let mode = fs::metadata(from).map_err(failed)?.permissions().mode();
        self.file(name, &fs::read(from).map_err(failed)?, mode);
        Ok(())
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.record("TRAILER!!!", 0, &[], (0, 0));
        self.bytes
    }

    /// The first of a name stays; its folders come before it.
    fn add(&mut self, name: &str, mode: u32, data: &[u8], device: (u32, u32)) {
        let name = name.trim_matches('/');
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.folder(folder);
        }
        if self.present.insert(name.to_owned()) {
            self.record(name, mode, data, device);
        }
    }

    fn record(&mut self, name: &str, mode: u32, data: &[u8], device: (u32, u32)) {
        let inode = self.present.len() as u32;
        let (size, name_size) = (data.len() as u32, name.len() as u32 + 1);
        // inode, mode, uid, gid, links, time, size, device, special device, name, checksum
        let head = [inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        self.bytes.extend(head.iter().flat_map(|word| format!("{word:08x}").into_bytes()));
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn archive_has_folders_before_files_and_pads_to_words() {
        let mut archive = Archive::default();
        archive.file("/a/b", b"text!", 0o755);
        archive.file("a/b", b"again", 0o755);
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 3, "{text}");
        assert!(text.find("a\0").is_some_and(|at| at < text.find("a/b\0").unwrap_or(0)), "{text}");
        assert!(text.contains("000081ed") && !text.contains("again"), "{text}");
        assert_eq!(bytes.len() % 4, 0);
    }
}
