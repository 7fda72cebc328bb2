//! Walks along paths through a kernel's structures that are made here, in this process's memory.

use super::oracle::World;
use super::random::Random;
use super::{listing, run};
use crate::aggregate::path::decode;
use crate::slot::compile::columns;
use crate::slot::ir::*;

/// Members, in words of 8 bytes.
const NAMES: Names = Names { unhashed: 0, parent: 8, length: 20, text: 24 };
const INODE: i32 = 32;
const SUPER_BLOCK: i32 = 40;
const ABOVE: i32 = 8;
const POINT: i32 = 16;
const ROOT: i32 = 24;

/// Memory that holds structures and texts, and the addresses of some.
struct Kernel {
    memory: &'static mut [u64],
    used: usize,
}

impl Kernel {
    fn new() -> Kernel {
        Kernel { memory: vec![0; 4096].leak(), used: 0 }
    }

    fn object(&mut self, words: &[u64]) -> u64 {
        let at = self.used;
        self.memory[at..][..words.len()].copy_from_slice(words);
        self.used += words.len();
        &raw const self.memory[at] as u64
    }

    fn text(&mut self, text: &str) -> u64 {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(text.len() / 8 * 8 + 8, 0);
        let words: Vec<u64> = bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        self.object(&words)
    }

    /// `parent` 0: its own, as a root is.
    fn dentry(&mut self, name: &str, parent: u64) -> u64 {
        let text = self.text(name);
        let dentry = self.object(&[1, parent, (name.len() as u64) << 32, text, 0, 0]);
        if parent == 0 {
            self.set(dentry, NAMES.parent, dentry);
        }
        dentry
    }

    fn folders(&mut self, root: u64, path: &str) -> u64 {
        path.split('/').fold(root, |parent, name| self.dentry(name, parent))
    }

    /// `above` 0: mounted on itself.
    fn mount(&mut self, root: u64, above: u64, point: u64) -> u64 {
        let mount = self.object(&[0, above, point, root]);
        if above == 0 {
            self.set(mount, ABOVE, mount);
        }
        mount
    }

    fn set(&mut self, object: u64, member: i32, value: u64) {
        let first = &raw const self.memory[0] as u64;
        self.memory[(object - first) as usize / 8 + member as usize / 8] = value;
    }

    /// The path that a slot finds, in a column of `size` bytes; `mount` 0: within the file system.
    fn path(&self, dentry: u64, mount: u64, size: u16) -> String {
        let number = |int| Int::Constant(int);
        let top = match mount {
            0 => Top::Root([SUPER_BLOCK, 0]),
            mount => Top::Mounts { mount: number(mount), above: ABOVE, point: POINT, root: ROOT },
        };
        let (inode, file_system) = ([INODE, 0], [SUPER_BLOCK, 8, 0]);
        let path = Path { dentry: number(dentry), names: NAMES, top, number: inode, file_system };
        let content = Content::Path { path: Box::new(path), size };
        // A column before it: nothing else may be written.
        let before = Column { offset: 0, content: Content::Int { value: Int::Constant(7), size: Size::B8 } };
        let code = columns(&[before, Column { offset: 8, content }], true).unwrap();
        // SAFETY: the memory is leaked, and nobody writes to it while the slot runs.
        let memory = unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<u8>(), 8 * self.memory.len()) };
        let world = World { memory, ..Random::new(5).world() };
        let (status, out) = run(&code, &world);
        assert_eq!((status, out[0]), (0, 7), "{}", listing(&code));
        assert!(out[8 + usize::from(size)..].iter().all(|byte| *byte == 0x55), "bytes behind the column are written");
        decode(&out[8..][..size.into()])
    }
}

#[test]
fn path_leads_to_the_root() {
    let mut kernel = Kernel::new();
    let root = kernel.dentry("/", 0);
    let mount = kernel.mount(root, 0, root);
    let file = kernel.folders(root, "usr/lib/libc.so.6");
    assert_eq!(kernel.path(file, mount, 128), "/usr/lib/libc.so.6");
    assert_eq!(kernel.path(root, mount, 128), "/");
}

#[test]
fn path_crosses_mounts() {
    let mut kernel = Kernel::new();
    let [root, home, code] = [(); 3].map(|()| kernel.dentry("/", 0));
    let (at_home, at_code) = (kernel.folders(root, "home"), kernel.folders(home, "me/code"));
    let first = kernel.mount(root, 0, root);
    let second = kernel.mount(home, first, at_home);
    // Of the third file system one folder is mounted.
    let shown = kernel.folders(code, "not/seen");
    let third = kernel.mount(shown, second, at_code);
    let file = kernel.folders(shown, "a/b");
    assert_eq!(kernel.path(file, third, 128), "/home/me/code/a/b");
    assert_eq!(kernel.path(shown, third, 128), "/home/me/code");
    assert_eq!(kernel.path(at_code, second, 128), "/home/me/code");
}

