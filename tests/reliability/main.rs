//! What happens to a run, to the process that it watches and to other tracers when something goes wrong. Each test is a
//! row of docs/reliability.md; after each, nothing of the run is left in the kernel, and others count on.

mod document;
mod machine;
mod process;
mod scene;
mod target;

pub use scene::Scene;
