//! The binary under test, run as a user runs it.

use crate::Output;
use crate::network::Namespace;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No run takes longer on the slowest machine that we know, a small emulated one.
const LIMIT: Duration = Duration::from_secs(60);
/// The user `nobody`, who may do nothing.
const NOBODY: u32 = 65534;

/// Folder of the binaries: tests run from `deps/` in it.
pub fn binaries() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own file");
    own.ancestors().nth(2).expect("tests lie in target/PROFILE/deps").to_owned()
}

/// The binary, built once if it is not there: `cargo test -p skep-tests` builds its own package only.
pub fn binary() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(binary) = std::env::var_os("SKEP_BINARY") {
            return binary.into();
        }
        let binary = binaries().join("skep");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "skep"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        build.arg("--target-dir").arg(binaries().parent().expect("profiles lie in the target folder"));
        if binaries().ends_with("release") {
            build.arg("--release");
        }
        match build.status() {
            Ok(status) => assert!(status.success(), "failed to build skep: {build:?}"),
            // A machine that only runs tests has no cargo, and the binary beside them.
            Err(error) => assert!(binary.is_file(), "no skep and no cargo: {error}"),
        }
        binary
    });
    &BINARY
}

/// One run to be: options first, then it is started or run to its end.
pub struct Skep(Command);

impl Skep {
    pub fn new(arguments: &[&str]) -> Skep {
        Skep::at(binary(), arguments)
    }

    /// The binary of another place.
    pub fn at(binary: &Path, arguments: &[&str]) -> Skep {
        let mut command = Command::new(binary);
        command.args(arguments).env_remove("SKEP_PATH").env("NO_COLOR", "1");
        Skep(command)
    }

    /// A script with results as JSON.
    pub fn script(script: &str) -> Skep {
        Skep::new(&["--format", "json", "-e", script])
    }

    /// A script on a workload that skep itself starts: `verbs` of `skep-workload`.
    pub fn on(verbs: &str, script: &str) -> Skep {
        Skep::script(script).arguments(&["-c", &crate::workload::line(verbs)])
    }

    pub fn arguments(mut self, arguments: &[&str]) -> Skep {
        self.0.args(arguments);
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Skep {
        self.0.env(name, value);
        self
    }

    /// As nobody. The binary must lie where nobody may read it.
    pub fn as_nobody(mut self) -> Skep {
        self.0.uid(NOBODY).gid(NOBODY).current_dir("/");
        self
    }

    /// In a mount namespace of its own, after `mounts` (shell commands) were done there.
    pub fn after_mounts(self, mounts: &str) -> Skep {
        self.inside(&["--mount"], mounts)
    }

    /// As process 1 of a pid namespace of its own, after `commands` of a shell; what those leave running is process 2 and up.
    pub fn in_pid_namespace(self, commands: &str) -> Skep {
        self.inside(&["--pid", "--fork", "--mount-proc", "--kill-child"], commands)
    }

    /// In a network namespace of the test's own.
    pub fn in_network(self, network: &Namespace) -> Skep {
        let mut command = network.command(&self.0.get_program().to_string_lossy());
        command.args(self.0.get_args()).env_remove("SKEP_PATH").env("NO_COLOR", "1");
        Skep(command)
    }

    /// After `commands` of a shell, which then becomes the run.
    pub fn after(self, commands: &str) -> Skep {
        self.inside(&[], commands)
    }

    fn inside(self, namespaces: &[&str], commands: &str) -> Skep {
        let mut command = Command::new(if namespaces.is_empty() { "env" } else { "unshare" });
        command.args(namespaces).args(["sh", "-ec", &format!("{commands}\nexec \"$0\" \"$@\"")]);
        command.arg(self.0.get_program()).args(self.0.get_args()).env_remove("SKEP_PATH").env("NO_COLOR", "1");
        Skep(command)
    }

    /// To its end.
    #[track_caller]
    pub fn run(self) -> Output {
        self.start().end()
    }

    #[track_caller]
    pub fn start(self) -> Running {
        Running::of(self.0)
    }
}

/// A stream that a thread reads, so that a full pipe holds nobody up.
struct Collected {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

fn collect(mut stream: impl Read + Send + 'static) -> Collected {
    let text = Arc::new(Mutex::new(Vec::new()));
    let into = text.clone();
    let reader = std::thread::spawn(move || {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            into.lock().expect("readers do not panic").extend_from_slice(&chunk[..count]);
        }
    });
    Collected { text, reader: Some(reader) }
}

impl Collected {
    fn now(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("readers do not panic")).into_owned()
    }

