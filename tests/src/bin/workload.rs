//! A workload of known size: `skep-workload VERB ARGUMENTS VERB ARGUMENTS …`, done in their order.
//!
//! Exact counts need system calls that neither the loader nor Rust's start makes by itself (`getpgid`, `getppid`), or a
//! `stop` first: the process then waits, started and quiet, until somebody has attached and sends SIGCONT.

use skep_tests::{calls, peers, troubles};
use std::ffi::CString;
use std::hint::black_box;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// For uprobes: what it is called with can be summed up, and so can what it gives back.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_double(value: u64, other: u64) -> u64 {
    black_box(other);
    black_box(value * 2)
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_negate(value: i64) -> i64 {
    black_box(-black_box(value))
}

/// Its argument is a text.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_greet(name: *const libc::c_char) -> i64 {
    black_box(name) as i64 & 1
}

/// Overwrites the text that it is given.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_erase(name: *mut libc::c_char, length: usize) {
    // SAFETY: the only caller passes a text of its own with its length.
    unsafe { libc::memset(black_box(name).cast(), i32::from(b'?'), length) };
}

/// Calls itself, and is no loop: each call has a frame of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_recurse(depth: u64) -> u64 {
    if black_box(depth) == 0 { 0 } else { black_box(workload_recurse(depth - 1) + 1) }
}

/// Its argument is a function, which it calls.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_call(function: extern "C" fn(i64) -> i64, value: i64) -> i64 {
    black_box(black_box(function)(value))
}

/// The start of something that any thread may finish.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_begin(key: u64) {
    black_box(key);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn workload_finish(key: u64) {
    black_box(key);
}

const VERBS: &str = "\
stop                wait for SIGCONT
fork N              children, one after the other; each does what follows, nobody else does
thread              does what follows
become              another program, this one, which does what follows
name NAME           of the thread from here on
getpgid N           system calls that always succeed
getppid N           the same, through libc's function
badpgid N           getpgid(-1): each fails with ESRCH (3)
open N PATH         opened for reading and closed
stat N PATH         asked for by newfstatat
read N SIZE         from /dev/zero, descriptor 100
lseek N OFFSET      in an empty file; negative ones fail with EINVAL (22)
double N            workload_double(n, 7) for n from 1 to N
negate N            workload_negate(n) for n from 1 to N
call N              workload_call(workload_negate, n) for n from 1 to N
greet N NAME        workload_greet(NAME)
erase N NAME        workload_erase(NAME, its length), which is overwritten
recurse N DEPTH     workload_recurse(DEPTH)
begin N KEY         workload_begin(KEY), with KEY + 1, … N of them
finish N KEY        workload_finish(KEY) likewise
exec N              /bin/true, waited for
kill N SIGNAL       to itself
block N PATH        blocks of 4096 bytes read from a disk, past the page cache
touch N             pages of new memory, too few for a huge one
spin MS             computes
sleep MS            waits
serve ADDRESS       takes TCP connections at ADDRESS:PORT, one after the other, and answers each; never ends
connect ADDRESS MS  makes one and waits for its answer; ends with status 1 if none comes in time
pause N             threads call pause(), all of them at once, until each has a signal
alone               in a network of its own from here on
enter FILE          that stands for a network, /run/netns/NAME
join FOLDER         of a control group
dns WAY N NAME TYPE MS            queries; WAY is udp4, udp6, tcp4 or tcp6; answered after MS
http WAY N METHOD PATH STATUS MS  requests on one connection
proxy N PATH MS MS  requests to a proxy, which takes so long itself, and asks a server that takes so long
hello WAY N NAME MS               beginnings of TLS connections
noise N             packets that are hardly DNS, HTTP or TLS
exit STATUS         at once";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.contains(&"block") {
        // Where memory ran short its own code comes from a disk, too: now, not among the requests that are counted.
        // SAFETY: no memory is passed; where it is not permitted, nothing is locked.
        unsafe { libc::mlockall(libc::MCL_CURRENT) };
    }
    work(&words)
}

fn serve(address: &str) {
    let listener = std::net::TcpListener::bind(address).expect("the address is ours");
    for mut stream in listener.incoming().flatten() {
        // Who is gone needs no answer.
        let _gone = std::io::Write::write_all(&mut stream, b"!");
    }
}

fn connect(address: &str, within: Duration) -> std::io::Result<()> {
    let address = address.parse().map_err(std::io::Error::other)?;
    let mut stream = std::net::TcpStream::connect_timeout(&address, within)?;
    stream.set_read_timeout(Some(within))?;
    std::io::Read::read_exact(&mut stream, &mut [0])
}

