//! Scripts that ask functions of the kernel, on workloads of known size. They run in guests, on kernels that have kprobes.

use serde_json::Value;
use skep_tests::guest::{lacks, release};
use skep_tests::machine::Folder;
use skep_tests::workload::line;
use skep_tests::{Output, Skep, guest};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[track_caller]
fn ran(script: &str, arguments: &[&str], verbs: &str) -> Output {
    let output = Skep::new(&["--format", "json", "run", script, "-c", &line(verbs)]).arguments(arguments).run().ok();
    assert_eq!(output.trust("lost"), 0, "{output}");
    output
}

#[test]
fn capabilities_are_told_with_their_answer() {
    guest!();
    let output = ran("capable", &["--denied", "true"], "chroot 23");
    let texts = output.texts();
    let chroot = texts.iter().find(|text| text.contains("SYS_CHROOT")).unwrap_or_else(|| panic!("{output}"));
    assert!(chroot.ends_with(" 23"), "{output}");
}

#[test]
fn names_that_are_not_cached_are_told() {
    guest!();
    let output = ran("dcsnoop", &["--top", "1000"], "stat 1 /nothing-here-23 stat 1 /nothing-here-29");
    let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
    for name in ["nothing-here-23", "nothing-here-29"] {
        // An overlay asks the file system below it too.
        let asked = rows.iter().any(|row| row["key"]["name"] == name && row["key"]["folder"] == "/");
        assert!(asked, "{name}\n{output}");
    }
    let again = ran("dcsnoop", &["--top", "1000"], "stat 23 /dev/null");
    let rows = again.table(0)["rows"].as_array().cloned().unwrap_or_default();
    assert!(!rows.iter().any(|row| row["key"]["name"] == "null"), "what is there is in the cache\n{again}");
}

#[test]
fn data_of_unix_sockets_is_told_piece_by_piece() {
    guest!();
    let run = Skep::new(&["--format", "json", "run", "undump"]).start().attached();
    let (mut here, mut there) = UnixStream::pair().expect("two sockets");
    for _ in 0..23 {
        here.write_all(b"a secret of 23").expect("it is sent");
        there.read_exact(&mut [0; 14]).expect("it is received");
    }
    let output = run.interrupt().ok();
    let pieces = output.objects("event").into_iter().filter(|event| event["fields"]["pid"] == std::process::id());
    let pieces: Vec<_> = pieces.filter(|event| event["fields"]["bytes"] == 14).collect();
    assert_eq!(pieces.len(), 23, "{output}");
    let data = pieces[0]["fields"]["data"].as_str().unwrap_or_default().to_owned();
    assert!(data.starts_with("a secret of 23"), "{data}\n{output}");
}

#[test]
fn pages_that_are_read_again_are_in_memory() {
    guest!();
    let file = std::env::temp_dir().join("skep-cachestat");
    std::fs::write(&file, vec![b'x'; 1009 * 4096]).expect("there is room");
    let run = Skep::new(&["--format", "json", "run", "cachestat", "--seconds", "60"]).start().attached();
    assert_eq!(std::fs::read(&file).expect("it is there").len(), 1009 * 4096);
    let output = run.interrupt().ok();
    let texts = output.texts();
    let line: Vec<&str> = texts.last().expect("a line").split_whitespace().collect();
    let [hits, misses]: [u64; 2] = [0, 1].map(|n| line[n].parse().unwrap_or_else(|_| panic!("{output}")));
    assert!((1009..2018).contains(&hits) && misses < 101, "{output}");
    std::fs::remove_file(&file).expect("it is ours");
}

/// The disk that a guest has.
const DISK: &str = "/dev/nvme0n1";

