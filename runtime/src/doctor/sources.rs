//! Every source, tried as a script would use it: prepared, loaded, attached, hit by this thread, counted, detached.
//! Needs CAP_BPF and CAP_PERFMON; without them it says so and tries nothing.

use super::features::{self, ENTRIES};
use super::machine::{self, NEEDED};
use super::report::{Check, Report, State};
use super::trial::{self, Bench, LENGTH, Verdict, all_of, argument_is, degraded, equal, ok, some_of};
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node};
use crate::kernel::load::{self, KPROBE, RAW_TRACEPOINT, TRACEPOINT};
use crate::kernel::{arch, privilege, ring, sys};
use crate::machine::{Lookup, Machine};
use crate::plan::{Column, Output, Then};
use crate::points::Mechanism;
use crate::prepare::{Load, Prepared, Program};
use crate::session::{Session, Sizes};
use crate::threads;
use skep_templates::catalog::Catalog;

type Try = fn(&Bench) -> Result<Verdict, Diagnostic>;

/// Sources in the order of the table; `true`: required.
const SOURCES: [(&str, bool, Try); 19] = [
    ("tracepoint", true, tracepoint),
    ("rawtracepoint", true, raw_tracepoint),
    ("syscalls", true, syscalls),
    ("tp_btf", false, tp_btf),
    ("kprobe", false, |bench| function(bench, &bench.plain, "kprobe:vfs_read", "arg2")),
    ("kretprobe", false, |bench| function(bench, &bench.plain, "kretprobe:vfs_read", "retval")),
    ("kprobe.multi", false, kprobe_multi),
    ("fentry", false, |bench| function(bench, &bench.machine, "fentry:vfs_read", "arg2")),
    ("fexit", false, |bench| function(bench, &bench.machine, "fexit:vfs_read", "retval")),
    ("uprobe", true, |bench| uprobe(bench, false)),
    ("uretprobe", false, |bench| uprobe(bench, true)),
    ("uprobe.multi", false, uprobe_multi),
    ("profile", true, profile),
    ("interval", false, interval),
    ("software", false, software),
    ("hardware", false, hardware),
    ("ring buffer", true, ring_buffer),
    ("batch reads", false, batch_reads),
    ("kernel CO-RE", false, core_relocations),
];

/// Examines this machine with the templates of `catalog`. Takes about a second; nothing stays attached.
///
/// # Errors
/// A bug of ours, or no thread is to be had.
pub fn examine(catalog: Catalog) -> Result<Report, Diagnostic> {
    let facts = machine::facts();
    let (checks, next) = match obstacle() {
        None => (try_all(catalog)?, None),
        Some((reason, [short, long])) => {
            let check = |(source, required, _): &(&'static str, bool, Try)| {
                let (reason, next) = (reason.clone(), Some(short.clone()));
                Check { source, required: *required, state: State::No, reason, next }
            };
            (SOURCES.iter().map(check).collect(), Some(long))
        }
    };
    Ok(Report { kernel: machine::release(), facts, checks, next })
}

/// What stands in the way of every source, and the next step, short and in full.
fn obstacle() -> Option<(String, [String; 2])> {
    let missing = privilege::missing(&NEEDED);
    if !missing.is_empty() {
        let reason = format!("{} {} missing", missing.join(" and "), if missing.len() == 1 { "is" } else { "are" });
        let sudo = "sudo skep doctor".to_owned();
        return Some((reason, [sudo.clone(), format!("{sudo}, or: {}", setcap("cap_bpf,cap_perfmon"))]));
    }
    // What the capabilities do not say: seccomp, a user namespace, a security module.
    let refused = features::map().err().filter(|error| error.raw_os_error() == Some(libc::EPERM))?;
    let reason = format!("bpf(2): {} in spite of its capabilities", load::text(&refused));
    let long = "try on the host: a container's seccomp profile, its user namespace or an LSM forbids bpf(2)".to_owned();
    Some((reason, ["try on the host itself".to_owned(), long]))
}

