//! Flame graphs: stacks with values, and what people read them with. Pure; nothing is measured here.

pub mod profile;
