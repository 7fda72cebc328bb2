//! A helper of the test's own: socket, permits and log in a folder, and a user who has no privilege.

use serde_json::Value;
use skep_tests::Skep;
use skep_tests::machine::Folder;
use skep_tests::skep::{Running, binary};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// `nobody`, who may do nothing.
pub const NOBODY: u32 = 65534;
/// A prime number.
pub const CALLS: u64 = 23;

/// How long anything may take on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Stage {
    pub folder: Folder,
    /// Readable by everybody.
    pub program: PathBuf,
    helper: Option<Running>,
}

/// Calls of getpgid(2) by threads of this test.
pub fn counter(then: &str) -> String {
    format!("probe(\"tracepoint:syscalls:sys_enter_getpgid\").filter(pid == {}).{then}.count()", std::process::id())
}

/// In a thread that is this user's, with all that it is.
pub fn as_user<T: Send>(user: u32, what: impl FnOnce() -> T + Send) -> T {
    let run = move || {
        if user != 0 {
            // Not the C library's functions: those change all threads.
            // SAFETY: numbers, and no groups; this thread alone becomes somebody else.
            let changed = unsafe {
                libc::syscall(libc::SYS_setgroups, 0, 0) == 0
                    && libc::syscall(libc::SYS_setresgid, user, user, user) == 0
                    && libc::syscall(libc::SYS_setresuid, user, user, user) == 0
            };
            assert!(changed, "cannot become user {user}");
        }
        what()
    };
    std::thread::scope(|scope| scope.spawn(run).join()).expect("it does not panic")
}

pub fn call_as(user: u32, calls: u64) {
    as_user(user, || {
        for _ in 0..calls {
            // SAFETY: it takes a number and gives one.
            unsafe { libc::getpgid(0) };
        }
    });
}

/// A line of /proc/PID/status.
#[track_caller]
pub fn status(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

impl Stage {
    pub fn new() -> Stage {
        Stage::at(|program| Command::new(program))
    }

    /// The helper is where `command` starts it.
    pub fn at(command: impl FnOnce(&Path) -> Command) -> Stage {
        let stage = Stage::bare();
        let mut command = command(&stage.program);
        command.arg("helper").arg("--socket").arg(stage.socket());
        stage.started(command, |mode| mode & 0o666 == 0o666)
    }

    /// The helper is handed its socket, as systemd does it, when somebody asks.
    pub fn activated(activate: &Path) -> Stage {
        let stage = Stage::bare();
        let mut command = Command::new(activate);
        command.arg("--listen").arg(stage.socket()).arg(&stage.program).arg("helper");
        let stage = stage.started(command, |_| true);
        fs::set_permissions(stage.socket(), fs::Permissions::from_mode(0o666)).expect("it is ours");
        stage
    }

    fn bare() -> Stage {
        let folder = Folder::new();
        let program = folder.0.join("skep");
        copy(binary(), &program, 0o755);
        let stage = Stage { folder, program, helper: None };
        stage.permit_as_before();
        stage
    }

    fn started(mut self, mut command: Command, is_open: impl Fn(u32) -> bool) -> Stage {
        command.arg("--policy").arg(self.policy_path()).arg("--log").arg(self.log_path());
        let socket = self.socket();
        let mut helper = Running::of(command);
        helper.until("it listens", |_| fs::metadata(&socket).is_ok_and(|found| is_open(found.permissions().mode())));
        self.helper = Some(helper);
        self
    }

    /// What the user of the tests is permitted.
    fn permits(&self) -> String {
        let folder = self.folder.0.display();
        format!(
            "[[permit]]\nusers = [{NOBODY}]\nscripts = [\"naptime\"]\nown_scripts = true\n\
             attach_points = [\n  \"tracepoint:syscalls:sys_enter_getpgid\",\n  \"tracepoint:syscalls:sys_*_*nanosleep\",\n  \
             \"uprobe:{folder}/mine*:*\",\n]\n\
             max_overhead = \"50%\"\nmax_time = \"30s\"\nmax_memory = \"32M\"\nmax_probes = 7\nruns = 2\n"
        )
    }

    pub fn permit(&self, text: &str) {
        // An attempt may have put a link there.
        let _none = fs::remove_file(self.policy_path());
        fs::write(self.policy_path(), text).expect("it is ours");
        fs::set_permissions(self.policy_path(), fs::Permissions::from_mode(0o644)).expect("it is ours");
    }

    /// The permits of the tests again.
    pub fn permit_as_before(&self) {
        self.permit(&self.permits());
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.0.join("helper.sock")
    }

    pub fn policy_path(&self) -> PathBuf {
        self.folder.0.join("policy.toml")
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.0.join("log.jsonl")
    }

    pub fn helper(&self) -> u32 {
        self.helper.as_ref().expect("it was started").pid()
    }

    /// skep as the user runs it.
    pub fn skep(&self, arguments: &[&str]) -> Skep {
        let socket = self.socket().display().to_string();
        Skep::at(&self.program, arguments).environment("SKEP_HELPER", &socket).as_nobody()
    }

    /// The lines of the log so far.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("lines of JSON")).collect()
    }

    /// Bytes to the helper, by whoever calls.
    pub fn send(&self, bytes: &[u8]) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).expect("everybody may connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has one");
        // It may have been refused before its end.
        let _early = stream.write_all(bytes);
        stream
    }

    /// All that it answers.
    pub fn answer(mut stream: UnixStream) -> String {
        let mut answer = Vec::new();
        // A connection that is reset has said what it had to say.
        let _reset = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub fn eventually(&self, done: impl Fn() -> bool) -> bool {
        let since = Instant::now();
        while !done() {
            if since.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// The process that runs what was asked for.
    #[track_caller]
    pub fn carried_out(&self) -> u32 {
        let helper = self.helper();
        let tasks = fs::read_dir(format!("/proc/{helper}/task")).expect("it runs").flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let all: Vec<u32> = children
            .flat_map(|children| children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        assert_eq!(all.len(), 1, "one run at a time");
        all[0]
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(helper) = self.helper.take() {
            let _output = helper.signal(libc::SIGTERM).end();
        }
    }
}

/// A file that everybody may read, or only root. Written by another process: one that another test forks just now would
/// have it open, and then it cannot be run.
pub fn copy(from: &Path, to: &Path, mode: u32) {
    assert!(Command::new("cp").arg(from).arg(to).status().is_ok_and(|status| status.success()), "there is room");
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).expect("it is ours");
}
