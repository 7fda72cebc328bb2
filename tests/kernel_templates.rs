//! Every template is taken by this kernel: with every parameter set, and with every kind of output.

use skep_tests::{Skep, privileged};
use std::collections::BTreeMap;
use std::time::Instant;

/// One template as `skep list templates -v` describes it: name and type of its parameters and its fields.
#[derive(Default, Debug)]
struct Template {
    parameters: Vec<(String, String)>,
    fields: Vec<(String, String)>,
}

/// The dedicated templates; the others serve `probe(…)`.
fn dedicated() -> BTreeMap<String, Template> {
    let listed = Skep::new(&["list", "templates", "-v"]).run().ok();
    let mut templates: BTreeMap<String, Template> = BTreeMap::new();
    let mut name = String::new();
    let mut generic = Vec::new();
    for line in listed.out.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !line.starts_with(' ') {
            name = words[0].to_owned();
            templates.insert(name.clone(), Template::default());
            continue;
        }
        let template = templates.get_mut(&name).expect("a heading comes first");
        match words.as_slice() {
            ["program", .., "what", "the", "plan", "names"] => generic.push(name.clone()),
            ["param", parameter, kind, ..] => template.parameters.push(((*parameter).into(), (*kind).into())),
            ["field", field, kind, ..] => template.fields.push(((*field).into(), (*kind).into())),
            _ => {}
        }
    }
    // `syscall` serves probes too; its programs have targets, but nothing describes an event.
    templates.retain(|name, template| !generic.contains(name) && !template.fields.is_empty());
    // What meets packets is loaded where those are a test's own: exchanges.rs, packets.rs.
    templates.retain(|_, template| template.parameters.iter().all(|(name, _)| name != "interface"));
    templates
}

/// Something else than the default, as scripts write it.
fn value(kind: &str) -> &'static str {
    match kind {
        "bool" => "true",
        kind if kind.starts_with("char") => "\"x\"",
        "u8[32]" => "\"10.0.0.0/8\"",
        _ => "7",
    }
}

/// Chains for every output that there is, made of some number, some text, and all fields. What stands in a table is
/// computed by the same code with a key and without: of the sources one, by its number, has this, the next one that.
fn outputs(source: usize, number: &str, text: &str, all: &str) -> Vec<String> {
    let mut chains: Vec<String> = ["", ".count()"].map(str::to_owned).into();
    let kinds = ["sum", "avg", "min", "max", "stats", "hist", "quantiles", "lhist"];
    for (n, kind) in kinds.into_iter().enumerate() {
        let key = if (source + n).is_multiple_of(2) { ".by(TEXT, cpu)" } else { "" };
        let steps = if kind == "lhist" { ", 0, 100, 10" } else { "" };
        chains.push(format!("{key}.{kind}(NUMBER{steps})"));
    }
    // A key on the stack, and one that is too long for it.
    chains.push(".by(cpu).count()".into());
    chains.push(".by(TEXT, nsecs).count()".into());
    chains.push(".by(TEXT, cpu).heavy(NUMBER)".into());
    chains.push(format!(".by({all}).heavy()"));
    chains.push(format!(".by({all}).{}", if source.is_multiple_of(2) { "count()" } else { "hist(NUMBER)" }));
    chains.push(format!(".fields({all})"));
    chains.push(".filter(NUMBER > 7 and TEXT != \"x\" or not(cpu == 1)).by(TEXT).sum(NUMBER / 3)".into());
    chains.push(".by(TEXT, kstack, ustack(5)).count()".into());
    chains.push(".fields(NUMBER, ustack, kstack(5))".into());
    chains.push(".filter(NUMBER == 7).fields(TEXT).each(|e| print(e))".into());
    chains.iter().map(|chain| chain.replace("NUMBER", number).replace("TEXT", text)).collect()
}

/// Loads and attaches all chains at once: in an emulated guest, to start skep takes longer than to load a template.
#[track_caller]
fn assert_loads(chains: &[String]) {
    let script: String = chains.iter().map(|chain| format!("{chain}.quiet();\n")).collect();
    let since = Instant::now();
    let output = Skep::new(&["-e", &format!("{script}run(\"10ms\");")]).run();
    assert_eq!(output.status, Some(0), "{output}");
    println!("{:>3} chains loaded in {:.1?}: {}", chains.len(), since.elapsed(), chains[0]);
}