fn setcap(capabilities: &str) -> String {
    let binary = std::env::current_exe().unwrap_or_else(|_| "skep".into());
    format!("sudo setcap {capabilities}+ep {}", binary.display())
}

fn try_all(catalog: Catalog) -> Result<Vec<Check>, Diagnostic> {
    // Events are told from those of others by the thread's name.
    let comm = format!("skep-{}", std::process::id());
    let thread = std::thread::Builder::new().name(comm.clone());
    let trials = move || {
        let mut plain = Machine::live();
        plain.avoid_raw = true;
        plain.avoid_trampolines = true;
        let bench = Bench { catalog, comm, machine: Machine::live(), plain };
        let check = |(source, required, attempt): &(&'static str, bool, Try)| {
            let Verdict { state, reason, next } = attempt(&bench).unwrap_or_else(trial::failed);
            Check { source, required: *required, state, reason, next }
        };
        SOURCES.iter().map(check).collect()
    };
    thread.spawn(trials).map_err(threads::failed)?.join().map_err(|_| Diagnostic::bug("the doctor panicked"))
}

/// Arguments by name take what tracefs says of them.
fn require_tracefs(bench: &Bench) -> Result<(), Diagnostic> {
    match bench.machine.tracepoint("raw_syscalls", "sys_enter")? {
        Lookup::Unreadable => Err(Diagnostic::machine("only root may read tracefs, where arguments are described")
            .help(setcap("cap_bpf,cap_perfmon,cap_dac_read_search"))),
        _ => Ok(()),
    }
}

fn mechanisms(prepared: &Prepared) -> impl Iterator<Item = &Mechanism> {
    let programs = prepared.units.iter().flat_map(|unit| &unit.programs);
    programs.flat_map(|program| &program.attach).map(|attach| &attach.mechanism)
}

fn getppid() -> i128 {
    // Known on both of our architectures; -1 matches nothing, and the check then says so.
    arch::syscall_number("getppid").map_or(-1, i128::from)
}

fn tracepoint(bench: &Bench) -> Result<Verdict, Diagnostic> {
    require_tracefs(bench)?;
    let id = equal(Expr::new(Node::Member(Expr::name("args"), "id".into()), None), Expr::int(getppid()));
    let entry = bench.entry("tracepoint:raw_syscalls:sys_enter", Some(id))?;
    let prepared = bench.prepare(0, &entry, &bench.plain)?;
    let verdict = all_of(bench.count(&entry, &prepared, |_| trial::call())?, "calls")?;
    if bench.machine.has_cookies(TRACEPOINT) {
        return Ok(verdict);
    }
    degraded(format!("{}, without perf links: a program for each attach point", verdict.reason), "Linux 5.15 has them")
}

fn raw_tracepoint(bench: &Bench) -> Result<Verdict, Diagnostic> {
    let entry = bench.entry("rawtracepoint:sys_enter", Some(equal(Expr::name("arg1"), Expr::int(getppid()))))?;
    let prepared = bench.prepare(0, &entry, &bench.machine)?;
    let verdict = all_of(bench.count(&entry, &prepared, |_| trial::call())?, "calls")?;
    if bench.machine.has_cookies(RAW_TRACEPOINT) {
        return Ok(verdict);
    }
    degraded(format!("{}, without cookies: a program for each attach point", verdict.reason), "Linux 6.10 has them")
}

fn syscalls(bench: &Bench) -> Result<Verdict, Diagnostic> {
    let entry = bench.entry("tracepoint:syscalls:sys_enter_getppid", None)?;
    let prepared = bench.prepare(0, &entry, &bench.machine)?;
    let verdict = all_of(bench.count(&entry, &prepared, |_| trial::call())?, "calls")?;
    if mechanisms(&prepared).all(|one| matches!(one, Mechanism::Syscall { .. })) {
        return Ok(verdict);
    }
    degraded(format!("{}, by each call's own tracepoint: 100 ns more an event", verdict.reason), "a kernel with BTF")
}

