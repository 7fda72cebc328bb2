//! What the end-to-end tests share: the real binary, run with a time limit; workloads of known size; goldens.
//!
//! ```sh
//! sudo -E cargo test -p skep-tests           # all of it; without root, what needs the kernel says "skipped"
//! SKEP_PRIVILEGED=1 cargo test -p skep-tests # in CI: a missing privilege is a failure
//! SKEP_BLESS=1 cargo test -p skep-tests      # writes goldens/ anew
//! SKEP_BINARY=./skep …                       # another binary than the one that is built here
//! SKEP_PYTHON=python3.14 …                   # functions of Python: 3.12 or later, its C code with frame pointers
//! cargo xtask vm --matrix                    # kernel_*.rs on four kernels, in emulated guests
//! ```

pub mod c;
pub mod calls;
pub mod cgroup;
pub mod folded;
pub mod frames;
pub mod golden;
pub mod guest;
pub mod hubble;
pub mod kernel;
pub mod left;
pub mod machine;
pub mod network;
pub mod output;
pub mod peers;
pub mod pty;
pub mod setting;
pub mod skep;
pub mod troubles;
pub mod watched;
pub mod workload;
pub mod zipf;

pub use cgroup::Cgroup;
pub use golden::golden;
pub use machine::privileged;
pub use network::Namespace;
pub use output::Output;
pub use skep::Skep;
pub use workload::Workload;

/// Ends a test that needs privilege where there is none.
#[macro_export]
macro_rules! privileged {
    () => {
        if !$crate::privileged() {
            return;
        }
    };
}

/// Ends a test that belongs in a guest where this is none.
#[macro_export]
macro_rules! guest {
    () => {
        if !$crate::guest::in_guest() {
            return;
        }
    };
}
