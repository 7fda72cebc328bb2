//! A session: prepared entries in the kernel, from load to detach. Dropping it detaches everything.

use crate::aggregate::cell::Kind;
use crate::aggregate::column::ColumnType;
use crate::aggregate::table::{Spec, Table};
use crate::attach_point::AttachPoint;
use crate::diagnostic::Diagnostic;
use crate::following::Following;
use crate::kernel::attach::{self, Link, Uprobe, UserPlace};
use crate::kernel::load::{self, Loaded, ProgramKind, Request};
use crate::kernel::map::{Map, Shape};
use crate::kernel::perf::Every;
use crate::kernel::ring::Ring;
use crate::kernel::{btf, missed, perf, sys};
use crate::machine::Machine;
use crate::plan::{Entry, Output, Source};
use crate::points::Mechanism;
use crate::prepare::{Attach, Load, Prepared, Program, RECORD_HEADER, Unit};
use crate::span;
use crate::stacks::Stacks;
use crate::trust::{self, Trust};
use crate::unwind::samples::Samples;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

mod functions;

pub use functions::Refused;

/// Sizes that the command line may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the ring buffer that all streams of a session share.
    pub ring: u64,
    /// Call chains that the kernel keeps.
    pub stacks: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { ring: 8 << 20, stacks: 8192 }
    }
}

/// Entries that run in the kernel.
pub struct Session {
    running: Vec<Running>,
    ring: Option<Map>,
    refused: Vec<Refused>,
    stacks: Option<Rc<Stacks>>,
}

/// What entries share beyond their session.
#[derive(Clone, Default)]
pub struct Shared<'a> {
    /// Processes that are followed.
    pub following: Option<&'a Following>,
    /// Where entries that ask for call chains keep them.
    pub stacks: Option<Rc<Stacks>>,
}

/// One entry, loaded and attached. Its maps outlive its links, so that values can be read at the end.
struct Running {
    links: Vec<Link>,
    programs: Vec<OwnedFd>,
    /// What its links did not hear of until they were dropped.
    missed: u64,
    /// Where programs count what they missed, on kernels that do not.
    runs: Vec<Map>,
    aggregate: Option<Map>,
    spans: Option<Map>,
    trust: Map,
    spec: Option<Spec>,
    /// Counted here in place of `aggregate`.
    samples: Option<Samples>,
}

impl Running {
    /// What its links did not hear of so far.
    fn missed(&self) -> u64 {
        self.missed + self.links.iter().map(Link::missed).sum::<u64>()
    }
}

impl Session {
    /// Loads and attaches; all or nothing.
    ///
    /// # Errors
    /// A machine diagnostic: no privilege, a kernel that refuses, an attach point that is gone.
    pub fn start(entries: &[(&Entry, &Prepared)], machine: &Machine, sizes: Sizes) -> Result<Session, Diagnostic> {
        Self::start_with(entries, machine, sizes, Shared::default())
    }

