//! Binaries of this machine and crafted bytes; nothing here needs privilege. Placement's rules are tested beside it.

use std::path::{Path, PathBuf};

use super::elf::{Binary, Function, Machine};
use super::files::within;
use super::jumps;
use super::library_cache::{LibraryCache, parse};
use super::placement::{ArgumentRegisters, place_all};
use super::process::Target;
use crate::diagnostic::Kind;

const LIBC: &str = "libc";

fn ours(text: &str) -> PathBuf {
    Target::default().resolve(text).unwrap().path
}

fn scratch(name: &str, content: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("skep-binary-{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path
}

/// An ELF file of one function `add`, two instructions at 0x401000, and nothing else: `lea eax, [rdi+rsi]; ret`.
fn tiny() -> Vec<u8> {
    let mut file = vec![0u8; 0x1000];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    let numbers = |of: &[u64]| of.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &[2, 0, 62, 0, 1, 0, 0, 0]);
    put(32, &numbers(&[64, 0x300])); // program headers, section headers
    put(52, &[64, 0, 56, 0, 1, 0, 64, 0, 3, 0, 2, 0]);
    put(64, &[1, 0, 0, 0, 5, 0, 0, 0]); // PT_LOAD, r-x
    put(72, &numbers(&[0x200, 0x401000, 0x401000, 0x100, 0x100, 0x1000]));
    put(0x200, &[0x8d, 0x04, 0x37, 0xc3]);
    put(0x340, &[0, 0, 0, 0, 2, 0, 0, 0]); // .symtab, linked to section 2
    put(0x340 + 24, &numbers(&[0x500, 48]));
    put(0x340 + 40, &[2, 0, 0, 0, 1, 0, 0, 0]);
    put(0x340 + 56, &numbers(&[24]));
    put(0x380, &[0, 0, 0, 0, 3, 0, 0, 0]); // .strtab
    put(0x380 + 24, &numbers(&[0x600, 16]));
    put(0x518, &[1, 0, 0, 0, 0x12, 0, 1, 0]); // global function
    put(0x520, &numbers(&[0x401000, 4]));
    put(0x601, b"add@@V1");
    file
}

#[test]
fn address_becomes_file_offset_and_version_is_cut_off() {
    let binary = Binary::open(&scratch("tiny", &tiny())).unwrap();
    let add = Function { name: "add".into(), address: 0x401000, file_offset: 0x200, size: 4, global: true };
    assert_eq!(binary.functions(), [add]);
    assert_eq!((binary.machine(), binary.is_go(), binary.is_stripped()), (Machine::X86_64, false, false));
    assert_eq!(binary.code(&binary.functions()[0]).unwrap(), [0x8d, 0x04, 0x37, 0xc3]);
    assert_eq!(binary.offset_of("add", 3).unwrap(), 0x203);
    assert_eq!(binary.offset_of_address(0x401003).unwrap(), 0x203);
}

#[test]
fn offset_in_an_instruction_or_behind_the_function_is_rejected() {
    let binary = Binary::open(&scratch("offset", &tiny())).unwrap();
    let inside = binary.offset_of("add", 1).unwrap_err();
    assert_eq!(inside.message, "`add+1` is in the middle of an instruction");
    assert_eq!(inside.help.as_deref(), Some("instructions start at add+0 and add+3"));
    assert!(binary.offset_of("add", 4).unwrap_err().message.contains("behind the end"));
    assert!(binary.offset_of_address(0x401002).is_err());
    let outside = binary.offset_of_address(0x10).unwrap_err();
    assert_eq!(outside.help.as_deref(), Some("its code is at 0x401000..0x401100"));
}

