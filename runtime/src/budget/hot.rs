//! Hot attach points: those that every machine hits so often that watching them is felt, whatever the filter says.

use crate::attach_point::AttachPoint;
use crate::glob;
use crate::plan::{Entry, Source};

/// Functions of the kernel, as globs. A glob of the script is as hot as what it matches of these.
const FUNCTIONS: &[&str] = &[
    "_raw_spin_lock",
    "_raw_spin_unlock",
    "_raw_spin_lock_irqsave",
    "_raw_spin_unlock_irqrestore",
    "__rcu_read_lock",
    "__rcu_read_unlock",
    "preempt_count_add",
    "preempt_count_sub",
    "ktime_get",
    "sched_clock",
    "native_sched_clock",
    "update_curr",
    "mutex_lock",
    "mutex_unlock",
    "kmem_cache_alloc",
    "kmem_cache_alloc_noprof",
    "kmem_cache_free",
    "__kmalloc",
    "kfree",
    "memcpy",
    "memset",
    "copy_from_user",
    "copy_to_user",
    "_copy_from_user",
    "_copy_to_user",
];
/// Categories of tracepoints.
const CATEGORIES: &[&str] = &["lock", "preemptirq", "rcu", "kmem", "irq_vectors"];
/// Functions that nearly every program calls all the time.
const USER: &[&str] = &["malloc", "free", "memcpy", "memset", "strlen", "pthread_mutex_lock", "pthread_mutex_unlock"];

/// The first source of an entry that is hot, as the script has it; `one_process`: a function of a program is watched in
/// that process alone.
pub fn source(entry: &Entry, one_process: bool) -> Option<&str> {
    let written: Vec<&(String, AttachPoint)> = match &entry.source {
        Source::Probe(points) => points.iter().collect(),
        Source::Span(span) => span.start.iter().chain(&span.end).collect(),
        Source::Template { .. } => Vec::new(),
    };
    written.into_iter().find(|(_, point)| is_hot(point, one_process)).map(|(text, _)| text.as_str())
}

fn is_hot(point: &AttachPoint, one_process: bool) -> bool {
    match point {
        AttachPoint::Function { function, .. } => FUNCTIONS.iter().any(|hot| glob::matches(function, hot)),
        AttachPoint::Tracepoint { category, .. } => CATEGORIES.iter().any(|hot| glob::matches(category, hot)),
        AttachPoint::Uprobe { function, .. } => !one_process && USER.iter().any(|hot| glob::matches(function, hot)),
        AttachPoint::FirstOf(points) => points.iter().any(|(_, point)| is_hot(point, one_process)),
        _ => false,
    }
}