fn each(source: &str, chains: &[String]) -> Vec<String> {
    chains.iter().map(|chain| format!("{source}{chain}")).collect()
}

fn template_of(name: &str, settings: &str) -> String {
    format!("template(\"{name}\", #{{ {settings} }})")
}

#[test]
fn every_dedicated_template_loads_with_every_output() {
    privileged!();
    let templates = dedicated();
    assert!(templates.len() >= 5, "{templates:?}");
    for (source, (name, template)) in templates.into_iter().enumerate() {
        let number = template
            .fields
            .iter()
            .find(|(_, kind)| kind.starts_with(['u', 's']) && !kind.contains('['))
            .expect("it has a number");
        let text = template.fields.iter().find(|(_, kind)| kind.starts_with("char")).map_or("comm", |(name, _)| name);
        // More than eight columns no call takes.
        let all: Vec<&str> = template.fields.iter().map(|(name, _)| name.as_str()).take(8).collect();
        assert_loads(&each(&template_of(&name, ""), &outputs(source, &number.0, text, &all.join(", "))));
    }
}

#[test]
fn every_dedicated_template_loads_with_every_parameter() {
    privileged!();
    for (name, template) in dedicated() {
        let set = |(parameter, kind): &(String, String)| format!("{parameter}: {}", value(kind));
        let each_one = template.parameters.iter().map(set);
        let all = each_one.clone().collect::<Vec<_>>().join(", ");
        // A table of the first, a stream of the second, and so on; both of all of them.
        let sources = each_one.map(|settings| template_of(&name, &settings)).enumerate();
        let mut chains: Vec<String> =
            sources.map(|(n, source)| source + if n.is_multiple_of(2) { ".count()" } else { "" }).collect();
        chains.extend([".count()", ""].map(|output| template_of(&name, &all) + output));
        assert_loads(&chains);
    }
}

#[test]
fn every_generic_template_loads_with_every_output() {
    privileged!();
    let names = "pid, tid, comm, uid, gid, cgroup, nsecs, probe";
    let sources = [
        ("probe(\"tracepoint:sched:sched_process_exec\")", "args.pid", "str(args.filename, 200)"),
        ("probe(\"rawtracepoint:sched_process_fork\")", "arg0", "comm"),
        ("probe(\"tracepoint:raw_syscalls:sys_exit\")", "args.ret", "comm"),
        ("probe(\"tracepoint:syscalls:sys_enter_openat\")", "args.flags", "str(args.filename, 200)"),
        ("probe(\"tracepoint:syscalls:sys_enter_openat\")", "pid", "comm"),
        ("probe(\"tracepoint:syscalls:sys_exit_openat\")", "args.ret", "comm"),
        (
            "probe([\"tracepoint:syscalls:sys_enter_openat\", \"tracepoint:syscalls:sys_enter_open\"])",
            "args.flags",
            "str(args.filename)",
        ),
        ("probe(\"uprobe:libc:getenv\")", "arg0", "str(arg0)"),
        ("probe(\"uretprobe:libc:getenv\")", "retval", "str(retval)"),
        ("probe(\"uprobe:libc:*env\")", "arg0", "str(arg0)"),
        ("probe(\"profile:hz:99\")", "cpu", "comm"),
        ("probe(\"interval:ms:5\")", "cpu", "comm"),
        ("probe(\"software:context-switches\")", "cpu", "comm"),
    ];
    for (n, (source, number, text)) in sources.into_iter().enumerate() {
        assert_loads(&each(source, &outputs(n, number, text, names)));
    }
}

