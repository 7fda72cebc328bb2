//! System calls that a script's process does without: a list of what is refused, not of what is allowed. The C library,
//! the allocator and each kernel's own ways make a list of what is needed one that breaks in the field.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before the script runs.
    Script,
    /// Behind the last attachment.
    Attached,
}

/// Other programs, other processes' memory, the kernel's own code, the machine's clock, keys and roots.
const IN_SCRIPT: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_mknodat,
    libc::SYS_personality,
    libc::SYS_quotactl,
    libc::SYS_vhangup,
    libc::SYS_setuid,
    libc::SYS_setreuid,
    libc::SYS_setresuid,
    libc::SYS_setgid,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
];

/// Mounts (tracefs is mounted where it is not), namespaces, other capabilities.
const ATTACHED: &[i64] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_capset,
    libc::SYS_perf_event_open,
];

/// Commands of bpf(2) that make something: BPF_MAP_CREATE, BPF_PROG_LOAD, BPF_OBJ_PIN, BPF_PROG_ATTACH,
/// BPF_RAW_TRACEPOINT_OPEN, BPF_BTF_LOAD, BPF_LINK_CREATE. Source: include/uapi/linux/bpf.h.
const LOADING: [u64; 7] = [0, 5, 6, 8, 17, 18, 28];

/// Refuses them to this thread and those that it starts, as the kernel does who has no privilege: EPERM. Where the kernel
/// has no filters, nothing is refused: `skep doctor` says so.
pub fn deny(phase: Phase) {
    if let Some(program) = program(phase) {
        let _without = seccompiler::apply_filter(&program);
    }
}

fn program(phase: Phase) -> Option<BpfProgram> {
    let numbers = match phase {
        Phase::Script => IN_SCRIPT,
        Phase::Attached => ATTACHED,
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = numbers.iter().map(|number| (*number, Vec::new())).collect();
    if phase == Phase::Attached {
        let command = |number: &u64| {
            let is = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *number).ok()?;
            SeccompRule::new(vec![is]).ok()
        };
        rules.insert(libc::SYS_bpf, LOADING.iter().filter_map(command).collect());
    }
    let architecture = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::map::{self, Map, Shape};

    /// In a thread of its own: a filter stays.
    fn denied<T: Send>(phase: Phase, what: impl FnOnce() -> T + Send) -> T {
        let run = || {
            deny(phase);
            what()
        };
        std::thread::scope(|scope| scope.spawn(run).join()).unwrap()
    }

    #[test]
    fn programs_cannot_be_executed_by_a_script() {
        let error = denied(Phase::Script, || std::process::Command::new("/bin/true").status()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert!(std::process::Command::new("/bin/true").status().is_ok());
    }

    #[test]
    fn maps_are_read_and_not_made_behind_the_last_attachment() {
        if crate::kernel::privilege::skips(&["CAP_BPF"]) {
            return;
        }
        let shape = Shape { map_type: map::ARRAY, key_size: 4, value_size: 8, max_entries: 7 };
        let map = Map::create("calls", shape).unwrap();
        let (entries, made) = denied(Phase::Attached, || (map.entries(), Map::create("more", shape)));
        assert_eq!(entries.unwrap().len(), 7);
        assert_eq!(made.err().and_then(|error| error.raw_os_error()), Some(libc::EPERM));
    }
}
