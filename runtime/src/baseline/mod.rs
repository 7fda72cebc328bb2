//! Baselines: the latencies that a script measured, kept, and compared with those of another run.
//!
//! ```text
//! run ─► series: samples by title and key ─► file: HdrHistograms in JSON      `skep baseline save`
//!                                     └──► comparison: a test each quantile   `skep baseline compare`
//! ```
//!
//! Pure but for the files; no privilege. The method is described in `docs/baselines.md`.

pub mod comparison;
pub mod file;
pub mod hypergeometric;
pub mod samples;
pub mod series;
#[cfg(test)]
mod simulation;