    fn all(&mut self) -> String {
        self.reader.take().map(JoinHandle::join);
        self.now()
    }
}

/// A run that has begun.
pub struct Running {
    line: String,
    child: Child,
    out: Collected,
    err: Collected,
    since: Instant,
}

impl Running {
    /// Starts a command, another tool's too.
    #[track_caller]
    pub fn of(mut command: Command) -> Running {
        let line = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("failed to start {line}: {error}"));
        let out = collect(child.stdout.take().expect("it is a pipe"));
        let err = collect(child.stderr.take().expect("it is a pipe"));
        Running { line, child, out, err, since: Instant::now() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is on standard output by now.
    pub fn printed_so_far(&self) -> String {
        self.out.now()
    }

    /// Is this on standard error by now?
    pub fn said(&self, text: &str) -> bool {
        self.err.now().contains(text)
    }

    /// Waits until everything is attached.
    #[track_caller]
    pub fn attached(mut self) -> Running {
        self.until("it attaches", |run| run.err.now().contains("attached"));
        self
    }

    /// Waits until standard output holds `text`.
    #[track_caller]
    pub fn printed(mut self, text: &str) -> Running {
        self.until(text, |run| run.out.now().contains(text));
        self
    }

    /// Waits for anything else.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Running) -> bool) {
        while !done(self) {
            let ended = self.child.try_wait().expect("it is our child").is_some();
            if (ended && !done(self)) || self.since.elapsed() > LIMIT {
                let _ended = self.child.kill();
                panic!("it did not get as far as `{what}`\n{}", self.finish());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(self, signal: i32) -> Running {
        // SAFETY: signals our own child, which is not waited for yet.
        assert_eq!(unsafe { libc::kill(self.pid() as i32, signal) }, 0);
        self
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Output {
        let asked = Instant::now();
        while self.child.try_wait().expect("it is our child").is_none() {
            if asked.elapsed() > LIMIT {
                let _ended = self.child.kill();
                panic!("it did not end within {LIMIT:?}\n{}", self.finish());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.finish()
    }

    /// SIGINT, and its end.
    #[track_caller]
    pub fn interrupt(self) -> Output {
        self.signal(libc::SIGINT).end()
    }

    /// A signal, again each second, and its end: some programs forget one that comes at the wrong moment.
    #[track_caller]
    pub fn insist(mut self, signal: i32) -> Output {
        let asked = Instant::now();
        while self.child.try_wait().expect("it is our child").is_none() && asked.elapsed() < LIMIT {
            // SAFETY: signals our own child; one that has ended meanwhile is not waited for yet.
            unsafe { libc::kill(self.pid() as i32, signal) };
            let _ended = (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                self.child.try_wait().is_ok_and(|ended| ended.is_some())
            });
        }
        self.end()
    }

    fn finish(&mut self) -> Output {
        let status = self.child.wait().expect("it is our child");
        // A process that it leaves behind may hold the pipes: what is there by now is all.
        let deadline = Instant::now() + Duration::from_secs(5);
        let reading = |stream: &Collected| stream.reader.as_ref().is_some_and(|reader| !reader.is_finished());
        while (reading(&self.out) || reading(&self.err)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut text = |stream: fn(&mut Running) -> &mut Collected| match reading(stream(self)) {
            true => stream(self).now(),
            false => stream(self).all(),
        };
        let (out, err) = (text(|run| &mut run.out), text(|run| &mut run.err));
        let line = match status.signal() {
            Some(signal) => format!("{} (ended by signal {signal})", self.line),
            None => self.line.clone(),
        };
        Output { line, status: status.code(), out, err }
    }
}

/// A test that fails leaves no run behind.
impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
