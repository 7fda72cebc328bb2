//! Packs and lists every object in objects/ (and objects/ARCH/ for this architecture), so that a template is one file and no
//! table. The names of their fields are listed beside them: every script is checked against all of them, and to unpack
//! and read all objects takes several ms.

#[allow(dead_code, reason = "the library has other uses for it")]
#[path = "src/btf.rs"]
mod btf;
#[allow(dead_code, reason = "the library has other uses for it")]
#[path = "src/manifest.rs"]
mod manifest;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::Write;
use std::{env, fs, path::Path};

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("objects");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("set by cargo");
    let out = Path::new(&env::var("OUT_DIR").expect("set by cargo")).to_owned();
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
                let packed = out.join(name);
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
                let object = fs::read(&file).expect("it was listed");
                encoder.write_all(&object).expect("memory takes it");
                // What is no template is found where it is used, and by a test.
                let fields = manifest::Manifest::read(&object).map(|manifest| manifest.fields).unwrap_or_default();
                let fields: Vec<String> = fields.into_iter().map(|field| field.name).collect();
                fs::write(&packed, encoder.finish().expect("memory takes it")).expect("the build folder is writable");
                let packed = packed.display().to_string();
                list += &format!(
                    "    Embedded {{ name: {name:?}, packed: include_bytes!({packed:?}), fields: &{fields:?} }},\n"
                );
            }
        }
    }
    list += "]";
    fs::write(out.join("embedded.rs"), list).expect("the build folder is writable");
}