fn work(words: &[&str]) -> ExitCode {
    let mut words = words.iter().copied();
    while let Some(verb) = words.next() {
        let mut word = || words.next().unwrap_or_else(|| panic!("`{verb}` lacks an argument\n{VERBS}"));
        match verb {
            // SAFETY: stops this process, nothing else.
            "stop" => assert_eq!(unsafe { libc::raise(libc::SIGSTOP) }, 0),
            "name" => name(word()),
            "fork" => match fork(number(word())) {
                Forked::Child => {}
                Forked::Parent => return ExitCode::SUCCESS,
            },
            "thread" => {
                let rest: Vec<&str> = words.collect();
                return std::thread::scope(|scope| scope.spawn(|| work(&rest)).join()).expect("it does not panic");
            }
            "serve" => serve(word()),
            "connect" => {
                if let Err(error) = connect(word(), Duration::from_millis(number(word()).unsigned_abs())) {
                    eprintln!("{error}");
                    return ExitCode::FAILURE;
                }
            }
            "become" => {
                let error = std::process::Command::new("/proc/self/exe").args(words).exec();
                panic!("it becomes nothing: {error}");
            }
            "alone" => peers::alone(),
            "enter" => peers::enter(word()),
            "join" => std::fs::write(format!("{}/cgroup.procs", word()), "0").expect("it joins the control group"),
            "dns" => peers::dns(word(), short(word()), word(), short(word()), milliseconds(word())),
            "http" => peers::http(word(), short(word()), word(), word(), short(word()), milliseconds(word())),
            "proxy" => peers::proxied(short(word()), word(), milliseconds(word()), milliseconds(word())),
            "hello" => peers::hello(word(), short(word()), word(), milliseconds(word())),
            "noise" => peers::noise(short(word())),
            "exit" => return ExitCode::from(number(word()) as u8),
            _ => act(verb, number(word()), &mut word),
        }
    }
    ExitCode::SUCCESS
}

enum Forked {
    Child,
    Parent,
}

/// Returns in each child, and in the parent when all of them have ended well.
fn fork(n: i64) -> Forked {
    for _ in 0..n {
        // SAFETY: there is one thread, so that the child may do what it likes.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "fork fails");
        if child == 0 {
            return Forked::Child;
        }
        let mut status = 0;
        // SAFETY: waits for our own child and writes one int.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "a child fails");
    }
    Forked::Parent
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or_else(|_| panic!("`{word}` is no number"))
}

fn short(word: &str) -> u16 {
    word.parse().unwrap_or_else(|_| panic!("`{word}` is no small number"))
}

fn milliseconds(word: &str) -> Duration {
    Duration::from_millis(short(word).into())
}

fn text(word: &str) -> CString {
    CString::new(word).expect("words have no NUL")
}

fn name(name: &str) {
    let name = text(name);
    // SAFETY: reads a text that ends in NUL.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }, 0);
}

/// /dev/zero as descriptor 100, which no loader uses.
fn zero() -> i32 {
    // SAFETY: plain system calls on descriptors of our own.
    let fd = unsafe {
        let fd = libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY);
        let moved = libc::dup2(fd, 100);
        libc::close(fd);
        moved
    };
    assert_eq!(fd, 100);
    fd
}

/// Each read is one request to the disk.
fn read_blocks(n: i64, path: &CString) {
    #[repr(align(4096))]
    struct Block([u8; 4096]);
    let mut block = Block([0; 4096]);
    // SAFETY: plain system calls with a buffer of our own, aligned as O_DIRECT wants it.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_DIRECT);
        assert!(fd >= 0, "{path:?} cannot be opened");
        (0..n).for_each(|at| assert_eq!(libc::pread(fd, block.0.as_mut_ptr().cast(), 4096, at * 4096), 4096));
        libc::close(fd);
    }
}

/// The signals are sent when every thread waits.
fn pause(n: usize) {
    extern "C" fn nothing(_: i32) {}
    let handler = nothing as extern "C" fn(i32);
    // SAFETY: a handler that does nothing; without SA_RESTART a pause ends by it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    let (told, tells) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..n {
            let told = told.clone();
            scope.spawn(move || {
                // SAFETY: plain system calls.
                told.send(unsafe { libc::gettid() }).expect("somebody listens");
                unsafe { libc::pause() };
            });
        }
        let threads: Vec<i32> = tells.iter().take(n).collect();
        for thread in &threads {
            // Behind what it told, it waits nowhere else.
            while !calls::sleeps(*thread) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        for thread in threads {
            // SAFETY: signals a thread of our own, which is not joined yet.
            unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, libc::SIGUSR1) };
        }
    });
}

