//! Kernel modules in the order in which they load, unpacked: the guest only inserts file after file.

use super::{cache, tool};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Puts the named modules and all that they need into `into` as `NN-NAME.ko`.
///
/// `base` holds lib/modules/`release`.
pub fn collect(base: &Path, release: &str, names: &[&str], into: &Path) -> Result<(), String> {
    tool::run(Command::new("depmod").arg("-b").arg(base).arg(release))?;
    let folder = base.join("lib/modules").join(release);
    let list = folder.join("modules.dep");
    let list = fs::read_to_string(&list).map_err(|error| format!("failed to read {}: {error}", list.display()))?;
    cache::create(into)?;
    for (n, file) in in_order(&list, names).iter().enumerate() {
        let failed = |error| format!("failed to copy module {file}: {error}");
        let mut code = fs::read(folder.join(file)).map_err(failed)?;
        if file.ends_with(".xz") {
            code = tool::filter(Command::new("xz").arg("-dc"), &code)?;
        } else if file.ends_with(".zst") {
            code = tool::filter(Command::new("zstd").arg("-dc"), &code)?;
        }
        fs::write(into.join(format!("{n:02}-{}.ko", name(file))), code).map_err(failed)?;
    }
    Ok(())
}

/// Files of modules.dep, each behind those that it needs.
fn in_order<'a>(list: &'a str, names: &[&str]) -> Vec<&'a str> {
    let mut lines = HashMap::new();
    for (file, needs) in list.lines().filter_map(|line| line.split_once(':')) {
        lines.insert(name(file), (file, needs));
    }
    let mut order = Vec::new();
    for wanted in names {
        let Some((file, needs)) = lines.get(*wanted) else { continue };
        // The nearest need stands first in its line.
        for file in needs.split_whitespace().rev().chain([*file]) {
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    order
}

/// `kernel/net/sched/act-bpf.ko.xz` -> `act_bpf`
fn name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::in_order;

    #[test]
    fn modules_follow_what_they_need_once_each() {
        let list = "a/one.ko: b/two.ko b/three.ko\nb/two.ko: b/three.ko\nb/three.ko:\nc/fo-ur.ko.xz: b/three.ko\n";
        let order = in_order(list, &["one", "absent", "fo_ur"]);
        assert_eq!(order, ["b/three.ko", "b/two.ko", "a/one.ko", "c/fo-ur.ko.xz"]);
    }
}
