//! Verbs of `skep-workload` that scripts of the library ask about: each is one event for them, N times.

use std::ffi::{CString, c_void};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::ptr::{null, null_mut};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub const VERBS: &str = "\
nap N MS            sleeps
doze N MS           the same by the older nanosleep(2)
statx N PATH        asked for by statx(2)
type N WORD         lines `: WORD` into a bash at a terminal
sync N              fsync of a file of its own, a page written before each
mount N             of nothing, at a place that is not there: ENOENT
bind N              sockets to 127.0.0.1, at any port
map N SIZE          new private memory that nobody touches
wait N              for a lock that nobody gives back, 1 ms
wake N              whoever waits for a lock, which is nobody
ring N MS           a thread called `sleeper` reads what one called `bell` writes when the other has waited for so long
setuid N            to the user that it is
chroot N            as nobody, who may not
seize N             a child of its own, by ptrace
run N PATH          a program, whatever becomes of it
resolve N NAME      by the C library
reclaim N FOLDER    pages of a file read into the memory of a control group, which has no room for them
hop N               from one processor to the other and back
starve N MS         a thread called `victim` waits for a processor, which one called `tyrant` keeps; after a nap each
zipf N KEYS         seeks in an empty file: the offset n is sought as often as zipf.rs says
crowd N MS          threads that compute on one processor
burn MS             computes until it has had so much of a processor's time";

/// `false`: there is no such verb here.
pub fn act<'a>(verb: &str, n: i64, word: &mut dyn FnMut() -> &'a str) -> bool {
    let mut number = || word().parse::<i64>().expect("a number");
    match verb {
        "nap" => nap(n, number()),
        "doze" => doze(n, number()),
        "statx" => statx(n, word()),
        "type" => type_lines(n, word()),
        "sync" => sync(n),
        "mount" => mount(n),
        "bind" => (0..n).for_each(|_| drop(TcpListener::bind("127.0.0.1:0").expect("a port is free"))),
        "map" => map(n, number() as usize),
        "wait" => wait(n),
        "wake" => wake(n),
        "ring" => ring(n, Duration::from_millis(number() as u64)),
        // SAFETY: asks for what is so already.
        "setuid" => (0..n).for_each(|_| unsafe {
            assert_eq!(libc::syscall(libc::SYS_setuid, libc::geteuid()), 0);
        }),
        "chroot" => chroot(n),
        "seize" => seize(n),
        "run" => {
            let path = word();
            for _ in 0..n {
                let _whatever = Command::new(path).status().expect("it starts");
            }
        }
        "resolve" => resolve(n, word()),
        "reclaim" => reclaim(n as usize, word()),
        // Back too, so that the first is from where the last one ended.
        "hop" => (0..n).for_each(|at| pinned((at + 1) as usize % 2)),
        "starve" => starve(n, Duration::from_millis(number() as u64)),
        "zipf" => seek(crate::zipf::stream(n as usize, number() as u64)),
        "crowd" => crowd(n, Duration::from_millis(number() as u64)),
        "burn" => burn(Duration::from_millis(n as u64)),
        _ => return false,
    }
    true
}

fn seek(offsets: impl Iterator<Item = u64>) {
    // SAFETY: plain system calls on a descriptor of our own.
    let fd = unsafe { libc::memfd_create(c"seek".as_ptr(), 0) };
    // SAFETY: as above.
    offsets.for_each(|offset| assert!(unsafe { libc::lseek(fd, offset as i64, libc::SEEK_SET) } >= 0));
}

fn nap(n: i64, milliseconds: i64) {
    let time = libc::timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
    // SAFETY: reads a time of our own.
    (0..n).for_each(|_| assert_eq!(unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &time, null_mut()) }, 0));
}

fn doze(n: i64, milliseconds: i64) {
    let time = libc::timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
    // SAFETY: reads a time of our own.
    (0..n).for_each(|_| assert_eq!(unsafe { libc::syscall(libc::SYS_nanosleep, &time, null::<libc::timespec>()) }, 0));
}

fn statx(n: i64, path: &str) {
    let path = CString::new(path).expect("no NUL in it");
    // SAFETY: all zeros is a valid value of a struct of integers.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    for _ in 0..n {
        // SAFETY: a path and a place for the answer, both our own.
        unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, libc::STATX_SIZE, &mut found) };
    }
}

/// `script` gives the shell a terminal of its own and types what it reads.
fn type_lines(n: i64, word: &str) {
    let mut script = Command::new("script");
    script.args(["-qec", "bash --norc --noprofile -i", "/dev/null"]).env("HISTFILE", "");
    let mut shell = script.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("`script` starts");
    let mut keyboard = shell.stdin.take().expect("it is a pipe");
    for line in (0..n).map(|_| format!(": {word}\n")).chain(["exit\n".to_owned()]) {
        keyboard.write_all(line.as_bytes()).expect("the shell reads");
    }
    assert!(shell.wait().expect("it is our child").success(), "the shell fails");
}

fn mount(n: i64) {
    // Made here, so that they are in memory: of a constant's page that nobody touched yet, no program of the kernel's reads.
    let texts = ["none", "/nonexistent/skep", "tmpfs"].map(|text| CString::new(text).expect("no NUL in it"));
    let [what, nowhere, kind] = texts.each_ref().map(|text| text.as_ptr());
    // SAFETY: texts of our own, and nothing to read behind them.
    (0..n).for_each(|_| assert_eq!(unsafe { libc::mount(what, nowhere, kind, 0, null()) }, -1));
}

fn sync(n: i64) {
    let path = std::env::temp_dir().join(format!("skep-sync-{}", std::process::id()));
    let mut file = std::fs::File::create(&path).expect("a file of our own");
    for _ in 0..n {
        file.write_all(&[b'x'; 4096]).expect("there is room");
        file.sync_all().expect("it is written");
    }
    std::fs::remove_file(path).expect("it is ours");
}

