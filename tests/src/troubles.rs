//! Verbs of `skep-workload` that are in trouble, each of one kind and for a time: what runbooks are to find.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub const VERBS: &str = "\
hog N MS            threads that compute
contend N MS        threads that want one lock, which each keeps for a millisecond
thrash KIB MS       threads that read a file of this size again and again, in whatever memory they may have
flush MS FILE       blocks of 4096 bytes written past the page cache, each until the disk has it
overflow MS         datagrams to a socket that nobody reads
storm MS            children, one after the other, that end at once
devour N KIB        children, one after the other, that want so much memory, and are killed for it";

const BLOCK: usize = 4096;

#[repr(align(4096))]
struct Block([u8; BLOCK]);

/// `false`: there is no such verb here.
pub fn act<'a>(verb: &str, n: i64, word: &mut dyn FnMut() -> &'a str) -> bool {
    let mut number = || word().parse::<u64>().expect("a number");
    let until = |milliseconds: u64| Instant::now() + Duration::from_millis(milliseconds);
    let own = until(n.unsigned_abs());
    match verb {
        "hog" => threads(n, until(number()), |_| {
            std::hint::black_box((0..1000).sum::<u64>());
        }),
        "contend" => {
            let lock = Mutex::new(());
            threads(n, until(number()), |_| {
                let _held = lock.lock().expect("nobody panics");
                std::thread::sleep(Duration::from_millis(1));
            });
        }
        "thrash" => thrash(n as usize * 1024, until(number())),
        "flush" => flush(own, word()),
        "overflow" => overflow(own),
        "storm" => storm(own),
        "devour" => devour(n, number() as usize * 1024),
        _ => return false,
    }
    true
}

/// The same work in each of them, again and again.
fn threads(n: i64, end: Instant, work: impl Fn(i64) + Sync) {
    std::thread::scope(|scope| {
        for one in 0..n {
            let work = &work;
            scope.spawn(move || {
                while Instant::now() < end {
                    work(one);
                }
            });
        }
    });
}

/// Each page that is read takes the place of one that will be read.
fn thrash(size: usize, end: Instant) {
    let path = std::env::temp_dir().join(format!("skep-thrash-{}", std::process::id()));
    let mut file = std::fs::File::create_new(&path).expect("there is room");
    for _ in 0..size / BLOCK {
        std::io::Write::write_all(&mut file, &[b'x'; BLOCK]).expect("there is room");
    }
    file.sync_all().expect("it is written");
    let file = std::fs::File::open(&path).expect("it is there");
    std::fs::remove_file(&path).expect("it is ours");
    threads(4, end, |_| {
        let mut buffer = vec![0; 16 * BLOCK];
        for at in (0..size).step_by(buffer.len()).take_while(|_| Instant::now() < end) {
            let length = buffer.len().min(size - at);
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut buffer[..length], at as u64).expect("it is read");
        }
    });
}

fn flush(end: Instant, path: &str) {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    let flags = libc::O_DIRECT | libc::O_SYNC;
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(path);
    let (file, block) = (file.expect("it may be written"), Block([b'x'; BLOCK]));
    let mut at = 0;
    while Instant::now() < end {
        file.write_all_at(&block.0, at % (1 << 20)).expect("there is room");
        at += BLOCK as u64;
    }
}

fn overflow(end: Instant) {
    let nobody = UdpSocket::bind("127.0.0.1:0").expect("there are ports");
    let (size, client) = (4096, UdpSocket::bind("127.0.0.1:0").expect("there are ports"));
    // SAFETY: reads one int.
    let set = unsafe {
        let option = (&raw const size).cast();
        libc::setsockopt(nobody.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, option, size_of_val(&size) as u32)
    };
    assert_eq!(set, 0);
    let address = nobody.local_addr().expect("it is bound");
    while Instant::now() < end {
        client.send_to(&[b'x'; 512], address).expect("it is sent, and lost");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn storm(end: Instant) {
    while Instant::now() < end {
        // SAFETY: the child ends at once; the parent waits for its own child and is told nothing.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0, "fork fails");
            if child == 0 {
                libc::_exit(0);
            }
            assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
        }
    }
}

fn devour(children: i64, size: usize) {
    for _ in 0..children {
        // SAFETY: the child writes to memory of its own and ends; the parent waits for its own child.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0, "fork fails");
            if child == 0 {
                std::hint::black_box(vec![1u8; size]);
                libc::_exit(0);
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL, "there is room for it");
        }
    }
}