#[test]
fn damaged_elf_files_are_rejected_or_read_but_never_panic() {
    let whole = tiny();
    let mut random = 88172645463325252u64;
    for round in 0..3000 {
        let mut file = whole.clone();
        for _ in 0..1 + round % 4 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Only bytes that mean something: headers, symbol, names.
            let places = [0..128, 0x340..0x3c0, 0x518..0x530, 0x600..0x610];
            let place = places[(random >> 8) as usize % 4].clone();
            let at = place.start + (random >> 16) as usize % place.len();
            file[at] = (random >> 32) as u8;
        }
        file.truncate(if round % 5 == 0 { (random >> 40) as usize % whole.len() } else { whole.len() });
        if let Ok(binary) = Binary::open(&scratch("damaged", &file)) {
            let all: Vec<_> = binary.functions().iter().collect();
            all.iter().for_each(|f| drop(binary.code(f)));
            let _ = (place_all(&binary, &all, true, ArgumentRegisters::NONE), binary.offset_of_address(0x401001));
        }
    }
}

/// Headers may name a table of a terabyte, in a file of two that takes no room on the disk.
#[test]
fn files_with_holes_take_no_memory() {
    let mut file = tiny();
    file[0x340 + 32..0x340 + 40].copy_from_slice(&(1u64 << 40).to_le_bytes());
    let path = scratch("holes", &file);
    std::fs::File::options().write(true).open(&path).and_then(|file| file.set_len(2 << 40)).unwrap();
    assert_eq!(Binary::open(&path).map(drop).unwrap_err().kind, Kind::Machine);
    // And a function of a terabyte.
    let mut file = tiny();
    for at in [96, 104, 0x528] {
        file[at..at + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
    }
    std::fs::write(&path, file).unwrap();
    std::fs::File::options().write(true).open(&path).and_then(|file| file.set_len(2 << 40)).unwrap();
    let binary = Binary::open(&path).unwrap();
    let functions: Vec<&Function> = binary.functions().iter().collect();
    assert_eq!((functions[0].size, binary.code(functions[0]).unwrap().len()), (1 << 40, 64 << 20));
    assert_eq!(place_all(&binary, &functions, false, ArgumentRegisters::NONE).unwrap().len(), 1);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn pipe_that_nobody_writes_to_is_not_waited_for() {
    let path = scratch("pipe", b"");
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().is_ok_and(|status| status.success()));
    assert!(Binary::open(&path).unwrap_err().message.contains("is no file that could be probed"));
    assert_eq!(super::reader::open(&path).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn misspelt_function_gets_the_nearest_name() {
    let bash = Binary::open(Path::new("/bin/bash")).unwrap();
    let error = bash.function("readlin").unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Script, "no function `readlin` in `/bin/bash`"));
    assert!(error.help.clone().unwrap().starts_with("did you mean `readline`?"));
    let many = bash.matching("readline*").unwrap();
    assert!(many.iter().any(|f| f.name == "readline") && many.iter().all(|f| f.name.starts_with("readline")));
    assert!(bash.matching("no_such_*").is_err() && bash.matching("readlin").is_err());
}

#[test]
fn functions_of_libc_agree_with_themselves() {
    let libc = Binary::open(&ours(LIBC)).unwrap();
    let read = libc.function("read").unwrap();
    assert!(read.size > 0 && read.global);
    assert_eq!(libc.offset_of_address(read.address).unwrap(), read.file_offset);
    assert!(libc.functions().iter().all(|f| !f.name.contains('@')));
    assert!(libc.functions().is_sorted_by_key(|f| (f.address, &f.name)));
    let error = libc.function("strlen").unwrap_err(); // x86-64 and aarch64 choose it at start
    assert!(error.message.contains("IFUNC"), "{error}");
}

#[test]
fn scripts_and_other_files_are_told_apart() {
    let script = Binary::open(&scratch("script", b"#!/bin/sh -e\nexit\n")).unwrap_err();
    assert!(script.message.contains("is a script, run by `/bin/sh -e`"), "{script}");
    assert!(Binary::open(&scratch("text", b"hello")).unwrap_err().message.contains("no ELF file"));
    assert!(Binary::open(Path::new("/proc")).unwrap_err().message.contains("no file that could be probed"));
    assert_eq!(Binary::open(Path::new("/no/such")).unwrap_err().kind, Kind::Machine);
}

#[test]
fn library_is_found_by_short_name_and_soname() {
    let cache = LibraryCache::of(Path::new("/"));
    let libc = cache.find(LIBC).unwrap();
    assert!(libc.name.starts_with("libc.") && libc.path.is_absolute() && libc.path.exists());
    assert_eq!(cache.find(&libc.name.clone()).unwrap(), libc);
    assert_eq!(cache.find("libx").unwrap_err().message, "no library `libx`");
}

/// A cache with entries `(name, flags, hwcap)`; each path is `/lib/` and the name.
fn cache(entries: &[(&str, u32, u64)]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut table = Vec::new();
    let strings = 48 + 24 * entries.len();
    for (name, flags, hwcap) in entries {
        let path = (strings + text.len()) as u32;
        text.extend(format!("/lib/{name}\0").bytes());
        table.extend([*flags, path + 5, path, 0].iter().flat_map(|n| n.to_ne_bytes()));
        table.extend(hwcap.to_ne_bytes());
    }
    let mut file = b"glibc-ld.so.cache1.1".to_vec();
    file.extend((entries.len() as u32).to_ne_bytes());
    file.resize(48, 0);
    [file, table, text].concat()
}

#[test]
fn newest_version_of_the_own_machine_wins() {
    let (mine, other) = if cfg!(target_arch = "x86_64") { (0x303, 0xa03) } else { (0xa03, 0x303) };
    let file = cache(&[
        ("libssl.so.4", other, 0),
        ("libssl.so.1.1", mine, 0),
        ("libssl.so.3", mine, 7 << 60),
        ("libssl.so.3", mine, 0),
        ("libcrypto.so.1.10", mine, 0),
        ("libcrypto.so.1.9", mine, 0),
        ("libsslx.so.9", mine, 0),
    ]);
    let found = parse(&file);
    assert_eq!(found.len(), 7);
    let cache = LibraryCache::from(found);
    assert_eq!(cache.find("libssl").unwrap().path, Path::new("/lib/libssl.so.3"));
    assert_eq!(cache.find("libssl.so.1.1").unwrap().name, "libssl.so.1.1");
    assert_eq!(cache.find("libcrypto").unwrap().name, "libcrypto.so.1.10");
    assert_eq!(cache.find("libssl.so.4").unwrap().name, "libssl.so.4");
    assert_eq!(cache.find("libsls").unwrap_err().help.as_deref(), Some("did you mean `libssl`?"));
    assert!(cache.find("lib").is_err());
}

#[test]
fn cache_is_found_behind_the_old_format() {
    let mut file = b"ld.so-1.7.0\0".to_vec();
    file.extend(1u32.to_ne_bytes());
    file.resize(16 + 12 + 4, 0);
    file.extend(cache(&[("libz.so.1", 0x303, 0)]));
    assert_eq!(parse(&file)[0].path, Path::new("/lib/libz.so.1"));
}

#[test]
fn corrupt_caches_never_panic() {
    let whole = [b"ld.so-1.7.0\0\x01\0\0\0".to_vec(), vec![0; 16], cache(&[("liba.so.1", 0x303, 0); 5])].concat();
    (0..whole.len()).for_each(|length| drop(parse(&whole[..length])));
    for at in 0..whole.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut file = whole.clone();
            file[at] = byte;
            parse(&file);
            parse(&file[32..]);
        }
    }
}

