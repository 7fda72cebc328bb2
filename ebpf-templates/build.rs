//! Lists every object in objects/ (and objects/ARCH/ for this architecture), so that a template is one file and no table.

use std::{env, fs, path::Path};

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("objects");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("set by cargo");
    let mut list = String::from("&[\n");
    for folder in [root.clone(), root.join(arch)] {
        println!("cargo:rerun-if-changed={}", folder.display());
        let mut files: Vec<_> =
            fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            if let Some(name) =
                file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".bpf.o"))
            {
                list += &format!("    ({name:?}, include_bytes!({:?})),\n", file.display().to_string());
            }
        }
    }
    list += "]";
    let out = Path::new(&env::var("OUT_DIR").expect("set by cargo")).join("embedded.rs");
    fs::write(out, list).expect("the build folder is writable");
}
