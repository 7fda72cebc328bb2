//! Templates from their sources: clang for each architecture, stripped; one object where both come out the same.
//!
//! Paths are relative to bpf/, and the compiler is one exact major version, so that the same source gives the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CLANG: &str = "clang-19";
const STRIP: &str = "llvm-strip-19";
/// Rust's name of the architecture, and the macro that the headers test.
const ARCHITECTURES: [(&str, &str); 2] = [("x86_64", "x86"), ("aarch64", "arm64")];

/// What [`super::sizes`] says of them.
const SIZES: &str = "ebpf-templates/sizes.txt";

/// Compiles every template into objects/, and removes objects without a source.
pub fn build(root: &Path) -> Result<(), String> {
    let objects = root.join("ebpf-templates/objects");
    let wanted = compile_all(root)?;
    for stale in present(&objects)?.into_keys().filter(|path| !wanted.contains_key(path)) {
        fs::remove_file(objects.join(&stale))
            .map_err(|error| format!("failed to remove {}: {error}", stale.display()))?;
    }
    for (path, bytes) in &wanted {
        let path = objects.join(path);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, bytes));
        written.map_err(|error| format!("failed to write {}: {error}", path.display()))?;
    }
    let sizes = root.join(SIZES);
    fs::write(&sizes, super::sizes::text(&wanted)?)
        .map_err(|error| format!("failed to write {}: {error}", sizes.display()))?;
    println!("{} objects in {}", wanted.len(), objects.display());
    Ok(())
}

/// Compiles every template and compares with what is checked in.
pub fn check(root: &Path) -> Result<(), String> {
    let wanted = compile_all(root)?;
    let present = present(&root.join("ebpf-templates/objects"))?;
    let mut drifted: Vec<String> = Vec::new();
    for path in wanted.keys().chain(present.keys().filter(|path| !wanted.contains_key(*path))) {
        if wanted.get(path) != present.get(path) {
            drifted.push(path.display().to_string());
        }
    }
    let sizes = super::sizes::text(&wanted)?;
    if !fs::read_to_string(root.join(SIZES)).is_ok_and(|text| text == sizes) {
        drifted.push(SIZES.to_owned());
    }
    if drifted.is_empty() {
        println!("{} objects are what their sources compile to", wanted.len());
        return Ok(());
    }
    Err(format!("objects and sources differ: {}\nrun: cargo xtask templates", drifted.join(", ")))
}

/// Path below objects/ -> bytes.
type Objects = BTreeMap<PathBuf, Vec<u8>>;

fn compile_all(root: &Path) -> Result<Objects, String> {
    let sources = root.join("ebpf-templates/bpf");
    let scratch = root.join("target/templates");
    fs::create_dir_all(&scratch).map_err(|error| format!("failed to create {}: {error}", scratch.display()))?;
    let mut objects = Objects::new();
    for name in names(&sources, ".bpf.c")? {
        let [x86, arm] = ARCHITECTURES.map(|(arch, define)| (arch, compile(&sources, &scratch, &name, define)));
        let (x86, arm) = ((x86.0, x86.1?), (arm.0, arm.1?));
        let file = format!("{name}.bpf.o");
        if x86.1 == arm.1 {
            objects.insert(file.into(), x86.1);
        } else {
            for (arch, bytes) in [x86, arm] {
                objects.insert(Path::new(arch).join(&file), bytes);
            }
        }
    }
    Ok(objects)
}

fn compile(sources: &Path, scratch: &Path, name: &str, define: &str) -> Result<Vec<u8>, String> {
    let object = scratch.join(format!("{name}.{define}.o"));
    let source = format!("{name}.bpf.c");
    let define = format!("-D__TARGET_ARCH_{define}");
    let mut clang = Command::new(CLANG);
    clang.current_dir(sources).args([
        "-target",
        "bpf",
        "-mcpu=v3",
        &define,
        "-g",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fdebug-compilation-dir=.",
    ]);
    run(clang.args(["-Iinclude", "-c", &source, "-o"]).arg(&object))?;
    run(Command::new(STRIP).arg("-g").arg(&object))?;
    fs::read(&object).map_err(|error| format!("failed to read {}: {error}", object.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: {status}")),
        Err(error) => Err(format!("{program}: {error}\nrun: apt-get install -y clang-19 llvm-19")),
    }
}

fn names(folder: &Path, ending: &str) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("failed to read {}: {error}", folder.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter_map(|name| name.strip_suffix(ending).map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}

fn present(objects: &Path) -> Result<Objects, String> {
    let mut found = Objects::new();
    for folder in [""].into_iter().chain(ARCHITECTURES.map(|(arch, _)| arch)) {
        if !objects.join(folder).is_dir() {
            continue;
        }
        for name in names(&objects.join(folder), ".bpf.o")? {
            let path = Path::new(folder).join(format!("{name}.bpf.o"));
            let bytes =
                fs::read(objects.join(&path)).map_err(|error| format!("failed to read {}: {error}", path.display()))?;
            found.insert(path, bytes);
        }
    }
    Ok(found)
}