    /// The same, of entries that ask for what they share.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn start_with(
        entries: &[(&Entry, &Prepared)],
        machine: &Machine,
        sizes: Sizes,
        shared: Shared<'_>,
    ) -> Result<Session, Diagnostic> {
        let streams =
            entries.iter().any(|(entry, one)| matches!(entry.output, Output::Stream { .. }) || one.copies.is_some());
        let refused = |error: io::Error| load::refused("events", &error);
        let ring = if streams { Some(Ring::create(sizes.ring).map_err(refused)?) } else { None };
        let mut session = Session { running: Vec::new(), ring, refused: Vec::new(), stacks: shared.stacks };
        let mut loaded = Vec::new();
        for (entry, prepared) in entries {
            loaded.push(
                session.load(entry, prepared, machine, shared.following).map_err(|error| error.at(entry.position))?,
            );
        }
        // Attached only when all are loaded: the first events of all entries are then of about the same moment.
        for ((running, programs), (entry, _)) in loaded.into_iter().zip(entries) {
            let mut running: Running = running;
            for (program, fd) in programs {
                let links = match functions::are_many(entry, &program) {
                    true => functions::attach(&program, &fd, &mut session.refused),
                    false => attach_program(&program, &fd),
                };
                running.links.extend(links.map_err(|error| error.at(entry.position))?);
                running.programs.push(fd);
            }
            if let (true, Some(first)) = (running.links.is_empty(), session.refused.first()) {
                return Err(first.reason.clone().at(entry.position));
            }
            session.running.push(running);
        }
        Ok(session)
    }

    #[allow(clippy::type_complexity, reason = "programs wait for their attachment, with what they attach to")]
    fn load(
        &mut self,
        entry: &Entry,
        prepared: &Prepared,
        machine: &Machine,
        following: Option<&Following>,
    ) -> Result<(Running, Vec<(Program, OwnedFd)>), Diagnostic> {
        let refused = |error: io::Error| load::refused(&entry.source_text(), &error);
        let trust = Map::create("trust", trust::shape()).map_err(refused)?;
        let table = |create: fn(&str, Shape) -> io::Result<Map>, name: &str, shape: Shape| {
            create(name, shape).map_err(|error| load::refused_table(&entry.source_text(), shape.key_size, &error))
        };
        let aggregate = prepared.aggregate.map(|shape| table(Map::create_sparse, "aggregate", shape)).transpose()?;
        let spans = prepared.span.as_ref().map(|span| table(Map::create, "spans", span.shape)).transpose()?;
        let (mut programs, mut runs) = (Vec::new(), Vec::new());
        // Ends are attached before their starts: what starts in between would never be ended.
        for unit in prepared.units.iter().chain(prepared.span.iter().flat_map(|span| &span.units)) {
            let mut maps = HashMap::from([("trust".to_owned(), trust.try_clone().map_err(refused)?)]);
            if let Some(map) = &aggregate {
                maps.insert("aggregate".into(), map.try_clone().map_err(refused)?);
            }
            if let Some(map) = &spans {
                maps.insert("spans".into(), map.try_clone().map_err(refused)?);
            }
            if let Some(following) = following {
                maps.insert("followed".into(), following.processes().try_clone().map_err(refused)?);
            }
            for (name, map) in self.stacks.iter().flat_map(|stacks| stacks.maps()) {
                maps.insert(name.into(), map.try_clone().map_err(refused)?);
            }
            if let Some(ring) = &self.ring {
                maps.insert("events".into(), ring.try_clone().map_err(refused)?);
            }
            if unit.is_guarded() {
                let map = missed::runs().map_err(refused)?;
                maps.insert(missed::RUNS.into(), map.try_clone().map_err(refused)?);
                runs.push(map);
            }
            let many = prepared.units.len() > 1 && unit.programs.iter().all(|one| functions::are_many(entry, one));
            let loaded = match load_unit(unit, maps, machine, self.ring.as_ref()) {
                Err(reason) if many => {
                    self.refused.extend(unit.programs.iter().flat_map(|one| functions::refused(one, &reason)));
                    continue;
                }
                loaded => loaded?,
            };
            programs.extend(unit.programs.iter().cloned().zip(loaded.programs));
        }
        let counts = prepared.aggregate.is_some() || prepared.copies.is_some();
        let spec = counts.then(|| spec(entry, prepared));
        let size = (prepared.record_size - RECORD_HEADER) as usize;
        let samples = spec.as_ref().zip(prepared.copies);
        let samples = samples.map(|(spec, longest)| Samples::new(spec, size, longest, entry.entries));
        let running = Running {
            links: Vec::new(),
            programs: Vec::new(),
            missed: 0,
            runs,
            aggregate,
            spans,
            trust,
            spec,
            samples,
        };
        Ok((running, programs))
    }

    /// Functions of globs that the kernel would not let us watch.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// The reading end of the ring buffer; `None` where nothing streams.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn events(&self) -> Result<Option<Ring>, Diagnostic> {
        let open = |map| {
            Ring::open(map)
                .map_err(|error| Diagnostic::machine(format!("failed to map the ring buffer: {}", load::text(&error))))
        };
        self.ring.as_ref().map(open).transpose()
    }

    /// What entry `n` has aggregated so far; `None` for streams.
    ///
    /// # Errors
    /// The kernel's.
    pub fn table(&self, n: usize) -> io::Result<Option<Table>> {
        let Some(running) = self.running.get(n) else { return Ok(None) };
        let Some(spec) = &running.spec else { return Ok(None) };
        let entries = match (&running.aggregate, &running.samples) {
            (Some(map), _) => map.entries()?,
            (None, Some(samples)) => samples.entries(),
            (None, None) => return Ok(None),
        };
        if let Some(stacks) = &self.stacks {
            let columns: Vec<_> = spec.key_offsets().zip(&spec.key).collect();
            stacks.expect(&columns, entries.iter().map(|(key, _)| key));
        }
        let entries = entries.into_iter().map(|(key, value)| {
            let words: Vec<u64> =
                value.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())).collect();
            (key, words)
        });
        let named = |column: &ColumnType, value| match &self.stacks {
            Some(stacks) => stacks.value(column, value),
            None => value,
        };
        Ok(Some(Table::from_entries_with(spec.clone(), entries, named)))
    }

    /// Takes records of entry `n` that are samples with copied stacks: what follows their headers.
    pub fn take(&self, n: usize, records: &[&[u8]]) {
        let samples = self.running.get(n).and_then(|running| running.samples.as_ref());
        if let (Some(samples), Some(stacks)) = (samples, &self.stacks) {
            samples.take(records, stacks);
        }
    }

    /// Begins entry `n` anew.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&self, n: usize) -> io::Result<()> {
        if let Some(samples) = self.running.get(n).and_then(|running| running.samples.as_ref()) {
            samples.clear();
        }
        self.running.get(n).and_then(|running| running.aggregate.as_ref()).map_or(Ok(()), Map::clear)
    }

    /// Counters of entry `n`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn trust(&self, n: usize) -> io::Result<Trust> {
        let Some(running) = self.running.get(n) else { return Ok(Trust::default()) };
        let trust = Trust::read(&running.trust, running.aggregate.is_none())?;
        let open = running.spans.as_ref().map(span::open).transpose()?;
        let of_programs: u64 = running.programs.iter().map(|program| missed::by_program(program.as_fd())).sum();
        let guarded = running.runs.iter().map(missed::in_runs).sum::<io::Result<u64>>()?;
        let trust = Trust { open: open.unwrap_or(0), missed: of_programs + guarded + running.missed(), ..trust };
        Ok(running.samples.as_ref().map_or(trust, |samples| samples.counters.get().added_to(trust)))
    }

    /// Frames that were shown, and those without a name among them; `None` where nothing asks for call chains.
    pub fn frames(&self) -> Option<(u64, u64)> {
        self.stacks.as_ref().map(|stacks| stacks.counts())
    }

    /// How many attachments there are.
    pub fn links(&self) -> usize {
        self.running.iter().map(|running| running.links.len()).sum()
    }

    /// Takes every program off its attach point; values can still be read.
    pub fn detach(&mut self) {
        for running in &mut self.running {
            running.missed = running.missed();
        }
        // Each perf tracepoint waits some 50 ms for the kernel's readers: side by side they wait together.
        let links: Vec<Link> = self.running.iter_mut().flat_map(|running| running.links.drain(..)).collect();
        if links.len() < 2 {
            return drop(links);
        }
        let share = links.len().div_ceil(8);
        let mut links = links.into_iter().peekable();
        std::thread::scope(|scope| {
            while links.peek().is_some() {
                let part: Vec<Link> = links.by_ref().take(share).collect();
                scope.spawn(move || drop(part));
            }
        });
    }
}

