//! Scripts in files, and what they import.

use skep_tests::machine::here;
use skep_tests::{Skep, golden};

#[test]
fn errors_in_files_name_the_file_and_errors_in_modules_the_module() {
    let folder = skep_tests::machine::Folder::new();
    let file = folder.file("opens.rhai", "// two lines\nprobe(\"tracepoint:sched:sched_switch\").by(com).count();\n");
    let output = Skep::new(&["plan", &file]).run().status_is(1);
    assert!(output.err.contains(&format!(" --> {file}:2:43\n")), "{output}");
    let machine = here("fixtures/machine").display().to_string();
    folder.file("broken.rhai", "fn f() {\n  1 +\n}\n");
    folder.file("lines.rhai", "let a = 1;\nprint(a);\nprint(com);\n");
    folder.file("functions.rhai", "fn mine(p) {\n  p.filter(true)\n}\nfn all(p) {\n  p.banana()\n}\nfn opens() {\n  probe(\"t:sched:sched_swicth\").count()\n}\nfn flagged(p) {\n  p.filter(args.nothing == 1)\n}\n");
    let folders = folder.0.display().to_string();
    let mut text = String::new();
    for script in [
        "print(1);\nimport \"broken\" as b;",
        "import \"lines\" as l;",
        "import \"functions\" as f;\nprint(f::mine(probe(\"profile:hz:99\")));",
        "import \"functions\" as f;\nf::opens();",
        "import \"functions\" as f;\nf::flagged(probe(\"t:sched:sched_switch\")).count();",
        "import \"functions\" as f;\n\n\n\n\nf::all(probe(\"profile:hz:99\"));",
    ] {
        let output = Skep::new(&["plan", "--machine", &machine, "-e", script])
            .environment("SKEP_PATH", &folders)
            .run()
            .status_is(1);
        text += &format!("{}\n", output.err);
    }
    golden("diagnostics/imports", &text);
}
