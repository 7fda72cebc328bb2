//! Attempts to get more than a permit allows.

use super::stage::{NOBODY, Stage, as_user, copy, counter};
use serde_json::{Value, json};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What is tried, and the words by which it is refused.
pub struct Attempt {
    what: String,
    refused: &'static str,
    attempt: Box<dyn Fn(&Stage) -> String>,
    /// Nothing that anybody would call a right is asked for: it fails as it would for anybody.
    fails_anyhow: bool,
}

impl Attempt {
    /// Tries it: it fails by the words that are expected, and the log has one more line that says so.
    #[track_caller]
    pub fn fails(&self, stage: &Stage) {
        let ended = |line: &&Value| line["event"] != "begin";
        let before = stage.log().iter().filter(ended).count();
        let said = (self.attempt)(stage);
        assert!(said.contains(self.refused), "{}: {said}", self.what);
        assert!(stage.eventually(|| stage.log().iter().filter(ended).count() > before), "{} is not logged", self.what);
        let log = stage.log();
        let ends: Vec<&Value> = log.iter().filter(ended).skip(before).collect();
        assert_eq!(ends.len(), 1, "{}: {ends:?}", self.what);
        match self.fails_anyhow {
            true => assert_ne!(ends[0]["status"], 0, "{}: {ends:?}", self.what),
            false => {
                assert_eq!(ends[0]["event"], "refused", "{}: {ends:?}", self.what);
                assert!(ends[0]["why"].as_str().is_some_and(|why| !why.is_empty()), "{}: {ends:?}", self.what);
            }
        }
        assert!(ends[0]["uid"].is_u64() && ends[0]["pid"].is_u64(), "{ends:?}");
    }
}

fn attempt(what: &str, refused: &'static str, attempt: impl Fn(&Stage) -> String + 'static) -> Attempt {
    Attempt { what: what.to_owned(), refused, attempt: Box::new(attempt), fails_anyhow: false }
}

fn anyhow(what: &str, refused: &'static str, try_it: impl Fn(&Stage) -> String + 'static) -> Attempt {
    Attempt { fails_anyhow: true, ..attempt(what, refused, try_it) }
}

/// skep as somebody types it; it must not end well.
fn typed(stage: &Stage, arguments: &[&str]) -> String {
    let output = stage.skep(arguments).run();
    assert_ne!(output.status, Some(0), "{output}");
    output.err
}

fn script(text: &str, refused: &'static str) -> Attempt {
    let own = text.to_owned();
    attempt(text, refused, move |stage| typed(stage, &["-e", &own]))
}

fn option(words: &'static [&'static str], refused: &'static str) -> Attempt {
    attempt(&words.join(" "), refused, move |stage| {
        let own = counter("by(comm)");
        let mut arguments = words.to_vec();
        arguments.extend(["-e", &own]);
        typed(stage, &arguments)
    })
}

/// A request as skep would never send it.
fn raw(what: &str, refused: &'static str, bytes: impl Into<Vec<u8>>) -> Attempt {
    let bytes = bytes.into();
    attempt(what, refused, move |stage| as_user(NOBODY, || Stage::answer(stage.send(&bytes))))
}

fn forged(what: &str, refused: &'static str, change: impl Fn(&mut Value)) -> Attempt {
    let mut request = json!({
        "v": 1, "script": { "called": "-e", "text": counter("by(comm)") }, "words": [], "options": {},
    });
    change(&mut request);
    raw(what, refused, format!("{request}\n"))
}

/// With other permits, which are put back.
fn permits(what: &str, refused: &'static str, change: impl Fn(&Path) + 'static) -> Attempt {
    attempt(what, refused, move |stage| {
        change(&stage.policy_path());
        let said = typed(stage, &["-e", &counter("by(comm)")]);
        stage.permit_as_before();
        said
    })
}

const PERMITTED: &str = "tracepoint:syscalls:sys_enter_getpgid";