/// What the entry's map holds.
pub fn spec(entry: &Entry, prepared: &Prepared) -> Spec {
    let kind = match &entry.output {
        Output::Aggregate { kind, .. } => *kind,
        _ => Kind::Count,
    };
    Spec {
        name: entry.name.clone().unwrap_or_default(),
        key: prepared.columns.clone(),
        kind,
        unsigned: prepared.value_unsigned,
        show: prepared.value_show,
        unit: None,
        period: period(entry),
    }
}

/// Nanoseconds between two samples, where one clock is the source.
fn period(entry: &Entry) -> Option<u64> {
    match &entry.source {
        Source::Probe(points) => match points.as_slice() {
            [(_, AttachPoint::Profile { every: Every::Hertz(hertz), .. })] => 1_000_000_000u64.checked_div(*hertz),
            [(_, AttachPoint::Profile { every: Every::Period(period), .. })] => Some(*period),
            _ => None,
        },
        _ => None,
    }
}

fn load_unit(
    unit: &Unit,
    maps: HashMap<String, Map>,
    machine: &Machine,
    ring: Option<&Map>,
) -> Result<Loaded, Diagnostic> {
    let mut constants = unit.constants.clone();
    if let Some(ring) = ring {
        // The reader looks every 25 ms anyway; it is woken earlier when an eighth of the room is used.
        constants.push(("wake_at".into(), u64::from(ring.shape.max_entries / 8).to_ne_bytes().to_vec()));
    }
    let slots: Vec<_> = unit.slots.written().map(|(name, code)| (name, code.clone())).collect();
    let mut programs = Vec::new();
    let mut module_types = None;
    for program in &unit.programs {
        let kind = match &program.load {
            Load::Plain(prog_type) => ProgramKind { prog_type: *prog_type, expected_attach_type: 0, attach_btf_id: 0 },
            Load::UprobeMulti => ProgramKind {
                prog_type: load::KPROBE,
                expected_attach_type: load::TRACE_UPROBE_MULTI,
                attach_btf_id: 0,
            },
            Load::Iterator(target) => ProgramKind {
                prog_type: load::TRACING,
                expected_attach_type: load::TRACE_ITER,
                attach_btf_id: machine.function_id(&format!("bpf_iter_{target}"))?,
            },
            Load::KprobeMulti => ProgramKind {
                prog_type: load::KPROBE,
                expected_attach_type: load::TRACE_KPROBE_MULTI,
                attach_btf_id: 0,
            },
            Load::Function { id, module, returns } => {
                if !module.is_empty() {
                    module_types = Some(btf::module(module).map_err(|error| load::refused_module(module, &error))?);
                }
                ProgramKind {
                    prog_type: load::TRACING,
                    expected_attach_type: if *returns { load::TRACE_FEXIT } else { load::TRACE_FENTRY },
                    attach_btf_id: *id,
                }
            }
            Load::TracepointPrototype(name) => ProgramKind {
                prog_type: load::TRACING,
                expected_attach_type: load::TRACE_RAW_TP,
                attach_btf_id: machine.tracepoint_id(name)?,
            },
        };
        programs.push((program.name.clone(), kind));
    }
    load::load(Request {
        template: &unit.template.name,
        object: &unit.template.object,
        constants: &constants,
        slots: &slots,
        programs: &programs,
        module_types: module_types.as_ref().map(AsFd::as_fd),
        maps,
    })
}