#[test]
fn pages_that_are_read_ahead_are_used_or_not() {
    guest!();
    // What is known of the disk by now is none of it.
    std::fs::write("/proc/sys/vm/drop_caches", "1").expect("a guest is ours");
    let run = Skep::new(&["--format", "json", "run", "readahead"]).start().attached();
    let mut disk = std::fs::File::open(DISK).expect("there is a disk");
    let mut block = vec![0; 16 * 4096];
    (0..64).for_each(|_| disk.read_exact(&mut block).expect("it is read"));
    let output = run.interrupt().ok();
    let texts = output.texts();
    let line = texts.first().unwrap_or_else(|| panic!("{output}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let [read, used, unused]: [u64; 3] = [0, 4, 6].map(|n| words[n].parse().unwrap_or_else(|_| panic!("{output}")));
    // What was read are 1024 pages, in as many folios where those are of one page; the kernel's window is ahead of the reader.
    assert!((23..1024 + 101).contains(&used) && (1..101).contains(&unused) && read < 1024 + 101, "{output}");
    assert_eq!(unused, output.trust("open"), "{output}");
}

#[test]
fn pages_that_come_back_from_swap_are_counted() {
    guest!();
    let shell = |line: &str| {
        let status = std::process::Command::new("sh").args(["-ec", line]).status();
        assert!(status.is_ok_and(|status| status.success()), "{line}");
    };
    shell(&format!("mkswap {DISK} > /dev/null; swapon {DISK}"));
    shell("echo +memory > /sys/fs/cgroup/cgroup.subtree_control; mkdir /sys/fs/cgroup/tight");
    shell("echo 24M > /sys/fs/cgroup/tight/memory.max");
    let script = r#"probe(first_of(["kprobe:swap_read_folio", "kprobe:swap_readpage"])).by(comm).count()"#;
    let run = Skep::script(script).start().attached();
    let counter = || {
        let text = std::fs::read_to_string("/proc/vmstat").expect("/proc is mounted");
        let line = text.lines().find_map(|line| line.strip_prefix("pswpin ")).map(str::to_owned);
        line.and_then(|number| number.parse::<u64>().ok()).expect("it is a number")
    };
    let before = counter();
    let file = "/dev/shm/skep-swap";
    let tight = "echo $$ > /sys/fs/cgroup/tight/cgroup.procs";
    shell(&format!("{tight}; head -c 50331648 /dev/urandom > {file}; cat {file} > /dev/null"));
    let output = run.interrupt().ok();
    let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
    let counted: u64 = rows.iter().filter_map(|row| row["value"].as_u64()).sum();
    let came = counter() - before;
    shell(&format!("rm {file}; swapoff {DISK}; rmdir /sys/fs/cgroup/tight"));
    // Half of the file, at least.
    assert!(came >= 48 * 256 / 2, "{came} pages came back\n{output}");
    assert_eq!(counted, came, "{output}");
}

/// Events of this process that have to do with files of such names.
#[track_caller]
fn events_of(output: &Output, name: &str) -> Vec<Value> {
    let events = output.objects("event").into_iter().filter(|event| event["fields"]["pid"] == std::process::id());
    events.filter(|event| event["fields"]["file"].as_str().is_some_and(|file| file.starts_with(name))).collect()
}

#[test]
fn files_are_told_with_their_life_when_they_are_removed() {
    guest!();
    let folder = Folder::new();
    let run = Skep::new(&["--format", "json", "run", "filelife"]).start().attached();
    let since = Instant::now();
    folder.file("stays", "");
    for n in 0..23 {
        let file = folder.file(&format!("short-{n}"), "");
        std::thread::sleep(Duration::from_millis(11));
        std::fs::remove_file(file).expect("it is ours");
    }
    let most = since.elapsed().as_millis() as u64;
    let output = run.interrupt().ok();
    let lives = events_of(&output, "short-");
    let lived = |event: &Value| event["fields"]["ms"].as_u64().is_some_and(|ms| (11..=most).contains(&ms));
    assert!(lives.iter().all(lived), "{output}");
    assert_told(lives.len(), 23, &output);
    assert_eq!(events_of(&output, "stays").len(), 0, "{output}");
}

/// Are there so many, but for those that the kernel counts as missed? A program of BPF may be interrupted for another task,
/// and is not run for that one meanwhile.
#[track_caller]
fn assert_told(told: usize, wanted: usize, output: &Output) {
    let missed = output.trust("missed") as usize;
    assert!((1..=wanted).contains(&told) && told + missed >= wanted, "{told} of {wanted}\n{output}");
    assert_eq!(output.trust("lost"), 0, "{output}");
}

#[test]
fn reads_and_writes_of_files_are_told() {
    guest!();
    let folder = Folder::new();
    let run = Skep::new(&["--format", "json", "run", "fsslower", "--slower", "0"]).start().attached();
    let mut file = std::fs::File::create_new(folder.0.join("blocks")).expect("there is room");
    (0..211).for_each(|_| file.write_all(&[b'x'; 4241]).expect("there is room"));
    let mut file = std::fs::File::open(folder.0.join("blocks")).expect("it is there");
    (0..101).for_each(|_| file.read_exact(&mut [0; 1009]).expect("it is read"));
    let output = run.interrupt().ok();
    let events = events_of(&output, "blocks");
    let of = |function: &str, result: u64| {
        let call = |event: &&Value| event["fields"]["probe"].as_str().is_some_and(|probe| probe.ends_with(function));
        events.iter().filter(call).filter(|event| event["fields"]["result"] == result).count()
    };
    let (writes, reads) = (of("vfs_write", 4241), of("vfs_read", 1009));
    assert!(writes <= 211 && reads <= 101 && writes + reads == events.len(), "{output}");
    assert_told(events.len(), 211 + 101, &output);
}

#[test]
fn syncs_of_files_are_told() {
    guest!();
    let folder = Folder::new();
    let file = std::fs::File::create_new(folder.0.join("synced")).expect("there is room");
    let run = Skep::new(&["--format", "json", "run", "fsslower", "--slower", "0"]).start().attached();
    (0..23).for_each(|_| file.sync_all().expect("it is written"));
    let output = run.interrupt().ok();
    let events = events_of(&output, "synced");
    if release() >= (7, 0) {
        assert_eq!(events.len(), 0, "{output}");
        return lacks("fsync(2) has what it calls inlined");
    }
    assert_told(events.len(), 23, &output);
}

#[test]
fn reads_that_take_long_are_told_and_no_others() {
    guest!();
    const LEAST: Duration = Duration::from_millis(5);
    let folder = Folder::new();
    // Holes; memory that is used for the first time takes a guest a second.
    let large = std::fs::File::create(folder.0.join("large")).and_then(|file| file.set_len(97 << 20));
    large.expect("there is room");
    folder.file("tiny", &"x".repeat(1009));
    let words = ["--format", "json", "run", "fsslower", "--slower", "5", "--paths", "true"];
    let run = Skep::new(&words).start().attached();
    for _ in 0..3 {
        let mut file = std::fs::File::open(folder.0.join("large")).expect("it is there");
        file.read_exact(&mut vec![0; 97 << 20]).expect("it is read");
    }
    let mut file = std::fs::File::open(folder.0.join("tiny")).expect("it is there");
    // A busy machine may hold one up.
    let slow = (0..1009).filter(|_| {
        let since = Instant::now();
        file.read_exact(&mut [0]).expect("it is read");
        since.elapsed() >= LEAST
    });
    let slow = slow.count();
    let output = run.interrupt().ok();
    let path = |name: &str| folder.0.join(name).display().to_string();
    let reads = events_of(&output, &path("large"));
    let whole = |event: &Value| event["fields"]["ms"].as_u64() >= Some(5) && event["fields"]["result"] == 97 << 20;
    assert!(reads.iter().all(whole), "{output}");
    assert_told(reads.len(), 3, &output);
    assert!(events_of(&output, &path("tiny")).len() <= slow && slow < 101, "{slow}\n{output}");
}

#[test]
fn calls_of_the_file_system_layer_are_timed_by_program() {
    guest!();
    for (function, verbs, calls) in [("vfs_read", "read 1009 4096", 1009), ("vfs_write", "sync 23", 23)] {
        let output = ran("vfslat", &["--function", function, "--comm", "calls"], &format!("name calls {verbs}"));
        let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
        let [row] = &rows[..] else { panic!("one program\n{output}") };
        assert_eq!(row["key"]["comm"], "calls", "{output}");
        assert_told(row["value"]["n"].as_u64().unwrap_or(0) as usize, calls, &output);
    }
}