pub fn all(stage: &Stage) -> Vec<Attempt> {
    let folder = stage.folder.0.clone();
    let workload = skep_tests::workload::path();
    let workload = Path::new(&workload);
    copy(workload, &folder.join("mine"), 0o755);
    copy(workload, &folder.join("mine-secret"), 0o700);
    copy(workload, &folder.join("theirs"), 0o755);
    std::os::unix::fs::symlink(folder.join("theirs"), folder.join("mine-link")).expect("it is ours");
    let uprobe = |file: &str| format!("probe(\"uprobe:{}/{file}:workload_double\").count()", folder.display());
    let mut all = vec![
        // Attach points, however they are spelled.
        script("probe(\"tracepoint:sched:sched_switch\").count()", "`tracepoint:sched:sched_switch` is not permitted"),
        script("probe(\"t:sched:sched_switch\").count()", "`tracepoint:sched:sched_switch` is not permitted"),
        script("probe(\"tracepoint:syscalls:sys_enter_get*\").count()", "is not permitted"),
        script(&format!("probe([{PERMITTED:?}, \"t:sched:sched_switch\"]).count()"), "is not permitted"),
        script("probe(first_of([\"t:no:such\", \"t:sched:sched_switch\"])).count()", "is not permitted"),
        script("probe(\"rawtracepoint:sys_enter\").count()", "`rawtracepoint:sys_enter` is not permitted"),
        script("probe(\"profile:hz:99\").by(ustack).count()", "`profile:hz:99` is not permitted"),
        script("probe(\"software:page-faults:1\").count()", "is not permitted"),
        script("probe(\"iter:task\").by(comm).count()", "is not permitted"),
        script("probe(\"tc:lo\").count()", "is not permitted"),
        script("template(\"runqlat\").hist(elapsed)", "template `runqlat` is not permitted"),
        script(
            "template(\"capture\", #{ interface: \"lo\" }).pcapng(\"/tmp/skep-attempt.pcapng\")",
            "a script that the helper runs has no files",
        ),
        script(&format!("span({PERMITTED:?}, {PERMITTED:?}).on([pid], [pid]).count()"), "is not permitted"),
        script(
            &format!("{}.run(\"1s\"); probe(\"t:sched:sched_switch\").count()", counter("by(comm)")),
            "is not permitted",
        ),
        // Files of programs, by links and by what their user may not read.
        script(&uprobe("mine-link"), "theirs:workload_double` is not permitted"),
        script(&uprobe("theirs"), "is not permitted"),
        // Scripts of others.
        attempt("opensnoop", "script `fs/opensnoop` is not permitted", |stage| typed(stage, &["run", "opensnoop"])),
        script("script(\"opensnoop\"); run(\"1s\")", "is not permitted"),
        // Memory of the kernel.
        script(&format!("probe({PERMITTED:?}).by(curtask.cred.uid.val).count()"), "reads the kernel's memory"),
        script(
            &format!("probe({PERMITTED:?}).by(cast(args.pid, \"struct cred\").uid.val).count()"),
            "reads the kernel's memory",
        ),
        script(&format!("probe({PERMITTED:?}).by(str(kptr(args.pid))).count()"), "reads the kernel's memory"),
        script(&format!("probe({PERMITTED:?}).by(ksym(args.pid)).count()"), "reads the kernel's memory"),
        script(&format!("probe({PERMITTED:?}).filter(sock(args.pid).dport == 1).count()"), "reads the kernel's memory"),
        // Files of scripts.
        script(
            &format!("let t = {}.run(\"100ms\"); t.csv(\"/etc/skep-attempt\")", counter("by(comm)")),
            "may not write",
        ),
        script(
            &format!("probe({PERMITTED:?}).by(kstack).count().flamegraph(\"/etc/skep-attempt.svg\")"),
            "may not write",
        ),
        script("import_policy(\"/etc/shadow\")", "may not read `/etc/shadow`"),
        // Ceilings.
        option(&["--ttl", "1h"], "--ttl 3600000000000ns is not permitted"),
        option(&["--for", "31s"], "is not permitted"),
        option(&["--max-overhead", "100%"], "--max-overhead 100 % is not permitted"),
        option(&["--max-overhead", "off"], "--max-overhead off is not permitted"),
        option(&["--max-memory", "1G"], "is not permitted"),
        option(&["--max-probes", "8"], "--max-probes 8 is not permitted"),
        option(&["--enforce"], "--enforce is not permitted"),
        option(&["--pid", "1"], "--pid 1 is not permitted"),
        script("policy(\"tc\", \"lo\").deny(#{ proto: \"tcp\" })", "a policy for packets is not permitted"),
        // Requests that skep does not send.
        forged("a forged user", "`uid` is not for the helper", |request| request["uid"] = 0.into()),
        forged("a file of results", "`output` is not for the helper", |request| {
            request["options"]["output"] = "/etc/passwd".into();
        }),
        forged("a command", "`command` is not for the helper", |request| request["options"]["command"] = "id".into()),
        forged("templates", "`templates` is not for the helper", |request| {
            request["options"]["templates"] = "/tmp".into()
        }),
        forged("another version", "its version is not 1", |request| request["v"] = 2.into()),
        forged("a path for a name", "no script `../../etc/passwd`", |request| {
            request["script"] = json!({ "library": "../../etc/passwd" });
        }),
        forged("a name that terminals obey", "is not permitted", |request| {
            request["script"] =
                json!({ "called": "\u{1b}[2J\u{9b}1m", "text": "probe(\"t:sched:sched_switch\").count()" });
        }),
        raw("no JSON", "it is no JSON", "run everything\n"),
        raw("no text", "it is no text", b"\xff\xfe\n".to_vec()),
        raw("a request without end", "it did not arrive in time", "{\"v\":1"),
        raw("a request that is too long", "it is too long", vec![b' '; 300 << 10]),
        attempt("a request cut short", "it has no end", |stage| {
            as_user(NOBODY, || {
                let stream = stage.send(b"{\"v\":1,");
                stream.shutdown(std::net::Shutdown::Write).expect("it is open");
                Stage::answer(stream)
            })
        }),
        attempt("descriptors", "it is no JSON", |stage| as_user(NOBODY, || with_descriptors(stage))),
        // Somebody else, and too many.
        attempt("somebody without a permit", "no permit names user 65533", |stage| {
            let request = json!({ "v": 1, "script": { "library": "naptime" } });
            as_user(NOBODY - 1, || Stage::answer(stage.send(format!("{request}\n").as_bytes())))
        }),
        attempt("a third run", "2 of your scripts run already", too_many),
        // What an administrator left open, or forgot.
        permits("permits that others may write", "may be written by others than root", |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("it is ours");
        }),
        permits("no permits", "no such file", |path| fs::remove_file(path).expect("it is ours")),
        permits("permits that are wrong", "the file of permits is wrong", |path| {
            fs::write(path, "[[permit]]\nuser = [65534]\n").expect("it is ours");
        }),
        permits("permits by a link", "failed to read", |path| {
            let real = path.with_extension("real");
            fs::rename(path, &real).expect("it is ours");
            std::os::unix::fs::symlink(&real, path).expect("it is ours");
        }),
    ];
    let secret = uprobe("mine-secret");
    all.extend([
        anyhow("a program that only root may read", "ermission denied", move |stage| typed(stage, &["-e", &secret])),
        anyhow("an import of any file", "etc/passwd", |stage| {
            typed(stage, &["-e", "import \"../../etc/passwd\" as x;"])
        }),
        anyhow("an option among the words", "has no parameter `--output`", |stage| {
            let request = json!({
                "v": 1, "script": { "called": "-e", "text": counter("by(comm)") },
                "words": ["--output=/tmp/skep-attempt.svg"],
            });
            as_user(NOBODY, || Stage::answer(stage.send(format!("{request}\n").as_bytes())))
        }),
        anyhow("an option in a value", "invalid value", |stage| {
            let request = json!({
                "v": 1, "script": { "called": "-e", "text": counter("by(comm)") }, "options": { "ring": "--enforce" },
            });
            as_user(NOBODY, || Stage::answer(stage.send(format!("{request}\n").as_bytes())))
        }),
    ]);
    // A script of one's own under the name of one that is permitted is a script of one's own.
    all.push(attempt("SKEP_PATH", "`tracepoint:sched:sched_switch` is not permitted", |stage| {
        stage.folder.file("naptime.rhai", "probe(\"tracepoint:sched:sched_switch\").count()");
        let folder = stage.folder.0.display().to_string();
        let output = stage.skep(&["run", "naptime"]).environment("SKEP_PATH", &folder).run();
        assert_ne!(output.status, Some(0), "{output}");
        output.err
    }));
    all
}

