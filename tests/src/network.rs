//! Networks of a test's own: namespaces, joined by veth pairs. Nothing that was there before is touched.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static MADE: AtomicU32 = AtomicU32::new(0);

/// A network namespace with its `lo` up; gone when it is dropped, with all that is in it.
pub struct Namespace {
    name: String,
}

#[track_caller]
fn done(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Default for Namespace {
    fn default() -> Self {
        Namespace::new()
    }
}

impl Namespace {
    #[track_caller]
    pub fn new() -> Namespace {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let namespace = Namespace { name: format!("skep-{}-{number}", std::process::id()) };
        done(Command::new("ip").args(["netns", "add", &namespace.name]));
        namespace.run("ip link set lo up");
        namespace
    }

    /// Joins two of them; the interface of the first is called `to_b`, of the second `to_a`. Addresses with their lengths;
    /// those of IPv6 are `fd00:9::1/64` and `fd00:9::2/64`.
    #[track_caller]
    pub fn pair(a: &Namespace, b: &Namespace, address_of_a: &str, address_of_b: &str) {
        let peer = ["peer", "name", "to_a", "netns", &b.name];
        done(Command::new("ip").args(["link", "add", "to_b", "netns", &a.name, "type", "veth"]).args(peer));
        for (own, interface, v4, v6) in
            [(a, "to_b", address_of_a, "fd00:9::1/64"), (b, "to_a", address_of_b, "fd00:9::2/64")]
        {
            own.run(&format!("ip addr add {v4} dev {interface}"));
            own.run(&format!("ip -6 addr add {v6} dev {interface} nodad"));
            own.inside(|| {
                let place = format!("/proc/sys/net/ipv6/conf/{interface}/accept_dad");
                std::fs::write(&place, "0").unwrap_or_else(|error| panic!("{place}: {error}"));
            });
            own.run(&format!("ip link set {interface} up"));
        }
        for (own, interface) in [(a, "to_b"), (b, "to_a")] {
            own.inside(|| ready(interface));
        }
    }

    /// Its file, which a run is told to look into it.
    pub fn file(&self) -> PathBuf {
        format!("/run/netns/{}", self.name).into()
    }

    /// Its number, as sockets and packets have it.
    pub fn number(&self) -> u64 {
        std::fs::metadata(self.file()).expect("it is there").ino()
    }

    /// A command inside. Not by `ip netns exec`, which mounts another /sys.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.file().display())).arg(program);
        command
    }

    /// A line of words, run to its end.
    #[track_caller]
    pub fn run(&self, line: &str) {
        let mut words = line.split_whitespace();
        done(self.command(words.next().expect("a command")).args(words));
    }

    /// Work of this process, on a thread inside: sockets that it makes belong there, wherever they are used.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.file()).expect("it is there");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: moves this thread alone, which ends with the work.
                assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0, "a thread enters");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A counter of the namespace's TCP, as /proc/net/snmp names it.
    pub fn tcp_counter(&self, name: &str) -> u64 {
        let text = self.inside(|| std::fs::read_to_string("/proc/thread-self/net/snmp").expect("/proc is mounted"));
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let mut both = names.split(' ').zip(values.split(' '));
        let found = both.find(|(one, _)| *one == name).expect("there is such a counter");
        found.1.parse().expect("it is a number")
    }
}

/// Waits until an interface of this thread's namespace speaks IPv6: the kernel gives it an address of its own, and the
/// route for neighbours' questions, some time after it is up.
#[track_caller]
fn ready(interface: &str) {
    const TENTATIVE: u32 = 0x40;
    for _ in 0..500 {
        let text = std::fs::read_to_string("/proc/thread-self/net/if_inet6").expect("/proc is mounted");
        let known = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut own = known.filter(|words| words.last() == Some(&interface) && words[0].starts_with("fe80"));
        if own.any(|words| u32::from_str_radix(words[4], 16).is_ok_and(|flags| flags & TENTATIVE == 0)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{interface} speaks no IPv6");
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}
