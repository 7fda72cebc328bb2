//! Entries for fuzzing: one for each form of foreign bytes, each from raw bytes alone. They answer nothing: what counts is
//! that they come back. For tests/fuzz, and for the test that reads its corpus; no part of the library's interface.

mod files;
mod kernel;
mod network;
mod policies;
mod scripts;
mod words;

/// Reads bytes that anybody may have written.
pub type Target = fn(&[u8]);

/// Every target, by the name of its program in tests/fuzz/targets and of its folder in tests/fuzz/corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("btf", kernel::btf),
    ("elf_symbols", files::elf_symbols),
    ("expression", scripts::expression),
    ("flows", network::flows),
    ("kallsyms", kernel::kallsyms),
    ("kernel_record", kernel::record),
    ("node_counters", kernel::node_counters),
    ("packet", network::packet),
    ("pcapng", network::pcapng),
    ("perf_map", files::perf_map),
    ("policy_json", policies::json),
    ("policy_yaml", policies::yaml),
    ("process", files::process),
    ("profile", files::profile),
    ("recording", files::recording),
    ("script_plan", scripts::plan),
    ("tcpdump_filter", network::tcpdump_filter),
    ("template", kernel::template),
    ("tracepoint_format", kernel::tracepoint_format),
    ("unwind", files::unwind),
    ("usdt_notes", files::usdt_notes),
    ("words", words::words),
];

/// Runs the target of that name.
///
/// # Panics
/// It found something, or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = target.unwrap_or_else(|| panic!("no target `{name}`"));
    target(bytes);
}

#[cfg(test)]
mod tests {
    use super::TARGETS;
    use std::path::{Path, PathBuf};

    fn files(folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz").join(folder);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
        files.sort();
        files
    }

    /// Without libFuzzer: whatever was found once stays mended.
    #[test]
    fn corpus_is_read_to_its_end() {
        let read = || {
            for (name, target) in TARGETS {
                let corpus = files(&format!("corpus/{name}"));
                assert!(!corpus.is_empty(), "{name} has no corpus");
                for file in corpus {
                    // What panics in here is shown with this line alone.
                    println!("{}", file.display());
                    target(&std::fs::read(&file).expect("it can be read"));
                }
            }
        };
        // Scripts run on a program's first thread, which has as much of a stack.
        let thread = std::thread::Builder::new().stack_size(8 << 20).spawn(read).expect("a thread is left");
        assert!(thread.join().is_ok(), "see above");
    }

    #[test]
    fn every_target_has_its_program() {
        let programs = files("targets").into_iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()));
        assert_eq!(programs.collect::<Vec<_>>(), TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