#[test]
fn every_generic_template_loads_as_both_halves_of_a_span() {
    privileged!();
    let names = "start.pid, start.comm, uid, start.cgroup, nsecs, start.nsecs, probe, start.probe";
    let sources = [
        ("t:sched:sched_process_exec", "t:sched:sched_process_exec", "str(start.args.filename, 200)"),
        ("rt:sched_process_fork", "rt:sched_process_exit", "start.comm"),
        ("t:syscalls:sys_enter_openat", "t:syscalls:sys_exit_openat", "str(start.args.filename, 200)"),
        ("t:syscalls:sys_exit_openat", "t:syscalls:sys_enter_close", "start.comm"),
        ("u:libc:getenv", "ur:libc:getenv", "str(start.arg0, 480)"),
        ("u:libc:*env", "ur:libc:*env", "str(start.arg0)"),
        ("u:libc:getenv", "t:syscalls:sys_enter_exit_group", "str(start.arg0)"),
        ("p:hz:99", "i:ms:5", "start.comm"),
    ];
    for (start, end, text) in sources {
        // An output is the end's, which is a template's as above: one of each shape, since a guest takes its time.
        let shapes = [".stats", ".by(TEXT, cpu).hist", ".by(NAMES).quantiles", ".filter(TEXT != \"x\").by(cpu).sum"];
        let mut chains: Vec<String> = shapes.map(|shape| format!("{shape}(elapsed)")).into();
        chains.extend([".fields(NAMES)", ".fields(TEXT).each(|e| print(e))"].map(str::to_owned));
        chains.iter_mut().for_each(|chain| *chain = chain.replace("TEXT", text).replace("NAMES", names));
        let keys = ["[tid, comm], [tid, comm]", "[pid, cpu, buf(nsecs, 100)], [tid, cpu, buf(nsecs, 100)]"];
        chains.extend(keys.map(|keys| format!(".on({keys}).by({text}).hist(elapsed)")));
        chains.push(".by(start.kstack, start.ustack, kstack, ustack).sum(elapsed)".into());
        chains.push(".spans(1).by(buf(start.nsecs, 250), buf(start.pid, 250)).count()".into());
        chains.push(".filter(pid == 1 and tid > 0 and start.comm == comm).count()".into());
        assert_loads(&each(&format!("span(\"{start}\", \"{end}\")"), &chains));
    }
}

#[test]
fn restrictions_load_with_every_source() {
    privileged!();
    let sources = [
        "t:sched:sched_process_exec",
        "rt:sched_process_fork",
        "t:syscalls:sys_enter_openat",
        "u:libc:getenv",
        "p:hz:99",
    ];
    let mut script: String = sources.map(|source| format!("probe(\"{source}\").by(comm).count().quiet();\n")).concat();
    script += "span(\"u:libc:getenv\", \"ur:libc:getenv\").by(comm).count().quiet();\n";
    script += "span(\"u:libc:getenv\", \"p:hz:99\").on(cpu, cpu).by(comm).count().quiet();\n";
    let own = std::process::id().to_string();
    let restrict = ["--pid", &own, "--comm", "init", "--cgroup", "/sys/fs/cgroup"];
    let mut restrict = restrict.as_slice();
    if !std::path::Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
        restrict = &restrict[..4];
    }
    let output = Skep::new(&["-e", &format!("{script}run(\"10ms\");")]).arguments(restrict).run().ok();
    assert!(output.err.contains("comm == \"init\""), "{output}");
}

#[test]
fn template_that_copies_stacks_loads_with_every_key() {
    privileged!();
    let keys =
        ["ustack", "comm, kstack, ustack", "ustack(3), pid, tid, cgroup", "buf(nsecs, 480), buf(pid, 480), ustack"];
    let filter = ".filter(tid != 0 and (comm != \"x\" or cpu == 1))";
    let chains: Vec<String> = keys.map(|key| format!("probe(\"profile:hz:99\"){filter}.by({key}).quiet();\n")).into();
    let script = format!("{}run(\"10ms\");", chains.concat());
    let own = std::process::id().to_string();
    for restrict in [&[][..], &["--pid", &own, "--comm", "init"], &["--pid", &own, "--follow-forks"]] {
        for way in ["dwarf,256", "dwarf", "dwarf,24576"] {
            Skep::new(&["--unwind", way, "-e", &script]).arguments(restrict).run().ok();
        }
    }
}