/// Arguments on entry, the result on return.
fn tp_btf(bench: &Bench) -> Result<Verdict, Diagnostic> {
    require_tracefs(bench)?;
    let enter = bench.entry("tracepoint:syscalls:sys_enter_read", Some(argument_is("count", LENGTH)))?;
    let leave = bench.entry("tracepoint:syscalls:sys_exit_read", Some(argument_is("ret", LENGTH)))?;
    let prepared = [bench.prepare(0, &enter, &bench.machine)?, bench.prepare(1, &leave, &bench.machine)?];
    let entries = [(&enter, &prepared[0]), (&leave, &prepared[1])];
    let session = Session::start(&entries, &bench.machine, Sizes::default())?;
    trial::read();
    let both = trial::counted(&session, 0)?.min(trial::counted(&session, 1)?);
    let verdict = all_of(both, "arguments and results")?;
    let by_prototype = |program: &Program| matches!(program.load, Load::TracepointPrototype(_));
    if prepared.iter().flat_map(|one| &one.units).flat_map(|unit| &unit.programs).all(by_prototype) {
        return Ok(verdict);
    }
    degraded("no BTF: arguments come from each call's own tracepoint, 100 ns more an event", "a kernel with BTF")
}

/// The kernel's function behind read(2): `value` is how much is to be read, or was.
fn function(bench: &Bench, machine: &Machine, text: &str, value: &str) -> Result<Verdict, Diagnostic> {
    let what = if value == "retval" { "results" } else { "arguments" };
    let entry = bench.entry(text, Some(equal(Expr::name(value), Expr::int(LENGTH as i128))))?;
    let prepared = bench.prepare(0, &entry, machine)?;
    all_of(bench.count(&entry, &prepared, |_| trial::read())?, what)
}

fn kprobe_multi(bench: &Bench) -> Result<Verdict, Diagnostic> {
    if bench.plain.has_kprobe() && !bench.plain.has_kprobe_multi() {
        let next = "Linux 5.18 with CONFIG_FPROBE has one link for all";
        return degraded("a perf event for each function: globs attach slowly", next);
    }
    function(bench, &bench.plain, "kprobe:vfs_*", "arg2")
}

fn uprobe(bench: &Bench, returns: bool) -> Result<Verdict, Diagnostic> {
    let what = if returns { "returns" } else { "calls" };
    let admin = privilege::missing(&["CAP_SYS_ADMIN"]).is_empty();
    match trial::probe_ourselves(bench, &trial::offsets()?[..1], returns, Load::Plain(KPROBE)) {
        Ok(counted) => all_of(counted, what),
        // Source: kernel/events/core.c, perf_uprobe_event_init(): CAP_PERFMON is not enough there.
        Err(error) if !admin && error.message.ends_with("the kernel does not allow it") => {
            Err(Diagnostic::machine("a single uprobe takes CAP_SYS_ADMIN, which is missing")
                .help("with sudo, or as a glob of several functions (Linux 6.6)"))
        }
        Err(error) => Err(error),
    }
}

fn uprobe_multi(bench: &Bench) -> Result<Verdict, Diagnostic> {
    if !bench.machine.has_uprobe_multi() {
        return degraded("a perf event for each function: globs attach slowly", "Linux 6.6 has one link for all");
    }
    all_of(trial::probe_ourselves(bench, &trial::offsets()?, false, Load::UprobeMulti)?, "calls of two functions")
}

fn sampled(bench: &Bench, text: &str, what: &str, trigger: impl FnOnce(&Session)) -> Result<Verdict, Diagnostic> {
    let entry = bench.entry(text, None)?;
    let prepared = bench.prepare(0, &entry, &bench.machine)?;
    some_of(bench.count(&entry, &prepared, trigger)?, what)
}