fn attach_program(program: &Program, fd: &OwnedFd) -> Result<Vec<Link>, Diagnostic> {
    if program.load == Load::UprobeMulti {
        return attach_many(program, fd);
    }
    // One raw tracepoint stands for all system calls of the program.
    if let Some(Attach { mechanism: Mechanism::Syscall { enter, .. }, shown, .. }) = program.attach.first() {
        let name = if *enter { "sys_enter" } else { "sys_exit" };
        let link = match program.load {
            Load::TracepointPrototype(_) => attach::tracing(fd.as_fd(), load::TRACE_RAW_TP, 0),
            _ => attach::raw_tracepoint(fd.as_fd(), name, 0),
        };
        return Ok(vec![link.map_err(|error| failed(shown, &error))?]);
    }
    program.attach.iter().map(|one| attach_one(program, one, fd).map_err(|error| failed(&one.shown, &error))).collect()
}

fn attach_one(program: &Program, one: &Attach, fd: &OwnedFd) -> io::Result<Link> {
    // A cookie that nobody asks for would only exclude older kernels.
    let cookie = if one.by_cookie { one.cookie } else { 0 };
    match &one.mechanism {
        Mechanism::Tracepoint { id } => attach::tracepoint(fd.as_fd(), *id, cookie),
        Mechanism::RawTracepoint { name } => match program.load {
            Load::TracepointPrototype(_) => attach::tracing(fd.as_fd(), load::TRACE_RAW_TP, cookie),
            _ => attach::raw_tracepoint(fd.as_fd(), name, cookie),
        },
        Mechanism::Uprobe { path, offset, semaphore, returns, pid } => {
            let place = UserPlace { offset: *offset, semaphore: *semaphore, cookie };
            attach::uprobe(fd.as_fd(), &Uprobe { path, returns: *returns, pid: *pid }, place)
        }
        Mechanism::Iterator { .. } => attach::iterator(fd.as_fd()),
        Mechanism::Kprobe { function, offset, returns, .. } => {
            attach::kprobe(fd.as_fd(), function.as_deref(), *offset, *returns, cookie)
        }
        Mechanism::Trampoline { returns, .. } => {
            attach::tracing(fd.as_fd(), if *returns { load::TRACE_FEXIT } else { load::TRACE_FENTRY }, 0)
        }
        Mechanism::Perf { kind, config, every, one_cpu } => {
            let mut cpus = sys::online_cpus()?;
            if *one_cpu {
                cpus.truncate(1);
            }
            attach::perf_event(fd.as_fd(), perf::attributes(*kind, *config, *every), &cpus, cookie)
        }
        Mechanism::Syscall { .. } => Err(io::Error::other("system calls are attached together")),
    }
}