/// Two runs that wait, and one more.
fn too_many(stage: &Stage) -> String {
    let run = || stage.skep(&["-e", &counter("by(comm)")]).start().attached();
    let running = [run(), run()];
    let said = typed(stage, &["-e", &counter("by(comm)")]);
    let before = stage.log().len();
    for run in running {
        run.interrupt().ok();
    }
    // Their ends are not those of the attempt: they are taken out of the log again.
    assert!(stage.eventually(|| stage.log().len() == before + 2));
    let lines = fs::read_to_string(stage.log_path()).expect("it logs");
    let kept: Vec<&str> = lines.lines().take(before).collect();
    fs::write(stage.log_path(), kept.join("\n") + "\n").expect("it is ours");
    said
}

/// Sends a descriptor along, which nobody takes.
fn with_descriptors(stage: &Stage) -> String {
    let stream = stage.send(b"");
    let null = fs::File::open("/dev/null").expect("it is there");
    let mut text = *b"nothing\n";
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    let mut control = [0u64; 4];
    // SAFETY: plain data; the control buffer has room for one descriptor, aligned as its header asks for.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<i32>() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        ((*header).cmsg_level, (*header).cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<i32>() as u32) as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(null.as_raw_fd());
        libc::sendmsg(stream.as_raw_fd(), &raw const message, 0)
    };
    assert_eq!(sent, text.len() as isize);
    Stage::answer(stream)
}
