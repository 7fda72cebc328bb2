//! Two namespaces: `client` at 10.9.0.1 and fd00:9::1, `server` at 10.9.0.2 and fd00:9::2, where policies are.

use crate::skep::{Running, binary};
use crate::{Namespace, Output, Skep, workload};
use serde_json::Value;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const CLIENT: [&str; 2] = ["10.9.0.1", "fd00:9::1"];
pub const SERVER: [&str; 2] = ["10.9.0.2", "fd00:9::2"];

pub struct Setting {
    pub client: Namespace,
    pub server: Namespace,
    /// Sockets, rules, and a BPF file system if one is wanted.
    pub folder: PathBuf,
}

impl Setting {
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it makes something")]
    pub fn new() -> Setting {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("skep-policies-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder for temporary files is writable");
        let (client, server) = (Namespace::new(), Namespace::new());
        Namespace::pair(&client, &server, "10.9.0.1/24", "10.9.0.2/24");
        let setting = Setting { client, server, folder };
        // The first packet over a new pair waits for its neighbour's address.
        setting.until("the pair is up", || setting.reaches(SERVER[0], 9) && setting.reaches(SERVER[1], 9));
        setting
    }

    /// `skep policy …`, where the server is.
    pub fn policy(&self, arguments: &[&str]) -> Skep {
        self.policy_in(&self.server, arguments)
    }

    /// The same elsewhere.
    pub fn policy_in(&self, namespace: &Namespace, arguments: &[&str]) -> Skep {
        let net = format!("--net={}", namespace.file().display());
        let skep = binary().display().to_string();
        let front = [net.as_str(), &skep, "policy"];
        let skep = Skep::at(Path::new("nsenter"), &[&front[..], arguments].concat());
        // Whoever runs the tests may have come by ssh.
        skep.environment("SKEP_POLICY_FOLDER", &self.folder.display().to_string()).environment("SSH_CONNECTION", "")
    }

    /// Rules in a file.
    pub fn rules(&self, name: &str, rules: &Value) -> String {
        self.file(name, &rules.to_string())
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path.display().to_string()
    }

    /// A policy that is at work.
    #[track_caller]
    pub fn apply(&self, place: &str, rules: &Value, more: &[&str]) -> Running {
        let rules = self.rules("rules.json", rules);
        self.policy(&[&["apply", place, "--rules", &rules], more].concat()).start().attached()
    }

    #[track_caller]
    pub fn status(&self, place: &str) -> Value {
        let status = self.policy(&["status", place, "--format", "json"]).run().ok();
        status.json().pop().expect("it prints one line")
    }

    /// A server at a port of both families, in a cgroup if one is named.
    #[track_caller]
    pub fn serve(&self, port: u16, cgroup: Option<&Path>) -> [Server; 2] {
        SERVER.map(|address| {
            let (address, words) = (at(address, port), workload::path());
            let mut command = entered(&self.server, cgroup);
            let child = command.args([&words, "serve", &address]).stdin(Stdio::null()).spawn().expect("it starts");
            Server(child)
        })
    }

    /// Is there an answer to a connection from the client?
    pub fn connects(&self, address: &str, port: u16) -> bool {
        connects(&self.client, None, address, port)
    }

    /// The same the other way, from a cgroup if one is named.
    pub fn connects_back(&self, address: &str, port: u16, cgroup: Option<&Path>) -> bool {
        connects(&self.server, cgroup, address, port)
    }

    /// Does a datagram of the client's come through?
    pub fn reaches(&self, address: &str, port: u16) -> bool {
        let receiver = self.server.inside(|| UdpSocket::bind(at(address, port)));
        let Ok(receiver) = receiver else { return false };
        let sender = self.client.inside(|| UdpSocket::bind(if address.contains(':') { "[::]:0" } else { "0.0.0.0:0" }));
        receiver.set_read_timeout(Some(Duration::from_millis(100))).expect("it can have one");
        // A socket that sees no way there says so.
        let _sent = sender.expect("any port").send_to(b"skep", at(address, port));
        receiver.recv(&mut [0; 8]).is_ok()
    }

    /// Sends datagrams to the server's `port`, no more at a time than a veth's ring and a queue take, and waits until
    /// `rule` has counted all of them: none is on its way when the next come, so that none is lost before it is judged.
    #[track_caller]
    pub fn send(&self, port: u16, datagrams: u64, place: &str, rule: &str, verdict: &str) {
        const AT_ONCE: u64 = 100;
        let key = verdict.replace(' ', "_");
        let counted = || figure(&self.status(place), rule, "ingress", &key);
        let before = counted();
        let socket = self.client.inside(|| UdpSocket::bind("10.9.0.1:0")).expect("any port");
        let mut sent = 0;
        while sent < datagrams {
            for _ in 0..AT_ONCE.min(datagrams - sent) {
                socket.send_to(b"skep", at(SERVER[0], port)).expect("it is sent");
                sent += 1;
            }
            self.until("all are counted", || counted() >= before + sent);
        }
    }

    #[track_caller]
    pub fn until(&self, what: &str, done: impl Fn() -> bool) {
        let since = Instant::now();
        while !done() {
            assert!(since.elapsed() < Duration::from_secs(20), "it never came to this: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// A command to be in the namespace, and in a cgroup if one is named.
fn entered(namespace: &Namespace, cgroup: Option<&Path>) -> Command {
    let mut command = namespace.command("sh");
    let enter = cgroup.map_or(String::new(), |folder| format!("echo $$ > {}/cgroup.procs && ", folder.display()));
    command.args(["-c", &format!("{enter}exec \"$@\""), "sh"]);
    command
}

fn connects(from: &Namespace, cgroup: Option<&Path>, address: &str, port: u16) -> bool {
    let mut command = entered(from, cgroup);
    let command = command.args([&workload::path(), "connect", &at(address, port), "300"]);
    command.stderr(Stdio::null()).status().expect("it starts").success()
}

pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A BPF file system of a setting's own.
pub struct BpfFolder(pub PathBuf);

impl BpfFolder {
    #[track_caller]
    pub fn new(setting: &Setting) -> BpfFolder {
        let path = setting.folder.join("bpf");
        std::fs::create_dir(&path).expect("the folder is ours");
        let mounted = Command::new("mount").args(["-t", "bpf", "skep-tests"]).arg(&path).status();
        assert!(mounted.expect("it is there").success());
        BpfFolder(path)
    }

    /// With its pins there.
    pub fn used(&self, skep: Skep) -> Skep {
        skep.environment("SKEP_BPF_FOLDER", &self.0.display().to_string())
    }
}

impl Drop for BpfFolder {
    fn drop(&mut self) {
        // Who has just removed a file may hold it a little longer.
        for _ in 0..100 {
            if Command::new("umount").arg(&self.0).status().is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A rule's figure in a status or a final report: `figure(&status, "web", "ingress", "dropped")`, packets.
#[track_caller]
pub fn figure(status: &Value, rule: &str, direction: &str, what: &str) -> u64 {
    let rules = status["rules"].as_array().expect("a status has rules");
    let found = rules.iter().find(|one| one["rule"] == rule && one["direction"] == direction);
    found.map_or(0, |one| one[what]["packets"].as_u64().or(one[what].as_u64()).expect("it is a number"))
}

/// What a run that has ended printed.
#[track_caller]
pub fn last(output: &Output) -> Value {
    output.json().pop().expect("it prints what it has done")
}