fn profile(bench: &Bench) -> Result<Verdict, Diagnostic> {
    sampled(bench, "profile:hz:99", "samples of this thread", trial::work)
}

fn interval(bench: &Bench) -> Result<Verdict, Diagnostic> {
    // The timer's processor may be another one than ours: whoever runs there is counted.
    let mut entry = bench.entry("interval:ms:5", None)?;
    entry.filter = None;
    let prepared = bench.prepare(0, &entry, &bench.machine)?;
    some_of(bench.count(&entry, &prepared, trial::work)?, "ticks")
}

fn software(bench: &Bench) -> Result<Verdict, Diagnostic> {
    sampled(bench, "software:page-faults:1", "page faults of this thread", |_| {
        // Without memory no page faults: the verdict says so.
        let _faulted = sys::fault_pages(101);
    })
}

fn hardware(bench: &Bench) -> Result<Verdict, Diagnostic> {
    sampled(bench, "hardware:cycles:100000", "overflows of this thread", trial::work)
}

fn ring_buffer(bench: &Bench) -> Result<Verdict, Diagnostic> {
    let mut entry = bench.entry("rawtracepoint:sys_enter", Some(equal(Expr::name("arg1"), Expr::int(getppid()))))?;
    let columns = vec![Column { name: "nsecs".into(), expr: Expr::name("nsecs") }];
    entry.output = Output::Stream { columns, then: Then::Print };
    let prepared = bench.prepare(0, &entry, &bench.machine)?;
    let session = Session::start(&[(&entry, &prepared)], &bench.machine, Sizes { ring: 64 << 10, ..Sizes::default() })?;
    let Some(mut events) = session.events()? else {
        return Err(Diagnostic::bug("a stream without a ring buffer"));
    };
    trial::call();
    let mut batch = Vec::new();
    events.read(&mut batch, 64 << 10);
    all_of(ring::records(&batch).count() as u64, "records")
}

fn batch_reads(_: &Bench) -> Result<Verdict, Diagnostic> {
    match features::batch_reads() {
        Ok(ENTRIES) => ok(format!("{ENTRIES} of {ENTRIES} entries in one call")),
        Ok(count) => Err(Diagnostic::machine(format!("{count} of {ENTRIES} entries came"))),
        // As skep's own reading of tables does: what fails here goes one by one there.
        Err(error) => {
            let reason = format!("{}: tables are read entry by entry, 6 to 8 times as slow", load::text(&error));
            degraded(reason, "Linux 5.6 has them")
        }
    }
}

fn core_relocations(bench: &Bench) -> Result<Verdict, Diagnostic> {
    match features::core_relocation() {
        Ok(offset) if offset > 0 => ok(format!("the kernel found task_struct.pid at +{offset}")),
        Ok(_) => Err(Diagnostic::machine("the kernel took a relocation and did nothing about it")),
        Err(_) if !bench.machine.has_btf() => {
            Err(Diagnostic::machine("this kernel has no type information (/sys/kernel/btf/vmlinux)")
                .help("a kernel with CONFIG_DEBUG_INFO_BTF=y"))
        }
        Err(error) if error.raw_os_error() == Some(libc::E2BIG) => {
            degraded("skep relocates by itself: 40 ms and 20 MB more at a start", "Linux 5.17 does it")
        }
        Err(error) => Err(Diagnostic::machine(format!("the kernel refused a relocation: {}", load::text(&error)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_required_sources_are_hit() {
        let missing = privilege::missing(&["CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"]);
        let report = examine(Catalog::embedded()).unwrap();
        assert_eq!(report.checks.len(), SOURCES.len());
        if missing.is_empty() {
            assert!(report.is_healthy(), "{}", report.text(&Default::default()));
        } else {
            eprintln!("skipped: needs {}", missing.join(", "));
            assert!(!report.is_healthy());
        }
    }
}
