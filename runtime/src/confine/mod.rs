//! Least privilege: what the process of a script gives up before the script runs, and what the thread that runs it gives
//! up once its chains are attached. docs/privileges.md says what is kept, and why.
//!
//! ```text
//! begin ─► script ─► raise, load, attach ─► lower ─► events ─► raise, detach ─► …        the script's thread
//!                                    the last run: lower for good, calls::deny, outputs::only
//! ```
//! Nothing of this happens to a process that never called [`begin`]: sessions, the doctor, tests.

pub mod calls;
pub mod capabilities;
pub mod needs;
pub mod outputs;

use crate::prepare::Prepared;
use crate::script::host::Host;
use calls::Phase;
use caps::Capability;

/// Gives up what no script needs. Before the first thread that a script's run starts, and behind the start of `-c`,
/// whose command is the caller's own and keeps what the caller has.
pub fn begin() {
    if capabilities::begin() {
        calls::deny(Phase::Script);
    }
}

/// Everything is attached: the script's thread needs little until the run ends. `last`: nothing is loaded any more, and
/// what is given up now does not come back.
pub fn attached(host: &Host, prepared: &[Prepared], last: bool) {
    if !capabilities::is_confined() {
        return;
    }
    // Threads have what the thread had that started them: the one that finds names for addresses is to have its own.
    let _no_thread = host.names.symbols();
    let kept = kept(prepared);
    capabilities::lower(&kept, last);
    if last {
        calls::deny(Phase::Attached);
        outputs::only();
    }
}

/// What the script's thread has while events come in.
fn kept(prepared: &[Prepared]) -> Vec<Capability> {
    let mut kept = Vec::new();
    // Linux before 5.19 lets nobody else read maps where unprivileged_bpf_disabled is set.
    if capabilities::reading_maps_takes_bpf() {
        kept.push(Capability::CAP_BPF);
    }
    if needs::of_packets(prepared) {
        // Filters of tc are taken off by netlink.
        kept.extend([Capability::CAP_BPF, Capability::CAP_NET_ADMIN]);
    }
    if outputs::are_named() {
        // The administrator writes into the folders of others.
        kept.extend([Capability::CAP_DAC_OVERRIDE, Capability::CAP_DAC_READ_SEARCH]);
    }
    kept
}