#[test]
fn placements_of_real_binaries_lie_on_instructions_and_most_are_emulated() {
    if !cfg!(target_arch = "x86_64") {
        return println!("skipped: placement knows x86-64 only");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let python = std::env::split_paths(&path).filter_map(|folder| std::fs::canonicalize(folder.join("python3")).ok());
    for path in [ours(LIBC), ours("bash")].into_iter().chain(python) {
        let Ok(binary) = Binary::open(&path) else { continue }; // pyenv's is a script
        let functions: Vec<_> = binary.functions().iter().collect();
        let stages = [
            ("entry, no arguments", false, ArgumentRegisters::NONE),
            ("entry, first two", false, ArgumentRegisters::NONE.and_argument(0).and_argument(1)),
            ("entry, user stack", false, ArgumentRegisters::NONE.and_callers()),
            ("return", true, ArgumentRegisters::NONE),
        ];
        for (stage, returns, needed) in stages {
            let placements = place_all(&binary, &functions, returns, needed).unwrap();
            for (function, placement) in functions.iter().zip(&placements) {
                let (start, next) =
                    jumps::boundaries(Machine::X86_64, &binary.code(function).unwrap(), placement.offset);
                assert_eq!((start, next), (placement.offset, None), "{function:?} {placement:?}");
                assert!(placement.offset < function.size || placement.offset == 0);
                assert!(placement.emulated || placement.offset == 0);
            }
            let share = |count: usize| count as f64 * 100.0 / functions.len() as f64;
            let emulated = placements.iter().filter(|p| p.emulated);
            let at_start = emulated.clone().filter(|p| p.offset == 0).count();
            let (path, all, emulated) = (path.display(), functions.len(), emulated.count());
            println!(
                "{path}: {all} functions, {stage}: emulated at +0 {:.1} %, after the walk {:.1} %",
                share(at_start),
                share(emulated)
            );
        }
    }
}

#[test]
fn names_are_resolved_through_path_and_libraries() {
    let bash = Target::default().resolve("bash").unwrap();
    assert!(bash.shown.ends_with("/bash") && bash.path.is_absolute());
    assert!(ours(LIBC).file_name().unwrap().to_str().unwrap().starts_with("libc."));
    let error = Target::default().resolve("bsah").unwrap_err();
    assert_eq!(error.message, "no program or library `bsah`");
    assert_eq!(error.help.as_deref(), Some("did you mean `bash`?"));
    let error = Target::default().resolve("/bin/bsah").unwrap_err();
    assert_eq!(error.help.as_deref(), Some("did you mean `/bin/bash`?"));
    assert_eq!(Target::default().resolve("").unwrap_err().message, "the binary is missing");
}

#[test]
fn process_gives_its_program_and_its_mapped_libraries() {
    let own = Target { pid: Some(std::process::id()) };
    assert_eq!(own.resolve("").unwrap().path, std::env::current_exe().unwrap());
    let libc = own.resolve(LIBC).unwrap();
    assert!(Binary::open(&libc.path).unwrap().function("read").is_ok(), "{libc:?}");
}

#[test]
fn process_that_does_not_exist_is_told() {
    let error = Target { pid: Some(4_194_305) }.resolve("libc").unwrap_err(); // above the kernel's highest pid
    assert_eq!((error.kind, error.message.as_str()), (Kind::Script, "no process 4194305"));
}

#[test]
fn absolute_links_of_another_root_stay_in_it() {
    let root = std::env::temp_dir().join(format!("skep-binary-{}-root", std::process::id()));
    std::fs::create_dir_all(root.join("usr/lib")).unwrap();
    for (target, link) in [("/usr/lib", "lib"), ("../../../../libc-2.31.so", "usr/lib/libc.so.6"), ("loop", "loop")] {
        let _ = std::fs::remove_file(root.join(link));
        std::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    assert_eq!(within(&root, Path::new("/lib/libc.so.6")), root.join("libc-2.31.so"));
    assert_eq!(within(&root, Path::new("/no/../lib/x")), root.join("usr/lib/x"));
    assert_eq!(within(&root, Path::new("/loop/x")), root.join("loop/x"));
    assert_eq!(within(Path::new("/"), Path::new("/lib/x")), Path::new("/lib/x"));
}
