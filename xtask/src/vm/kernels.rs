//! The kernels of the matrix: Debian's cloud flavour, which has PCI, NVMe and ext4 built in.

use std::fmt;

/// A kernel by the name that users give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    pub name: &'static str,
    /// The suite whose newest kernel it is.
    pub suite: &'static str,
}

pub const KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", suite: "bullseye" },
    Kernel { name: "6.1", suite: "bookworm" },
    Kernel { name: "6.12", suite: "trixie" },
    Kernel { name: "newest", suite: "sid" },
];

impl Kernel {
    pub fn named(name: &str) -> Result<Kernel, String> {
        let found = KERNELS.into_iter().find(|kernel| kernel.name == name);
        found.ok_or_else(|| {
            format!("vm: no kernel `{name}`; there are {}", KERNELS.map(|kernel| kernel.name).join(", "))
        })
    }

    /// Names with commas between.
    pub fn all_named(names: &str) -> Result<Vec<Kernel>, String> {
        names.split(',').map(Kernel::named).collect()
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Loaded in every guest, with what they need; one that is built in, or that a kernel does not have, is skipped.
pub const MODULES: &[&str] = &[
    // The guest's outputs go through these.
    "virtio_pci",
    "virtio_console",
    // Below `--root`: ext4's checksums, and a writable layer above it.
    "crc32c_generic",
    "overlay",
    // What network tests are made of.
    "veth",
    "dummy",
    "sch_ingress",
    "cls_bpf",
    "act_bpf",
    "ifb",
    "tcp_bbr",
    "nf_tables",
    "nft_chain_nat",
];