fn map(n: i64, size: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: memory of our own, which nobody looks at.
    (0..n).for_each(|_| unsafe {
        assert_ne!(libc::mmap(null_mut(), size, libc::PROT_NONE, flags, -1, 0), libc::MAP_FAILED);
    });
}

fn wait(n: i64) {
    let (lock, time) = (0u32, libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 });
    // SAFETY: waits on a word and by a time of our own.
    (0..n).for_each(|_| unsafe {
        assert_eq!(libc::syscall(libc::SYS_futex, &lock, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0, &time), -1);
    });
}

fn wake(n: i64) {
    let lock = 0u32;
    // SAFETY: names a word of our own.
    (0..n).for_each(|_| unsafe {
        assert_eq!(libc::syscall(libc::SYS_futex, &lock, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1), 0);
    });
}

/// Each wait is a whole one: the bell is silent until its sleeper sleeps.
fn ring(n: i64, time: Duration) {
    let (mut hears, mut rings) = std::io::pipe().expect("there are descriptors");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            named("sleeper");
            // SAFETY: no arguments, cannot fail.
            tell.send(unsafe { libc::gettid() }).expect("the bell listens");
            (0..n).for_each(|_| hears.read_exact(&mut [0]).expect("the bell rings"));
        });
        scope.spawn(move || {
            named("bell");
            let sleeper = told.recv().expect("there is a sleeper");
            for _ in 0..n {
                // What it was told before, it has read: it waits for what comes now.
                while unread(&rings) > 0 || !sleeps(sleeper) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(time);
                rings.write_all(&[0]).expect("the sleeper hears");
            }
        });
    });
}

/// Bytes in a pipe.
fn unread(pipe: &std::io::PipeWriter) -> i32 {
    let mut bytes = 0;
    // SAFETY: writes one int.
    assert_eq!(unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut bytes) }, 0);
    bytes
}

/// Does a thread of this process wait?
pub fn sleeps(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

fn chroot(n: i64) {
    // SAFETY: plain system calls; this thread alone becomes nobody.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534), 0);
        (0..n).for_each(|_| assert_eq!(libc::chroot(c"/".as_ptr()), -1));
    }
}

fn seize(n: i64) {
    let mut child = Command::new("sleep").arg("60").spawn().expect("it starts");
    let pid = child.id() as i32;
    // SAFETY: system calls about our own child, which is not waited for yet.
    unsafe {
        for _ in 0..n {
            assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, pid, null_mut::<c_void>(), null_mut::<c_void>()), 0);
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, pid, null_mut::<c_void>(), null_mut::<c_void>()), 0);
            assert_eq!(libc::waitpid(pid, null_mut(), libc::__WALL), pid);
            assert_eq!(libc::ptrace(libc::PTRACE_DETACH, pid, null_mut::<c_void>(), null_mut::<c_void>()), 0);
        }
    }
    child.kill().and_then(|()| child.wait()).expect("it is our child");
}

fn resolve(n: i64, name: &str) {
    let name = CString::new(name).expect("no NUL in it");
    for _ in 0..n {
        let mut found = null_mut();
        // SAFETY: reads the name, and frees what it gave.
        unsafe {
            if libc::getaddrinfo(name.as_ptr(), null(), null(), &mut found) == 0 {
                libc::freeaddrinfo(found);
            }
        }
    }
}

fn reclaim(pages: usize, folder: &str) {
    let path = std::env::temp_dir().join(format!("skep-reclaim-{}", std::process::id()));
    std::fs::write(&path, vec![b'x'; pages * 4096]).expect("there is room");
    // What is clean is easily given up; what is not in memory at all is read into that of the group.
    let file = std::fs::File::open(&path).expect("it is there");
    file.sync_all().expect("it is written");
    // SAFETY: a descriptor of our own.
    let forgets = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(forgets, 0);
    std::fs::write(format!("{folder}/cgroup.procs"), "0").expect("it joins the control group");
    let (mut file, mut buffer) = (std::fs::File::open(&path).expect("it is there"), vec![0; 1 << 16]);
    while file.read(&mut buffer).expect("it is read") > 0 {}
    std::fs::remove_file(path).expect("it is ours");
}

fn pinned(cpu: usize) {
    // SAFETY: a set of our own, for this thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set), 0, "there is a processor {cpu}");
    }
}

fn named(name: &str) {
    let name = CString::new(name).expect("no NUL in it");
    // SAFETY: reads a text that ends in NUL.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }, 0);
}

fn compute(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::black_box((0..1000).sum::<u64>());
    }
}

/// The tyrant is of the real-time class: it runs when it wants to, and only then.
fn starve(n: i64, time: Duration) {
    let (over, ends) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            pinned(1);
            named("victim");
            while ends.try_recv().is_err_and(|error| error == mpsc::TryRecvError::Empty) {
                std::hint::black_box((0..100).sum::<u64>());
            }
        });
        scope.spawn(move || {
            pinned(1);
            named("tyrant");
            let priority = libc::sched_param { sched_priority: 1 };
            // SAFETY: sets the class of this thread.
            assert_eq!(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) }, 0);
            for _ in 0..n {
                nap(1, 30);
                compute(time);
            }
            nap(1, 30);
            drop(over);
        });
    });
}

fn crowd(n: i64, time: Duration) {
    std::thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| {
                pinned(1);
                compute(time);
            });
        }
    });
}

fn burn(time: Duration) {
    let mut had = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    while Duration::new(had.tv_sec as u64, had.tv_nsec as u32) < time {
        std::hint::black_box((0..100_000).sum::<u64>());
        // SAFETY: writes a time of our own.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut had) }, 0);
    }
}
