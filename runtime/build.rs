//! Lists every script of scripts/AREA/, so that the library is inside the binary and a script is one file.

use std::{env, fs, path::Path};

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("../scripts");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut scripts = Vec::new();
    for area in
        fs::read_dir(&root).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir())
    {
        println!("cargo:rerun-if-changed={}", area.display());
        for file in fs::read_dir(&area).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let area = area.file_name().and_then(|name| name.to_str());
            let name = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".rhai"));
            if let (Some(area), Some(name)) = (area, name) {
                println!("cargo:rerun-if-changed={}", file.display());
                scripts.push(format!(
                    "    ({:?}, include_str!({:?})),\n",
                    format!("{area}/{name}"),
                    file.display().to_string()
                ));
            }
        }
    }
    scripts.sort();
    let out = Path::new(&env::var("OUT_DIR").expect("set by cargo")).join("scripts.rs");
    fs::write(out, format!("&[\n{}]", scripts.concat())).expect("the build folder is writable");
}
