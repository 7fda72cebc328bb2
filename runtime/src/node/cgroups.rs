//! Control groups of both versions: what each used, what it was denied. In version 1 every controller has a hierarchy of its
//! own; groups of one path are one group here.

use super::{Node, number};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Groups that are looked at: a node has hundreds.
const MOST: usize = 4096;
/// Levels of groups.
const DEEPEST: usize = 16;

/// What a hierarchy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    /// Version 2: all of them.
    Unified,
    Cpu,
    Accounting,
    Memory,
}

/// The folder of a control group of version 2, below the root.
pub fn unified(node: &Node, path: &str) -> Option<String> {
    let (mount, _) = mounts(node).into_iter().find(|(_, controller)| *controller == Controller::Unified)?;
    // What the command line may spell in full.
    let path = path.strip_prefix(&mount).unwrap_or(path).trim_matches('/');
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    Some(format!("{mount}/{path}"))
}

/// Where hierarchies are mounted.
fn mounts(node: &Node) -> Vec<(String, Controller)> {
    let text = node.text("proc/self/mounts").unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, place, kind, options, ..] = words[..] else { continue };
        let has = |name: &str| options.split(',').any(|option| option == name);
        let mut add = |controller| found.push((place.to_owned(), controller));
        match kind {
            "cgroup2" => add(Controller::Unified),
            "cgroup" => {
                for (name, controller) in
                    [("cpu", Controller::Cpu), ("cpuacct", Controller::Accounting), ("memory", Controller::Memory)]
                {
                    if has(name) {
                        add(controller);
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// What is known of one group.
#[derive(Default)]
struct Group {
    usage_us: u64,
    periods: u64,
    throttled: u64,
    throttled_us: u64,
    memory: u64,
    limit: u64,
    refused: u64,
    oom_kills: u64,
}

impl Node {
    /// Every control group by its path, or one and those below it: the CPU time it took, periods of its quota and those in
    /// which it was stopped, its memory, how often there was no room for more, and how many of its processes were killed
    /// for that.
    pub fn cgroups(&self, below: Option<&str>) -> Json {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for (mount, controller) in mounts(self) {
            let below = below.map(|path| path.strip_prefix(&mount).unwrap_or(path).trim_matches('/').to_owned());
            let start = below.filter(|path| !path.is_empty() && !path.split('/').any(|part| part == ".."));
            let mut folders = vec![(start.map_or(String::new(), |path| format!("/{path}")), 0)];
            while let Some((path, depth)) = folders.pop() {
                if groups.len() >= MOST && !groups.contains_key(&path) {
                    break;
                }
                let folder = format!("{mount}{path}");
                let Some(place) = self.folder(&folder).filter(|place| place.is_dir()) else { continue };
                // The root of a hierarchy is the machine.
                if !path.is_empty() {
                    self.add(groups.entry(path.clone()).or_default(), &folder, controller);
                }
                if depth < DEEPEST {
                    folders.extend(children(&place).into_iter().map(|name| (format!("{path}/{name}"), depth + 1)));
                }
            }
        }
        groups.into_iter().map(|(path, group)| (path, group.json())).collect::<Map<_, _>>().into()
    }

    fn add(&self, group: &mut Group, folder: &str, controller: Controller) {
        let read = |name: &str| self.text(&format!("{folder}/{name}")).unwrap_or_default();
        let one = |name: &str| read(name).trim().parse::<u64>().unwrap_or(0);
        match controller {
            Controller::Unified => {
                let stat = read("cpu.stat");
                group.usage_us = group.usage_us.max(word(&stat, "usage_usec"));
                group.throttle(&stat, word(&stat, "throttled_usec"));
                let (current, events) = (one("memory.current"), read("memory.events"));
                if current > 0 || !events.is_empty() {
                    (group.memory, group.limit) = (current, one("memory.max"));
                    (group.refused, group.oom_kills) = (word(&events, "max"), word(&events, "oom_kill"));
                }
            }
            Controller::Cpu => {
                let stat = read("cpu.stat");
                group.throttle(&stat, word(&stat, "throttled_time") / 1000);
            }
            Controller::Accounting => group.usage_us = group.usage_us.max(one("cpuacct.usage") / 1000),
            Controller::Memory => {
                let limit = one("memory.limit_in_bytes");
                // Without a limit the kernel shows the greatest number of pages.
                group.limit = if limit >= 1 << 62 { 0 } else { limit };
                (group.memory, group.refused) = (one("memory.usage_in_bytes"), one("memory.failcnt"));
                group.oom_kills = word(&read("memory.oom_control"), "oom_kill");
            }
        }
    }
}

impl Group {
    /// Only the hierarchy that has the CPU's controller counts periods.
    fn throttle(&mut self, stat: &str, throttled_us: u64) {
        if word(stat, "nr_periods") > 0 {
            (self.periods, self.throttled) = (word(stat, "nr_periods"), word(stat, "nr_throttled"));
            self.throttled_us = throttled_us;
        }
    }

    fn json(&self) -> Json {
        json!({
            "usage_us": number(self.usage_us), "periods": number(self.periods), "throttled": number(self.throttled),
            "throttled_us": number(self.throttled_us), "memory": number(self.memory), "limit": number(self.limit),
            "refused": number(self.refused), "oom_kills": number(self.oom_kills),
        })
    }
}

/// A value of a `name value` file; 0: it has none.
fn word(text: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

fn children(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Root(std::path::PathBuf);

    impl Root {
        fn new(name: &str, files: &[(&str, &str)]) -> Root {
            let root = Root(std::env::temp_dir().join(format!("skep-node-{}-{name}", std::process::id())));
            for (path, text) in files {
                let file = root.0.join(path);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            root
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn group_of_version_2_has_all_of_its_controllers() {
        let root = Root::new(
            "v2",
            &[
                ("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"),
                ("sys/fs/cgroup/cpu.stat", "usage_usec 99\n"),
                ("sys/fs/cgroup/web/cpu.stat", "usage_usec 23\nnr_periods 7\nnr_throttled 5\nthrottled_usec 31\n"),
                ("sys/fs/cgroup/web/memory.current", "4096\n"),
                ("sys/fs/cgroup/web/memory.max", "max\n"),
                ("sys/fs/cgroup/web/memory.events", "low 0\nhigh 0\nmax 41\noom 2\noom_kill 3\n"),
                ("sys/fs/cgroup/web/a/cpu.stat", "usage_usec 1\n"),
                ("sys/fs/cgroup/web/cpu.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=17\n"),
            ],
        );
        let node = Node::at(&root.0);
        let groups = node.cgroups(None);
        let web = json!({
            "usage_us": 23, "periods": 7, "throttled": 5, "throttled_us": 31, "memory": 4096, "limit": 0, "refused": 41,
            "oom_kills": 3,
        });
        assert_eq!(groups.as_object().map(Map::len), Some(2), "the root is the machine: {groups}");
        assert_eq!(groups["/web"], web);
        assert_eq!(node.cgroups(Some("/sys/fs/cgroup/web/a")).as_object().map(Map::len), Some(1));
        assert_eq!(node.pressure("cpu", Some("web")).unwrap()["some"]["total"], 17);
        assert_eq!(node.pressure("cpu", Some("../../proc")), None);
    }

    #[test]
    fn groups_of_version_1_are_joined_by_their_path() {
        let mounts = "none /c/cpu cgroup rw,cpu 0 0\nnone /c/acct cgroup rw,cpuacct 0 0\nnone /c/mem cgroup rw,memory 0 0\nbad\n";
        let root = Root::new(
            "v1",
            &[
                ("proc/self/mounts", mounts),
                ("c/cpu/web/cpu.stat", "nr_periods 7\nnr_throttled 5\nthrottled_time 31000\n"),
                ("c/acct/web/cpuacct.usage", "23000\n"),
                ("c/mem/web/memory.limit_in_bytes", "9223372036854771712\n"),
                ("c/mem/web/memory.usage_in_bytes", "nonsense\n"),
                ("c/mem/web/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            ],
        );
        let web = json!({
            "usage_us": 23, "periods": 7, "throttled": 5, "throttled_us": 31, "memory": 0, "limit": 0, "refused": 0,
            "oom_kills": 3,
        });
        assert_eq!(Node::at(&root.0).cgroups(None), json!({ "/web": web }));
    }
}