fn act<'a>(verb: &str, n: i64, word: &mut dyn FnMut() -> &'a str) {
    // SAFETY (all calls below): plain system calls with buffers of our own that outlive them.
    match verb {
        "getpgid" => (0..n).for_each(|_| assert!(unsafe { libc::getpgid(0) } >= 0)),
        "getppid" => (0..n).for_each(|_| assert!(unsafe { libc::getppid() } >= 0)),
        "badpgid" => (0..n).for_each(|_| assert_eq!(unsafe { libc::getpgid(-1) }, -1)),
        "open" => {
            let path = text(word());
            (0..n).for_each(|_| unsafe {
                let fd = libc::open(path.as_ptr(), libc::O_RDONLY);
                // A path that does not exist is a workload too.
                if fd >= 0 {
                    libc::close(fd);
                }
            });
        }
        "stat" => {
            let path = text(word());
            // SAFETY: all zeros is a valid value of a struct of integers.
            let mut found: libc::stat = unsafe { std::mem::zeroed() };
            (0..n).for_each(|_| {
                black_box(unsafe { libc::fstatat(libc::AT_FDCWD, path.as_ptr(), &mut found, 0) });
            });
        }
        "read" => {
            let (fd, mut buffer) = (zero(), vec![0u8; number(word()) as usize]);
            (0..n).for_each(|_| {
                let got = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
                assert_eq!(got, buffer.len() as isize);
            });
        }
        "lseek" => {
            let (fd, offset) = (unsafe { libc::memfd_create(c"seek".as_ptr(), 0) }, number(word()));
            (0..n).for_each(|_| assert_eq!(unsafe { libc::lseek(fd, offset, libc::SEEK_SET) } < 0, offset < 0));
        }
        "double" => (1..=n as u64).for_each(|value| assert_eq!(workload_double(value, 7), 2 * value)),
        "negate" => (1..=n).for_each(|value| assert_eq!(workload_negate(value), -value)),
        "call" => (1..=n).for_each(|value| assert_eq!(workload_call(workload_negate, value), -value)),
        "greet" => {
            let name = text(word());
            (0..n).for_each(|_| {
                black_box(workload_greet(name.as_ptr()));
            });
        }
        "erase" => {
            let name = word();
            for _ in 0..n {
                let mut name = text(name).into_bytes_with_nul();
                workload_erase(name.as_mut_ptr().cast(), name.len() - 1);
            }
        }
        "recurse" => {
            let depth = number(word()) as u64;
            (0..n).for_each(|_| assert_eq!(workload_recurse(depth), depth));
        }
        "begin" | "finish" => {
            let call = if verb == "begin" { workload_begin } else { workload_finish };
            let key = number(word()) as u64;
            (key..key + n as u64).for_each(|key| call(key));
        }
        "exec" => (0..n).for_each(|_| {
            assert!(std::process::Command::new("/bin/true").status().is_ok_and(|status| status.success()));
        }),
        "kill" => {
            let (pid, signal) = (std::process::id() as i32, number(word()) as i32);
            (0..n).for_each(|_| assert_eq!(unsafe { libc::kill(pid, signal) }, 0));
        }
        "block" => read_blocks(n, &text(word())),
        "touch" => {
            let (anonymous, length) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, n as usize * 4096);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let at = unsafe { libc::mmap(std::ptr::null_mut(), length, access, anonymous, -1, 0) };
            assert_ne!(at, libc::MAP_FAILED);
            (0..n as usize).for_each(|page| unsafe { at.cast::<u8>().add(page * 4096).write_volatile(1) });
        }
        "spin" => {
            let end = Instant::now() + Duration::from_millis(n as u64);
            while Instant::now() < end {
                black_box((0..1000).sum::<u64>());
            }
        }
        "pause" => pause(n as usize),
        "sleep" => std::thread::sleep(Duration::from_millis(n as u64)),
        _ => assert!(
            calls::act(verb, n, word) || troubles::act(verb, n, word),
            "no verb `{verb}`\n{VERBS}\n{}\n{}",
            calls::VERBS,
            troubles::VERBS
        ),
    }
}
