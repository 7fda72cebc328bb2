//! The scene of a fault: a process that is watched, a tracer beside that must not notice anything, and the run itself.

use skep_tests::left::{Held, assert_breakpoints};
use skep_tests::skep::Running;
use skep_tests::{Output, Skep, Workload, workload};

/// Before the fault, and after it.
pub const BEFORE: u64 = 7;
pub const AFTER: u64 = 23;

/// Two functions of the workload are probed: one by the tracer beside, both by the run.
const BESIDE: &str = r#"
    probe("uprobe:BIN:workload_double").count();
    probe("tracepoint:syscalls:sys_enter_getpgid").count();
"#;

/// All ways to be in the kernel at once: functions, system calls, a tracepoint's record, a clock, and a stream.
pub const EVERYTHING: &str = r#"
    probe("uprobe:BIN:workload_double").count();
    probe("uprobe:BIN:workload_negate").count();
    probe("tracepoint:syscalls:sys_enter_getpgid").by(comm).count();
    probe("tracepoint:sched:sched_switch").filter(args.next_pid == 1).count();
    probe("software:cpu-clock:10000000").by(pid).hist(tid);
    probe("tracepoint:syscalls:sys_enter_getppid").fields(pid).each(|e| print(`ppid ${e.pid}`));
"#;

/// A script with the workload's file for BIN.
pub fn script(text: &str) -> String {
    text.replace("BIN", &workload::path())
}

pub struct Scene {
    pub workload: Workload,
    beside: Running,
}

impl Scene {
    /// The process stands still, and one of its functions is watched by the tracer beside.
    #[track_caller]
    pub fn set() -> Scene {
        let verbs = |n| format!("double {n} negate {n} getpgid {n} getppid {n} stop");
        let workload = Workload::stopped(&format!("{} {}", verbs(BEFORE), verbs(AFTER)));
        let beside = Skep::script(&script(BESIDE)).arguments(&["--pid", &workload.pid()]).start().attached();
        let scene = Scene { workload, beside };
        scene.assert_breakpoints(1);
        scene
    }

    #[track_caller]
    pub fn assert_breakpoints(&self, wanted: usize) {
        assert_breakpoints(self.pid(), &workload::path(), wanted);
    }

    pub fn pid(&self) -> u32 {
        self.workload.pid().parse().expect("it is a number")
    }

    /// A run that watches the process in every way, to which `prepare` may do something.
    pub fn run(&self, prepare: impl FnOnce(Skep) -> Skep) -> Skep {
        prepare(Skep::script(&script(EVERYTHING)).arguments(&["--pid", &self.workload.pid()]))
    }

    /// The run attaches, sees the first events, and meets its fault; the rest is asserted here.
    #[track_caller]
    pub fn faulted(self, run: Skep, fault: impl FnOnce(Running) -> Output) -> Output {
        let run = run.start().attached();
        let held = Held::of(run.pid());
        assert!(held.programs.len() >= 6 && held.maps.len() >= 6 && held.perf_events >= 1, "{held:?}");
        self.assert_breakpoints(2);
        self.workload.go_on();
        let output = fault(run.printed("ppid"));
        self.over(&held);
        output
    }

    /// Nothing of the run is left, and the tracer beside has every event of both times.
    #[track_caller]
    pub fn over(self, held: &Held) {
        held.assert_gone();
        self.assert_breakpoints(1);
        self.workload.go_on();
        let beside = Held::of(self.beside.pid());
        let Scene { workload, beside: tracer } = self;
        let output = tracer.interrupt().ok();
        let count = |n: usize| output.table(n)["rows"][0]["value"].as_u64();
        assert_eq!([count(0), count(1)], [Some(BEFORE + AFTER); 2], "{output}");
        beside.assert_gone();
        assert_breakpoints(workload.pid().parse().expect("it is a number"), &workload::path(), 0);
    }
}
