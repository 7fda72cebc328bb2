//! A panic of ours in the middle of a run: what was attached goes with the stack that unwinds.

use crate::audit::run::Audit;
use crate::audit::verify::verify;
use crate::interactive::console::quiet_panics;
use crate::kernel::privilege;
use crate::library::{Library, Script};
use crate::report::text::Style;
use crate::script::engine::Runner;
use crate::script::host::{Host, Mode, Settings};
use crate::script::output::{Format, Output};
use crate::script::params::Params;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Programs that this process holds by its descriptors.
fn programs() -> BTreeSet<u32> {
    let texts = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts = texts.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let id = |text: String| text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok());
    texts.filter_map(id).collect()
}

#[test]
fn panic_while_attached_detaches_everything_and_is_noted() {
    if privilege::skips(&["CAP_BPF", "CAP_PERFMON"]) {
        return;
    }
    let folder = std::env::temp_dir().join(format!("skep-panic-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let log = folder.join("audit.jsonl");
    let output = Output::new(Box::new(std::io::sink()), Format::Text, Style::default());
    let mut runner =
        Runner::new(Host::new(Settings::bare(Mode::Run), Params::default(), output, None), Library::default()).unwrap();
    runner.host.note_in(Audit::chosen(Some(log.clone()), serde_json::Map::new()));
    let before = programs();
    let during = std::rc::Rc::new(std::cell::RefCell::new(BTreeSet::new()));
    let seen = during.clone();
    runner.engine.register_fn("boom", move || -> i64 {
        seen.replace(programs());
        panic!("a mistake of ours")
    });
    let script = Script {
        name: "boom".into(),
        text: r#"
            probe("software:cpu-clock:10000000").by(pid).count();
            probe("tracepoint:syscalls:sys_enter_getppid").fields(pid).each(|e| 1);
            every("50ms", || boom());
        "#
        .into(),
    };
    quiet_panics();
    let unwound = catch_unwind(AssertUnwindSafe(move || runner.run(&script)));
    assert!(unwound.is_err());
    let own: BTreeSet<u32> = during.borrow().difference(&before).copied().collect();
    assert!(own.len() >= 2, "{own:?}");
    // Other tests of this process have programs of their own.
    let since = Instant::now();
    while !programs().is_disjoint(&own) {
        assert!(since.elapsed() < Duration::from_secs(30), "{own:?} are still held");
        std::thread::sleep(Duration::from_millis(10));
    }
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.lines().last().is_some_and(|line| line.contains(r#""how":"panic""#)), "{text}");
    assert_eq!(verify(&log, None).unwrap().last, 2);
    std::fs::remove_dir_all(&folder).unwrap();
}
