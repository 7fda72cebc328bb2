//! The catalog: every template that can be used, from inside the binary and from a folder given at run time.

use crate::manifest::{Manifest, NotATemplate};
use flate2::read::DeflateDecoder;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A template inside the binary.
struct Embedded {
    name: &'static str,
    /// The object, deflated: a fifth of its size.
    packed: &'static [u8],
    /// Names of its event's fields.
    fields: &'static [&'static str],
}

const EMBEDDED: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// One template: its name (the file's, without `.bpf.o`) and its object.
#[derive(Clone)]
pub struct Template {
    pub name: String,
    object: Object,
    /// Where it came from, if not from inside the binary.
    pub path: Option<PathBuf>,
}

#[derive(Clone)]
enum Object {
    /// And what it holds, from when somebody asks.
    Embedded(&'static Embedded, Arc<OnceLock<Vec<u8>>>),
    Read(Arc<[u8]>),
}

impl Template {
    /// The ELF object.
    pub fn object(&self) -> &[u8] {
        match &self.object {
            Object::Read(object) => object,
            Object::Embedded(embedded, object) => object.get_or_init(|| {
                let mut object = Vec::new();
                // The build has packed it; what is cut short is no object, as its reader says.
                let _whole = DeflateDecoder::new(embedded.packed).read_to_end(&mut object);
                object
            }),
        }
    }

    /// What it says of itself. Read anew at each call: about 0.1 ms.
    ///
    /// # Errors
    /// As [`Manifest::read`]; an embedded template has none.
    pub fn manifest(&self) -> Result<Manifest, NotATemplate> {
        Manifest::read(self.object())
    }

    /// Names of its event's fields; none of what is no template, as its manifest says.
    pub fn field_names(&self) -> Vec<String> {
        match &self.object {
            Object::Embedded(embedded, _) => embedded.fields.iter().map(|name| (*name).to_owned()).collect(),
            Object::Read(_) => {
                let fields = self.manifest().map(|manifest| manifest.fields).unwrap_or_default();
                fields.into_iter().map(|field| field.name).collect()
            }
        }
    }
}

/// Templates by name.
#[derive(Clone)]
pub struct Catalog {
    templates: BTreeMap<String, Template>,
}

impl Catalog {
    /// The templates inside the binary.
    pub fn embedded() -> Catalog {
        let template = |embedded: &'static Embedded| {
            let object = Object::Embedded(embedded, Arc::default());
            let template = Template { name: embedded.name.to_owned(), object, path: None };
            (template.name.clone(), template)
        };
        Catalog { templates: EMBEDDED.iter().map(template).collect() }
    }

    /// Adds every `NAME.bpf.o` of a folder; a name that exists already is replaced.
    ///
    /// # Errors
    /// The folder or a file in it cannot be read.
    pub fn add_folder(&mut self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".bpf.o"));
            let Some(name) = name.map(str::to_owned) else { continue };
            let object = Object::Read(fs::read(&path)?.into());
            self.templates.insert(name.clone(), Template { name, object, path: Some(path) });
        }
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&Template> {
        self.templates.get(name)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.templates.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_template_describes_itself() {
        let catalog = Catalog::embedded();
        assert!(catalog.get("tracepoint").is_some(), "objects are missing: run cargo xtask templates");
        for template in catalog.iter() {
            let manifest = template.manifest().unwrap_or_else(|error| panic!("{}: {error}", template.name));
            assert!(!manifest.help.is_empty(), "{} has no help", template.name);
            for parameter in &manifest.parameters {
                assert!(!parameter.help.is_empty(), "{}: parameter {} has no help", template.name, parameter.name);
                assert_eq!(parameter.preset.len(), parameter.shape.size());
            }
            let names: Vec<&str> = manifest.fields.iter().map(|field| field.name.as_str()).collect();
            assert_eq!(template.field_names(), names, "{}", template.name);
            for field in &manifest.fields {
                assert!(!field.help.is_empty(), "{}: field {} has no help", template.name, field.name);
            }
            // Programs of policies judge; they make no events.
            let judges = template.name == "policy";
            assert!(judges || manifest.maps.iter().any(|map| map.name == "aggregate" && map.value_size == 32));
        }
    }
}
