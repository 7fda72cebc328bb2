//! Scripts of the library beside the tools of bpftrace and BCC that they are named after: at the same time, on the same
//! workload, and what both count is the same. What is compared with what stands in tables, of which docs/comparison.md
//! is written. Debian's packages bpftrace and libbpf-tools are needed.

#[path = "comparison/answer.rs"]
mod answer;
#[path = "comparison/calls.rs"]
mod calls;
#[path = "comparison/case.rs"]
mod case;
#[path = "comparison/disk.rs"]
mod disk;
#[path = "comparison/document.rs"]
mod document;
#[path = "comparison/network.rs"]
mod network;
#[path = "comparison/processes.rs"]
mod processes;
#[path = "comparison/scheduler.rs"]
mod scheduler;
#[path = "comparison/tool.rs"]
mod tool;

use case::agree;
use skep_tests::privileged;

#[test]
fn system_calls_are_counted_as_other_tools_count_them() {
    privileged!();
    agree(calls::CASES);
}

#[test]
fn processes_are_counted_as_other_tools_count_them() {
    privileged!();
    agree(processes::CASES);
}

#[test]
fn scheduling_is_counted_as_other_tools_count_it() {
    privileged!();
    agree(scheduler::CASES);
}

#[test]
fn disks_and_networks_are_counted_as_other_tools_count_them() {
    privileged!();
    agree(disk::CASES);
    agree(network::CASES);
}

#[test]
fn document_has_every_comparison() {
    document::is_written_of(&[calls::CASES, processes::CASES, scheduler::CASES, disk::CASES, network::CASES]);
}
