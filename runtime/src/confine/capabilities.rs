//! Capabilities of the thread that asks: which are kept, and when they are effective. A thread has its own, and those that
//! it starts begin with them.

use super::outputs;
use crate::kernel::map::{self, Map, Shape};
use crate::permit::Permit;
use caps::{CapSet, Capability, CapsHashSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// All that skep ever uses, each with what for. The rest is given up before a script runs.
pub const EVER: [(Capability, &str); 10] = [
    (Capability::CAP_BPF, "to load programs and make maps"),
    (Capability::CAP_PERFMON, "to trace with them, and read the kernel's memory in them"),
    (Capability::CAP_NET_ADMIN, "to attach to interfaces and control groups"),
    (Capability::CAP_SYS_ADMIN, "to count what programs cost, for single uprobes, and for functions of modules"),
    (Capability::CAP_SYS_RESOURCE, "to lock memory for maps, before Linux 5.11"),
    (Capability::CAP_IPC_LOCK, "to map the rings of samples"),
    (Capability::CAP_SYS_PTRACE, "to look up symbols in processes of others"),
    (Capability::CAP_SYSLOG, "to know the addresses of the kernel's symbols"),
    (Capability::CAP_DAC_READ_SEARCH, "to read tracefs, and binaries of others"),
    (Capability::CAP_DAC_OVERRIDE, "to write files into folders of others, as an administrator does"),
];

/// What a thread other than the script's may need: to look into processes; to attach anew what was detached.
const OF_SYMBOLS: &[Capability] = &[
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_SYSLOG,
    Capability::CAP_PERFMON,
    // Debian's kernels give perf events to nobody else where perf_event_paranoid is 3, as it is there.
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_IPC_LOCK,
    Capability::CAP_DAC_READ_SEARCH,
];
pub const OF_THE_KEEPER: &[Capability] = &[
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_SYS_RESOURCE,
    Capability::CAP_DAC_READ_SEARCH,
];

/// What the helper itself needs besides [`EVER`], which it hands on: to become others, and to end what runs for them.
const OF_THE_HELPER: [Capability; 4] =
    [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_SETPCAP, Capability::CAP_KILL];

static CONFINED: AtomicBool = AtomicBool::new(false);

/// Did this process begin to give up what it does not need?
pub fn is_confined() -> bool {
    CONFINED.load(Ordering::Relaxed)
}

/// Keeps [`EVER`]. `false`: there is nothing to give up, or the kernel does not say.
pub fn begin() -> bool {
    keep(&EVER.map(|(capability, _)| capability))
}

/// The same with fewer.
pub fn keep(wanted: &[Capability]) -> bool {
    let Ok(held) = caps::read(None, CapSet::Permitted) else { return false };
    if held.is_empty() {
        return false;
    }
    // Nothing is executed from here on. Without CAP_SETPCAP the bounding set stays as it is: it is for execve(2) alone.
    let _stays = caps::clear(None, CapSet::Ambient);
    let _stays = caps::clear(None, CapSet::Bounding);
    let _stays = caps::clear(None, CapSet::Inheritable);
    set(&held.into_iter().filter(|capability| wanted.contains(capability)).collect(), true);
    CONFINED.store(true, Ordering::Relaxed);
    true
}

/// What a run within a permit may need, before it is known what it does.
pub fn of_permit(permit: &Permit) -> Vec<Capability> {
    let mut kept = vec![
        Capability::CAP_BPF,
        Capability::CAP_PERFMON,
        Capability::CAP_SYS_ADMIN,
        Capability::CAP_SYS_RESOURCE,
        Capability::CAP_IPC_LOCK,
        Capability::CAP_SYSLOG,
        Capability::CAP_DAC_READ_SEARCH,
    ];
    if !permit.own_processes {
        kept.extend([Capability::CAP_SYS_PTRACE, Capability::CAP_NET_ADMIN]);
    }
    if permit.enforcement {
        // The sockets by which policies are told to go back lie in a folder of root's.
        kept.extend([Capability::CAP_NET_ADMIN, Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_OVERRIDE]);
    }
    kept
}

/// What the helper executes can get no more than runs need.
pub fn bound_helper() {
    let ever = EVER.map(|(capability, _)| capability);
    let others = caps::all().into_iter().filter(|one| !ever.contains(one) && !OF_THE_HELPER.contains(one));
    for capability in others {
        // One that this kernel does not know cannot be had either.
        let _unknown = caps::drop(None, CapSet::Bounding, capability);
    }
}

/// The thread that looks symbols up: for somebody else, as they could do it themselves.
pub fn of_symbols() -> &'static [Capability] {
    if outputs::are_closed() { &OF_SYMBOLS[..OF_SYMBOLS.len() - 1] } else { OF_SYMBOLS }
}

/// Makes effective what this thread still has.
pub fn raise() {
    if is_confined()
        && let Ok(held) = caps::read(None, CapSet::Permitted)
    {
        set(&held, false);
    }
}

/// Leaves these effective; `for_good`: the others do not come back.
pub fn lower(kept: &[Capability], for_good: bool) {
    if is_confined()
        && let Ok(held) = caps::read(None, CapSet::Permitted)
    {
        set(&held.into_iter().filter(|capability| kept.contains(capability)).collect(), for_good);
    }
}

/// Runs `what` without these.
pub fn without<T>(given_up: &[Capability], what: impl FnOnce() -> T) -> T {
    let before = caps::read(None, CapSet::Effective).unwrap_or_default();
    set(&before.iter().copied().filter(|capability| !given_up.contains(capability)).collect(), false);
    let done = what();
    set(&before, false);
    done
}

fn set(capabilities: &CapsHashSet, for_good: bool) {
    // To have less, or what is permitted, is refused to nobody.
    let _refused = caps::set(None, CapSet::Effective, capabilities);
    if for_good {
        let _refused = caps::set(None, CapSet::Permitted, capabilities);
    }
}

/// Does this kernel refuse to read a map without CAP_BPF? It is asked once, by a thread that has none.
pub fn reading_maps_takes_bpf() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let shape = Shape { map_type: map::ARRAY, key_size: 4, value_size: 8, max_entries: 1 };
        let Ok(map) = Map::create("confine", shape) else { return false };
        let read = move || {
            set(&CapsHashSet::new(), true);
            map.entries().is_err()
        };
        // Without a thread nothing is known: then it is kept.
        std::thread::Builder::new().spawn(read).ok().and_then(|thread| thread.join().ok()).unwrap_or(true)
    })
}