#[test]
fn dentry_alone_has_a_path_within_its_file_system() {
    let mut kernel = Kernel::new();
    let root = kernel.dentry("/", 0);
    let file = kernel.folders(root, "a/b");
    let super_block = kernel.object(&[root, 0]);
    kernel.set(file, SUPER_BLOCK, super_block);
    kernel.set(root, SUPER_BLOCK, super_block);
    assert_eq!(kernel.path(file, 0, 128), "/a/b");
    assert_eq!(kernel.path(root, 0, 128), "/");
}

#[test]
fn removed_file_is_told_from_removed_folder() {
    let mut kernel = Kernel::new();
    let root = kernel.dentry("/", 0);
    let mount = kernel.mount(root, 0, root);
    let folder = kernel.folders(root, "folder");
    let file = kernel.folders(folder, "file");
    kernel.set(folder, NAMES.unhashed, 0);
    assert_eq!(kernel.path(file, mount, 128), "/folder/file");
    kernel.set(file, NAMES.unhashed, 0);
    assert_eq!(kernel.path(file, mount, 128), "/folder/file (deleted)");
    kernel.set(root, NAMES.unhashed, 0);
    assert_eq!(kernel.path(root, mount, 128), "/");
}

/// Whatever the length, what is shown is true, and nothing is shown that is not there.
#[test]
fn path_too_long_for_its_column_keeps_its_end() {
    for size in [128, 136, 240] {
        for length in 1..size {
            let mut kernel = Kernel::new();
            let root = kernel.dentry("/", 0);
            let mount = kernel.mount(root, 0, root);
            let path = ["first", "second", &"x".repeat(length.into()), "last"].join("/");
            let file = kernel.folders(root, &path);
            let (found, whole) = (kernel.path(file, mount, size), format!("/{path}"));
            match found.strip_prefix("…/") {
                None => assert_eq!(found, whole),
                Some(end) => match end.split_once('…') {
                    None => assert!(whole.ends_with(&format!("/{end}")), "{found}"),
                    Some((front, "/last")) => assert!(whole.contains(&format!("/{front}x")), "{found}"),
                    Some((front, end)) => {
                        assert!(whole.ends_with(end) && whole.contains(&format!("/{front}")), "{found}")
                    }
                },
            }
            // At least half of the room is used, the last name's in full.
            assert!(found == whole || found.len() > usize::from(size) / 2 && found.ends_with("/last"), "{found}");
        }
        let mut kernel = Kernel::new();
        let root = kernel.dentry("/", 0);
        let (mount, file) = (kernel.mount(root, 0, root), kernel.folders(root, &"y".repeat(250)));
        let name = "y".repeat(usize::from(size) - 8 - 1);
        assert_eq!(kernel.path(file, mount, size), format!("…/{name}…"));
    }
}

#[test]
fn path_of_many_folders_is_cut() {
    let mut kernel = Kernel::new();
    let root = kernel.dentry("/", 0);
    let mount = kernel.mount(root, 0, root);
    let deep = vec!["d"; 40].join("/");
    let file = kernel.folders(root, &deep);
    assert_eq!(kernel.path(file, mount, 240), format!("…/{}", vec!["d"; 32].join("/")));
}

#[test]
fn file_of_no_folder_has_a_number() {
    let mut kernel = Kernel::new();
    let root = kernel.dentry("/", 0);
    let mount = kernel.mount(root, 0, root);
    let (pipe, memory) = (kernel.dentry("", 0), kernel.dentry("memfd:x", 0));
    let inode = kernel.object(&[0x12_3456_7890]);
    for (file, kind) in [(pipe, "pipefs"), (memory, "tmpfs")] {
        let kind = kernel.text(kind);
        let kind = kernel.object(&[kind]);
        let super_block = kernel.object(&[0, kind]);
        kernel.set(file, INODE, inode);
        kernel.set(file, SUPER_BLOCK, super_block);
    }
    assert_eq!(kernel.path(pipe, mount, 128), format!("pipe:[{}]", 0x12_3456_7890u64));
    assert_eq!(kernel.path(memory, mount, 128), "/memfd:x (deleted)");
}

#[test]
fn address_of_nothing_has_no_path() {
    let kernel = Kernel::new();
    for (dentry, mount) in [(0, 0), (0, 8), (8, 0), (u64::MAX, u64::MAX)] {
        assert_eq!(kernel.path(dentry, mount, 128), "");
    }
}
