//! Programs that say which addresses their stack holds, looked up while they run and after. They need a compiler; where
//! there is none, or no privilege for a namespace, a test says so.

use super::files::Files;
use super::image::{Image, Place};
use super::reason;
use super::resolver::Resolver;
use super::service::{Scope, Stack, Symbols};
use skep_flamegraphs::profile::{Frame, Origin};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Prints the addresses of its stack, the innermost first, an empty line, and waits for a line.
const CHAIN: &str = r#"
#include <execinfo.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static inline __attribute__((always_inline)) int folded(void **at) { return backtrace(at, 32); }

__attribute__((noinline)) int innermost(int n)
{
	void *at[32];
	int count = folded(at);
	void *code = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < count; i++)
		printf("%lx\n", (unsigned long)at[i]);
	printf("%lx\n\n", (unsigned long)code + 0x20);
	fflush(stdout);
	getchar();
	return n + 1;
}

__attribute__((noinline)) int middle(int n) { return innermost(n) + 1; }
__attribute__((noinline)) int outermost(int n) { return middle(n) + 1; }
int main(int argc, char **argv) { return outermost(argc) == 99; }
"#;

/// A folder of one test, gone with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("skep-symbols-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    /// Compiles a program; `None`, with a word about it, where there is no such compiler.
    fn compiled(&self, compiler: &str, options: &[&str], extension: &str, text: &str) -> Option<PathBuf> {
        let (source, program) = (self.0.join(format!("chain.{extension}")), self.0.join("chain"));
        fs::write(&source, text).unwrap();
        let mut command = Command::new(compiler);
        command.args(options).arg("-o").arg(&program).arg(&source);
        match command.status() {
            Ok(status) => assert!(status.success(), "{command:?}"),
            Err(_) => {
                println!("skipped: needs `{compiler}`");
                return None;
            }
        }
        Some(program)
    }

    fn chain(&self) -> Option<PathBuf> {
        self.compiled("gcc", &["-g", "-O2", "-fno-optimize-sibling-calls"], "c", CHAIN)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// One that runs, and what it said.
struct Running {
    child: Child,
    pid: u32,
    stack: Vec<u64>,
    /// In memory that no file stands behind.
    anonymous: u64,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut words: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let pid = match words.first().and_then(|word| word.strip_prefix("pid ")) {
            Some(pid) => pid.parse().unwrap(),
            None => child.id(),
        };
        words.retain(|word| !word.starts_with("pid "));
        let mut stack: Vec<u64> = words.iter().map(|word| u64::from_str_radix(word, 16).unwrap()).collect();
        let anonymous = stack.pop().unwrap();
        // backtrace(3) gives return addresses only; the innermost of a sample is none.
        stack[0] -= 1;
        Running { child, pid, stack, anonymous }
    }

    fn program(path: &Path) -> Running {
        Running::start(Command::new(path))
    }

    fn end(&mut self) {
        let _ended = self.child.stdin.take().map(|mut input| input.write_all(b"\n"));
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// The names from `main` on.
fn names(frames: &[Arc<Frame>]) -> Vec<&str> {
    frames.iter().map(|frame| frame.name.as_str()).skip_while(|name| *name != "main").collect()
}

const PLAIN: [&str; 4] = ["main", "outermost", "middle", "innermost"];
const INLINED: [&str; 5] = ["main", "outermost", "middle", "innermost", "folded"];

#[test]
fn chain_of_calls_is_named_from_the_root() {
    let folder = Folder::new();
    let Some(program) = folder.chain() else { return };
    let running = Running::program(&program);
    let frames = Resolver::new(false).user(running.pid, &running.stack);
    assert_eq!(names(&frames), PLAIN);
    let main = frames.iter().find(|frame| frame.name == "main").unwrap();
    let module = main.module.as_ref().unwrap();
    assert_eq!((main.origin, main.inlined, main.unresolved, &main.line), (Origin::User, false, None, &None));
    assert_eq!(module.path, program.to_str().unwrap());
    assert!(module.build_id.as_ref().is_none_or(|id| id.len() == 20));
}

#[test]
fn inlined_function_has_its_frame_and_all_have_their_lines() {
    let folder = Folder::new();
    let Some(program) = folder.chain() else { return };
    let running = Running::program(&program);
    let frames = Resolver::new(true).user(running.pid, &running.stack);
    assert_eq!(names(&frames), INLINED);
    let last: Vec<_> = frames.iter().rev().take(3).map(|frame| (frame.inlined, frame.line.clone())).collect();
    let line = |wanted: &str| CHAIN.lines().position(|line| line.contains(wanted)).unwrap() as u32 + 1;
    let expected = [(true, "return backtrace"), (false, "folded(at);"), (false, "return innermost(n)")];
    for ((inlined, found), (expected, text)) in last.iter().zip(expected) {
        let (file, number) = found.as_ref().unwrap();
        assert_eq!((*inlined, *number), (expected, line(text)), "{frames:#?}");
        assert!(file.ends_with("/chain.c"), "{file}");
    }
}

#[test]
fn stripped_program_shows_module_offset_and_reason() {
    let folder = Folder::new();
    let Some(program) = folder.chain() else { return };
    assert!(Command::new("strip").arg("-s").arg(&program).status().unwrap().success());
    let running = Running::program(&program);
    for inlines in [false, true] {
        let frames = Resolver::new(inlines).user(running.pid, &running.stack);
        assert_eq!(frames.len(), running.stack.len(), "none is dropped");
        let innermost = frames.last().unwrap();
        assert!(innermost.name.starts_with("chain+0x"), "{}", innermost.name);
        assert_eq!(innermost.unresolved, Some(reason::NO_SYMBOLS));
    }
}

#[test]
fn deleted_program_is_read_through_its_mapping() {
    let folder = Folder::new();
    let Some(program) = folder.chain() else { return };
    let running = Running::program(&program);
    fs::remove_file(&program).unwrap();
    fs::write(&program, "another file of that name").unwrap();
    let frames = Resolver::new(false).user(running.pid, &running.stack);
    match fs::metadata("/proc/self/map_files").is_ok() && is_root() {
        true => assert_eq!(names(&frames), PLAIN),
        false => assert_eq!(frames.last().unwrap().unresolved, Some(reason::GONE)),
    }
    assert!(!frames.last().unwrap().module.as_ref().unwrap().path.ends_with("(deleted)"));
}

#[test]
fn process_that_ended_is_known_by_what_was_read_before() {
    let folder = Folder::new();
    let Some(program) = folder.chain() else { return };
    let mut running = Running::program(&program);
    let mut resolver = Resolver::new(false);
    resolver.read(running.pid);
    running.end();
    fs::remove_file(&program).unwrap();
    assert_eq!(names(&resolver.user(running.pid, &running.stack)), PLAIN);
    let frames = Resolver::new(false).user(running.pid, &running.stack);
    assert!(frames.iter().all(|frame| frame.unresolved == Some(reason::PROCESS_ENDED)), "{frames:?}");
    assert_eq!(frames.last().unwrap().name, format!("{:#x}", running.stack[0]));
}

#[test]
fn processes_that_only_lived_while_somebody_watched_are_known() {
    let folder = Folder::new();
    let Some(program) = folder.chain() else { return };
    let symbols = Symbols::start(false).unwrap();
    if let Err(error) = symbols.watch(Scope::Process(std::process::id())) {
        return println!("skipped: {error}");
    }
    // A shell forks, the child runs another program; nobody asks for it before it is over.
    let mut command = Command::new("sh");
    command.args(["-c", r#"{ sleep 0.05; exec "$0"; } & echo pid $!; wait"#]).arg(&program);
    let mut shell = Running::start(command);
    shell.end();
    let stack = Stack::User { pid: shell.pid, addresses: shell.stack.clone() };
    assert_eq!(names(&symbols.resolve(vec![stack])[0]), PLAIN);
    assert_eq!(symbols.lost(), 0);
}

#[test]
fn program_that_was_replaced_by_another_in_its_process_is_known() {
    let folder = Folder::new();
    let Some(program) = folder.chain() else { return };
    let symbols = Symbols::start(false).unwrap();
    if let Err(error) = symbols.watch(Scope::Everybody) {
        return println!("skipped: {error}");
    }
    let mut command = Command::new("sh");
    command.args(["-c", r#"echo pid $$; exec "$0""#]).arg(&program);
    let mut running = Running::start(command);
    running.end();
    let stack = |addresses: &[u64]| Stack::User { pid: running.pid, addresses: addresses.to_vec() };
    assert_eq!(names(&symbols.resolve(vec![stack(&running.stack)])[0]), PLAIN);
}

#[test]
fn program_in_another_mount_namespace_is_read_there() {
    let folder = Folder::new();
    let Some(program) = folder.chain() else { return };
    if !is_root() {
        return println!("skipped: needs CAP_SYS_ADMIN");
    }
    let script =
        r#"mkdir "$1/in"; mount -t tmpfs none "$1/in"; cp "$1/chain" "$1/in/chain"; echo pid $$; exec "$1/in/chain""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]).arg(&folder.0);
    let mut running = Running::start(command);
    fs::remove_file(&program).unwrap();
    let mut resolver = Resolver::new(false);
    assert_eq!(names(&resolver.user(running.pid, &running.stack)), PLAIN);
    // Seen, but not looked into, before all of it is gone.
    let mut late = Resolver::new(true);
    late.read(running.pid);
    running.end();
    assert_eq!(names(&late.user(running.pid, &running.stack)), INLINED);
}

#[test]
fn perf_map_names_what_was_written_at_run_time() {
    let folder = Folder::new();
    let Some(program) = folder.chain() else { return };
    let running = Running::program(&program);
    let mut resolver = Resolver::new(false);
    let unnamed = resolver.user(running.pid, &[running.anonymous]);
    assert!(unnamed[0].name.starts_with("[anon]+0x"), "{unnamed:?}");
    assert_eq!(unnamed[0].unresolved, Some(reason::JIT));

    let map = PathBuf::from(format!("/tmp/perf-{}.map", running.pid));
    fs::write(&map, format!("{:x} 40 Lhello;::run(int)\n", running.anonymous - 0x10)).unwrap();
    let mut resolver = Resolver::new(false);
    let first = resolver.user(running.pid, &[running.anonymous]);
    let more =
        format!("{:x} 40 Lhello;::run(int)\n{:x} 40 later\n", running.anonymous - 0x10, running.anonymous + 0x30);
    fs::write(&map, more).unwrap();
    let second = resolver.user(running.pid, &[running.anonymous + 0x38]);
    let name = resolver.user_name(running.pid, running.anonymous);
    fs::remove_file(&map).unwrap();
    assert_eq!((first[0].name.as_str(), first[0].origin), ("Lhello;::run(int)", Origin::Jit));
    assert_eq!((second[0].name.as_str(), name.as_str()), ("later", "Lhello;::run(int)+0x10"));
}

#[test]
fn rust_program_is_demangled_with_its_inlined_functions() {
    let text = r#"
        unsafe extern "C" { fn backtrace(at: *mut usize, size: i32) -> i32; }
        mod deep {
            #[inline(always)] pub fn folded(at: &mut [usize]) -> i32 {
                unsafe { crate::backtrace(at.as_mut_ptr(), at.len() as i32) }
            }
            #[inline(never)] pub fn caller<T: Default>() -> T {
                let mut at = [0; 32];
                let count = folded(&mut at) as usize;
                at[..count].iter().for_each(|address| println!("{address:x}"));
                println!("0\n");
                let _read = std::io::stdin().read_line(&mut String::new());
                T::default()
            }
        }
        fn main() { deep::caller::<u64>(); }
    "#;
    let folder = Folder::new();
    let Some(program) = folder.compiled("rustc", &["-g", "-O", "--edition=2024"], "rs", text) else { return };
    let running = Running::program(&program);
    let frames = Resolver::new(true).user(running.pid, &running.stack);
    let last: Vec<_> = frames.iter().rev().take(2).map(|frame| (frame.name.as_str(), frame.inlined)).collect();
    assert!(
        matches!(last[..], [("chain::deep::folded", true), (caller, false)] if caller.starts_with("chain::deep::caller")),
        "{last:?}"
    );
}

#[test]
fn gsym_takes_the_place_of_debug_information() {
    let folder = Folder::new();
    let Some(program) = folder.chain() else { return };
    let Some(tool) = ["llvm-gsymutil", "llvm-gsymutil-19"]
        .into_iter()
        .find(|tool| Command::new(tool).arg("--help").output().is_ok())
    else {
        return println!("skipped: needs `llvm-gsymutil`");
    };
    let out =
        Command::new(tool).arg("--convert").arg(&program).arg("-o").arg(folder.0.join("chain.gsym")).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    assert!(Command::new("strip").arg("-s").arg(&program).status().unwrap().success());
    let running = Running::program(&program);
    assert_eq!(names(&Resolver::new(true).user(running.pid, &running.stack)), INLINED);
    assert_eq!(names(&Resolver::new(false).user(running.pid, &running.stack)), PLAIN);
}

#[test]
fn damaged_files_give_reasons_and_nothing_worse() {
    let folder = Folder::new();
    let Some(program) = folder.chain() else { return };
    let whole = fs::read(&program).unwrap();
    let damaged = folder.0.join("damaged");
    let look_up = |bytes: &[u8]| {
        fs::write(&damaged, bytes).unwrap();
        for inlines in [false, true] {
            let place = Place { file: File::open(&damaged).unwrap(), path: "damaged", beside: false };
            if let Ok(mut image) = Image::open(place, inlines) {
                for offset in (0x1000..0x1400).step_by(64) {
                    let frames = &image.at(offset).frames;
                    assert!(frames.iter().all(|frame| !frame.name.is_empty()) && !frames.is_empty());
                }
            }
        }
    };
    (0..16).for_each(|part| look_up(&whole[..whole.len() * part / 16]));
    // Repeatable noise.
    let mut seed = 1u64;
    for _ in 0..60 {
        let mut bytes = whole.clone();
        for _ in 0..40 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = (seed >> 20) as u8;
        }
        look_up(&bytes);
    }
}

#[test]
fn vdso_is_named() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let Some(line) = super::mappings::lines(&maps).find(|line| line.path == "[vdso]") else {
        return println!("skipped: there is no vdso");
    };
    let mut resolver = Resolver::new(false);
    let mut names = line.range.step_by(16).map(|address| resolver.user_name(std::process::id(), address));
    assert!(names.any(|name| name.contains("clock_gettime")));
}

#[test]
fn kernel_address_is_named_or_its_reason_given() {
    let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let function = text.lines().find_map(|line| line.strip_suffix(" T vfs_read"));
    let Some(address) = function.and_then(|address| u64::from_str_radix(address, 16).ok()) else {
        return println!("skipped: needs /proc/kallsyms");
    };
    let frames = Resolver::new(false).kernel(&[address + 4, 0xffff_ffff_0000_0010]);
    let shown: Vec<_> = frames.iter().map(|frame| (frame.name.as_str(), frame.unresolved)).collect();
    let reason = if address == 0 { reason::KERNEL_HIDDEN } else { reason::KERNEL_UNKNOWN };
    assert_eq!(shown[0], ("0xffffffff0000000f", Some(reason)));
    if address != 0 {
        assert_eq!(shown[1], ("vfs_read", None));
    }
    assert!(frames.iter().all(|frame| frame.origin == Origin::Kernel));
}

#[test]
fn address_that_nothing_is_mapped_at_is_shown_as_it_is() {
    let frames = Resolver::new(false).user(std::process::id(), &[0x10]);
    assert_eq!((frames[0].name.as_str(), frames[0].unresolved), ("0x10", Some(reason::NOT_MAPPED)));
}

#[test]
fn file_that_is_no_program_is_told() {
    let folder = Folder::new();
    let text = folder.0.join("text");
    fs::write(&text, "#!/bin/sh\n").unwrap();
    let whose = super::files::Whose { pid: u32::MAX, range: 0..0 };
    let mut files = Files::default();
    let data = fs::metadata(&text).unwrap();
    let identity = super::files::Identity::Inode(super::files::inode(&data));
    let number = files.seen(identity, text.to_str().unwrap(), false, &whose);
    assert_eq!(files.image(number, false).err(), Some(reason::NO_ELF));
    let other = super::files::Identity::BuildId(vec![1; 20]);
    let number = files.seen(other, text.to_str().unwrap(), false, &whose);
    assert_eq!(files.image(number, false).err(), Some(reason::REPLACED));
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