/// One link for all functions of a binary.
fn attach_many(program: &Program, fd: &OwnedFd) -> Result<Vec<Link>, Diagnostic> {
    let mut binaries: Vec<(Uprobe<'_>, Vec<UserPlace>)> = Vec::new();
    for one in &program.attach {
        let Mechanism::Uprobe { path, offset, semaphore, returns, pid } = &one.mechanism else { continue };
        let place = UserPlace { offset: *offset, semaphore: *semaphore, cookie: one.cookie };
        match binaries.iter_mut().find(|(uprobe, _)| uprobe.path == path && uprobe.returns == *returns) {
            Some((_, places)) => places.push(place),
            None => binaries.push((Uprobe { path, returns: *returns, pid: *pid }, vec![place])),
        }
    }
    let link = |(uprobe, places): (Uprobe<'_>, Vec<UserPlace>)| {
        let shown = uprobe.path.display().to_string();
        attach::uprobe_multi(fd.as_fd(), &uprobe, &places).map_err(|error| failed(&shown, &error))
    };
    binaries.into_iter().map(link).collect()
}

fn failed(place: &str, error: &io::Error) -> Diagnostic {
    let message = format!("failed to attach to `{place}`");
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EOPNOTSUPP) if place.starts_with("hardware:") => Diagnostic::machine(format!(
            "{message}: this machine has no such counter (virtual machines often have none)"
        ))
        .help("software:cpu-clock counts time instead"),
        // Source: kernel/events/uprobes.c, __uprobe_register().
        Some(libc::EINVAL) if place.starts_with("usdt:") => {
            Diagnostic::machine(format!("{message}: somebody watches this place without its semaphore"))
                .help("watch it by its usdt name alone, not by its address too")
        }
        Some(libc::EILSEQ) => Diagnostic::script(format!("{message}: no instruction begins there"))
            .help("objdump -d vmlinux shows where they begin"),
        Some(libc::EADDRNOTAVAIL) => {
            Diagnostic::script(format!("{message}: several functions of this kernel are called that"))
                .help("grep its name in /proc/kallsyms, and probe one by its address: kprobe:0x…")
        }
        Some(libc::ENOENT) => Diagnostic::machine(format!("{message}: this kernel has no such place"))
            .help(format!("skep list '{place}'")),
        Some(libc::EPERM | libc::EACCES) => {
            Diagnostic::machine(format!("{message}: the kernel does not allow it")).help("skep doctor")
        }
        Some(libc::EMFILE) => Diagnostic::machine(format!("{message}: no file descriptor is left"))
            .help("ulimit -n 65536, or a narrower glob"),
        _ => Diagnostic::machine(format!("{message}: {}", load::text(error))),
    }
}

impl Machine {
    /// The type of the kernel's BTF that a `tp_btf` program attaches to.
    ///
    /// # Errors
    /// A machine diagnostic: no BTF, or no such tracepoint.
    pub fn tracepoint_id(&self, name: &str) -> Result<u32, Diagnostic> {
        let none = || {
            Diagnostic::machine("this kernel has no type information (/sys/kernel/btf/vmlinux)")
                .help("it takes a kernel with CONFIG_DEBUG_INFO_BTF=y")
        };
        let found = btf::tracepoint_id(name).map_err(|_| none())?;
        found.ok_or_else(|| Diagnostic::machine(format!("this kernel has no tracepoint `{name}`")))
    }

    /// The function of the kernel's BTF that a tracing program attaches to.
    ///
    /// # Errors
    /// A machine diagnostic: no BTF, or no such function.
    pub fn function_id(&self, name: &str) -> Result<u32, Diagnostic> {
        let found = self.types().function("", name);
        found
            .map(|found| found.function.id())
            .ok_or_else(|| Diagnostic::machine(format!("this kernel's types have no function `{name}`")))
    }
}
