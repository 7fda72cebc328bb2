//! A template from outside: one file, one object, and everything that a script may do with skep's own.

use serde_json::json;
use skep_tests::machine::{Folder, here, program};
use skep_tests::{Skep, Workload, golden, privileged, workload};
use std::path::Path;
use std::process::Command;

fn folder() -> String {
    here("fixtures/templates").display().to_string()
}

/// Compiles a fixture as docs/templates.md says; `None` where there is no clang.
fn compile(name: &str, into: &Path) -> Option<Vec<u8>> {
    let (clang, strip) = (program("clang-19")?, program("llvm-strip-19")?);
    let flags =
        "-target bpf -mcpu=v3 -D__TARGET_ARCH_x86 -g -O2 -Wall -Wextra -Werror -fdebug-compilation-dir=. -Iinclude";
    let mut compile = Command::new(clang);
    compile.current_dir(here("../ebpf-templates/bpf")).args(flags.split(' '));
    compile.args(["-c", &format!("../../tests/fixtures/templates/{name}.bpf.c"), "-o"]).arg(into);
    assert!(compile.status().is_ok_and(|status| status.success()), "{compile:?}");
    assert!(Command::new(strip).arg("-g").arg(into).status().is_ok_and(|status| status.success()));
    Some(std::fs::read(into).expect("clang wrote it"))
}

#[test]
fn objects_are_what_their_sources_compile_to() {
    let scratch = Folder::new();
    for name in ["forks", "beyond", "parsed"] {
        let Some(compiled) = compile(name, &scratch.0.join(format!("{name}.bpf.o"))) else { return };
        let object = here("fixtures/templates").join(format!("{name}.bpf.o"));
        if std::env::var_os("SKEP_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(object, compiled).expect("the object can be written");
            continue;
        }
        assert!(
            std::fs::read(object).is_ok_and(|bytes| bytes == compiled),
            "{name} drifted from its source (SKEP_BLESS=1 rewrites it)"
        );
    }
}

#[test]
fn program_that_the_verifier_refuses_is_an_error_in_our_words() {
    privileged!();
    let script = |words: u32| {
        format!(
            "probe(\"t:syscalls:sys_enter_getpgid\").count();\ntemplate(\"beyond\", #{{ words: {words} }}).by(found).count();"
        )
    };
    let run = |words: u32| Skep::new(&["--templates", &folder(), "--for", "100ms", "-e", &script(words)]).run();
    run(0).ok();
    let output = run(4096).status_is(1);
    let lines: Vec<&str> = output.err.lines().collect();
    assert_eq!(
        lines[0], "error: the kernel refused program `forked` of template `beyond`: permission denied",
        "{output}"
    );
    assert_eq!(lines[1], " --> -e:2:1", "{output}");
    // Not even the chain before it was attached, and nothing of the verifier is on the screen.
    assert!(output.out.is_empty() && lines.len() == 6 && !output.err.contains("attached"), "{output}");
    let path = lines[5].strip_prefix("  = help: what the verifier says is in ").expect("the help names a file");
    let said = std::fs::read_to_string(path).expect("the file is there");
    assert!(said.contains("invalid access to map value"), "{said}");
    std::fs::remove_file(path).expect("it is ours");
}

#[test]
fn template_of_a_folder_describes_itself() {
    let listed = Skep::new(&["list", "templates", "-v", "--templates", &folder()]).run().ok();
    let from = listed.out.find("forks ").expect("it is listed");
    let own: String = listed.out[from..]
        .lines()
        .take_while(|line| !line.trim_start().starts_with("map "))
        .map(|line| format!("{line}\n"))
        .collect();
    golden("templates_dir/list", &own);
    let doc = Skep::new(&["doc", "forks", "--templates", &folder()]).run().ok();
    for text in [
        "new threads and processes of one parent",
        "which child it is, from 1",
        "only children of this process id; 0 = all",
    ] {
        assert!(doc.out.contains(text), "{doc}");
    }
    let script = r#"template("forks", #{ skip_first: true }).by(label).max(order)"#;
    let plan = Skep::new(&["plan", "--templates", &folder(), "-e", script]).run().ok();
    assert!(plan.out.contains("by      template forks, program forked"), "{plan}");
}

/// Runs a template's chain on a workload that starts 23 children.
#[track_caller]
fn forks(chain: &str) -> skep_tests::Output {
    let parent = Workload::stopped("exec 23");
    let script = chain.replace("PARENT", &parent.pid());
    let run = Skep::script(&script).arguments(&["--templates", &folder()]).start().attached();
    parent.go();
    run.interrupt().ok()
}

#[test]
fn parameters_reach_the_template() {
    privileged!();
    assert_eq!(forks(r#"template("forks", #{ parent: PARENT }).count()"#).value(), 23);
    assert_eq!(forks(r#"template("forks", #{ parent: PARENT, skip_first: true }).count()"#).value(), 22);
    assert_eq!(forks(r#"template("forks", #{ parent: PARENT, not_before: "36500d" }).by(order).count()"#).rows(), []);
    let none = forks(r#"template("forks", #{ parent: 0x7fffffff }).count()"#);
    assert_eq!(none.trust("counted"), 0);
}

#[test]
fn fields_are_names_in_every_part_of_a_chain() {
    privileged!();
    let mother = format!("[{}", &workload::NAME[..12]);
    let filtered =
        forks(r#"template("forks", #{ parent: PARENT }).filter(order > 13 and mother == PARENT).by(label).count()"#);
    assert_eq!(filtered.rows(), [(mother.clone(), json!(10))]);
    let sum = forks(r#"template("forks", #{ parent: PARENT }).by(label, pid == mother).sum(order)"#);
    assert_eq!(sum.rows(), [(format!("{mother} 1"), json!(23 * 24 / 2))]);
    let streamed = forks(
        r#"template("forks", #{ parent: PARENT }).fields(order, label, since_boot).each(|e| print(`${e.order} ${e.label} ${e.since_boot > 0}`))"#,
    );
    let lines: Vec<String> = (1..=23).map(|n| format!("{n} {mother} true")).collect();
    assert_eq!(streamed.texts(), lines);
}

#[test]
fn misspelt_parameter_and_field_of_a_folders_template_name_the_nearest() {
    let error = |script: &str| Skep::new(&["plan", "--templates", &folder(), "-e", script]).run().status_is(1).err;
    let parameter = error(r#"template("forks", #{ parnet: 1 }).count()"#);
    assert!(
        parameter.contains("template `forks` has no parameter `parnet`")
            && parameter.contains("did you mean `parent`?"),
        "{parameter}"
    );
    let field = error(r#"template("forks").by(ordr).count()"#);
    assert!(field.contains("unknown name `ordr`") && field.contains("did you mean `order`?"), "{field}");
    let template = error(r#"template("froks").count()"#);
    assert!(template.contains("did you mean `forks`?"), "{template}");
}

#[test]
fn files_that_are_no_templates_are_errors_that_name_them() {
    let broken = Folder::new();
    broken.file("broken.bpf.o", "no object");
    let folder = broken.0.display().to_string();
    let output = Skep::new(&["plan", "--templates", &folder, "-e", r#"template("broken").count()"#]).run().status_is(1);
    assert!(output.err.contains("template `broken`: "), "{output}");
    let missing = Skep::new(&["list", "templates", "--templates", "/no/such/folder"]).run().status_is(1);
    assert!(missing.err.starts_with("error: failed to read templates from `/no/such/folder`: "), "{missing}");
}
