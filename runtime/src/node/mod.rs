//! The node: what /proc and the control groups count, beside the events that probes see. Read-only, of a root folder, so
//! that another machine's files can be read as well; needs no privilege. What a kernel does not have is `None`.
//!
//! Counters grow from the machine's start: a runbook reads them twice and takes what came in between, [`since`].

pub mod cgroups;
pub(crate) mod counters;
pub(crate) mod disks;
pub(crate) mod network;
pub(crate) mod pressure;

use serde_json::{Map, Number, Value as Json};
use std::path::{Path, PathBuf};

/// Longer files of /proc are cut: none that is read here comes near.
const LONGEST: u64 = 4 << 20;

/// Where it is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node(Option<PathBuf>);

/// What is read where no machine is asked: for plans, which are the same everywhere.
const IDLE: &[(&str, &str)] = &[
    ("proc/stat", include_str!("idle/stat.txt")),
    ("proc/meminfo", include_str!("idle/meminfo.txt")),
    ("proc/vmstat", include_str!("idle/vmstat.txt")),
    ("proc/self/net/snmp", include_str!("idle/snmp.txt")),
    ("proc/self/net/netstat", include_str!("idle/netstat.txt")),
    ("proc/net/softnet_stat", include_str!("idle/softnet_stat.txt")),
    ("proc/diskstats", include_str!("idle/diskstats.txt")),
    ("proc/pressure/cpu", include_str!("idle/pressure.txt")),
    ("proc/pressure/memory", include_str!("idle/pressure.txt")),
    ("proc/pressure/io", include_str!("idle/pressure.txt")),
];

impl Node {
    /// This machine.
    pub fn live() -> Node {
        Node::at(Path::new("/"))
    }

    /// The machine whose files were copied to `root/proc` and `root/sys`.
    pub fn at(root: &Path) -> Node {
        Node(Some(root.to_owned()))
    }

    /// One that has nothing to do, and no control groups.
    pub fn idle() -> Node {
        Node(None)
    }

    /// A file's text by its path below the root; `None`: it cannot be read.
    fn text(&self, path: &str) -> Option<String> {
        use std::io::Read;
        let Some(root) = &self.0 else {
            return IDLE.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
        };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(root.join(path.trim_start_matches('/'))).ok()?;
        file.take(LONGEST).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A folder below the root.
    fn folder(&self, path: &str) -> Option<PathBuf> {
        self.0.as_ref().map(|root| root.join(path.trim_start_matches('/')))
    }

    /// How much of the time tasks wait for `cpu`, `memory` or `io`: of the machine, or of a control group (v2).
    pub fn pressure(&self, resource: &str, cgroup: Option<&str>) -> Option<Json> {
        let text = match cgroup.filter(|_| self.0.is_some()) {
            None => self.text(&format!("proc/pressure/{resource}")),
            Some(path) => self.text(&format!("{}/{resource}.pressure", cgroups::unified(self, path)?)),
        };
        pressure::parse(&text?)
    }

    /// Milliseconds that all processors together spent, and what the scheduler counts.
    pub fn cpu_times(&self) -> Option<Json> {
        counters::stat(&self.text("proc/stat")?)
    }

    /// /proc/meminfo in bytes, by the kernel's names.
    pub fn mem_info(&self) -> Option<Json> {
        Some(counters::meminfo(&self.text("proc/meminfo")?))
    }

    /// /proc/vmstat, by the kernel's names.
    pub fn vm_counts(&self) -> Option<Json> {
        Some(counters::words(&self.text("proc/vmstat")?))
    }

    /// What the protocols count in this process's network, by protocol and the kernel's names, and the backlog of all CPUs.
    pub fn net_counts(&self) -> Option<Json> {
        let mut counts = network::protocols(&self.text("proc/self/net/snmp")?);
        counts.extend(network::protocols(&self.text("proc/self/net/netstat").unwrap_or_default()));
        let backlog = network::backlog(&self.text("proc/net/softnet_stat").unwrap_or_default());
        counts.insert("backlog".into(), backlog.into());
        Some(counts.into())
    }

    /// What each disk did, by its name.
    pub fn disk_counts(&self) -> Option<Json> {
        let disks = self.folder("sys/block").filter(|folder| folder.is_dir());
        // Partitions count what their disks count too.
        let is_disk = |name: &str| disks.as_ref().is_none_or(|folder| folder.join(name).exists());
        Some(disks::parse(&self.text("proc/diskstats")?, is_disk))
    }
}

/// A counter as scripts take it.
fn number(value: u64) -> Json {
    i64::try_from(value).unwrap_or(i64::MAX).into()
}

fn parsed(word: &str) -> Option<Json> {
    word.parse().ok().map(number)
}

/// How much each number grew, maps inside of maps too; what was not there before grew from 0. A counter that began anew
/// did not shrink.
pub fn since(before: &Json, now: &Json) -> Json {
    match (before, now) {
        (before, Json::Object(now)) => {
            let none = Json::Null;
            let grown = now.iter().map(|(name, now)| {
                let before = before.as_object().and_then(|before| before.get(name)).unwrap_or(&none);
                (name.clone(), since(before, now))
            });
            grown.collect::<Map<_, _>>().into()
        }
        (before, Json::Number(now)) => match (before.as_i64(), now.as_i64()) {
            (_, Some(now)) => now.saturating_sub(before.as_i64().unwrap_or(0)).max(0).into(),
            _ => {
                let grown = now.as_f64().unwrap_or(0.0) - before.as_f64().unwrap_or(0.0);
                Number::from_f64(grown).map_or(Json::Null, Json::Number)
            }
        },
        (_, now) => now.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn growth_is_taken_of_every_number_and_never_below_zero() {
        let before = json!({ "Tcp": { "RetransSegs": 7, "Reset": 9 }, "avg": 1.5, "path": "/a" });
        let now = json!({ "Tcp": { "RetransSegs": 30, "Reset": 2, "New": 3 }, "avg": 2.0, "path": "/b" });
        let grown = json!({ "Tcp": { "RetransSegs": 23, "Reset": 0, "New": 3 }, "avg": 0.5, "path": "/b" });
        assert_eq!(since(&before, &now), grown);
    }

    #[test]
    fn idle_node_has_every_reading() {
        let node = Node::idle();
        for (name, reading) in [
            ("pressure", node.pressure("cpu", None)),
            ("cpu_times", node.cpu_times()),
            ("mem_info", node.mem_info()),
            ("vm_counts", node.vm_counts()),
            ("net_counts", node.net_counts()),
            ("disk_counts", node.disk_counts()),
        ] {
            assert!(reading.is_some_and(|reading| !reading.as_object().unwrap().is_empty()), "{name}");
        }
        assert_eq!(node.cgroups(None), json!({}));
    }

    #[test]
    fn machine_without_files_has_no_readings() {
        let node = Node::at(Path::new("/nonexistent/skep"));
        assert_eq!((node.pressure("cpu", None), node.cpu_times(), node.net_counts()), (None, None, None));
        assert_eq!(node.cgroups(None), json!({}));
    }
}
