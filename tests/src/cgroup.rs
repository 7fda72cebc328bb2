//! Control groups of a test's own, of version 2, with nobody in them at the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static MADE: AtomicU32 = AtomicU32::new(0);

/// A control group by its folder; gone when it is dropped.
pub struct Cgroup(pub PathBuf);

impl Default for Cgroup {
    fn default() -> Self {
        Cgroup::new()
    }
}

impl Cgroup {
    #[track_caller]
    pub fn new() -> Cgroup {
        Cgroup::below(&root())
    }

    /// In a hierarchy of version 1, such as that of memory.
    #[track_caller]
    pub fn below(root: &Path) -> Cgroup {
        let name = format!("skep-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let folder = root.join(name);
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        Cgroup(folder)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Processes that have just ended leave it a little later.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Where version 2 is mounted.
#[track_caller]
fn root() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    let mut words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    words.find(|words| words[2] == "cgroup2").expect("cgroup v2 is mounted")[1].into()
}

/// A control group for threads of this process, which is in the group above it for as long.
pub struct Threaded {
    path: String,
    group: Cgroup,
    above: Cgroup,
    before: PathBuf,
}

impl Threaded {
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it makes something")]
    pub fn new() -> Threaded {
        let own = std::fs::read_to_string("/proc/self/cgroup").expect("/proc is mounted");
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).expect("this process is in one");
        let (before, above) = (root().join(own), Cgroup::new());
        write(&above.0.join("cgroup.procs"), "0");
        let group = Cgroup::below(&above.0);
        write(&group.0.join("cgroup.type"), "threaded");
        let path = group.0.strip_prefix(root()).expect("it is below").display();
        Threaded { path: format!("/{path}"), group, above, before }
    }

    /// Below the root of all groups.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Takes this thread there; sockets that it makes are the group's, wherever they are used.
    #[track_caller]
    pub fn enter(&self) {
        write(&self.group.0.join("cgroup.threads"), "0");
    }
}

#[track_caller]
fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

impl Drop for Threaded {
    fn drop(&mut self) {
        let before = self.before.join("cgroup.procs");
        // This process first: what it starts from here on is not born there.
        let _left = std::fs::write(&before, "0");
        let others = std::fs::read_to_string(self.above.0.join("cgroup.procs")).unwrap_or_default();
        others.lines().for_each(|pid| {
            // Who has ended meanwhile needs no move.
            let _left = std::fs::write(&before, pid);
        });
    }
}
