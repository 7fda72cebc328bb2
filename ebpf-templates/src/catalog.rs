//! The catalog: every template that can be used, from inside the binary and from a folder given at run time.

use crate::manifest::{Manifest, NotATemplate};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// One template: its name (the file's, without `.bpf.o`) and its object.
#[derive(Clone)]
pub struct Template {
    pub name: String,
    pub object: Cow<'static, [u8]>,
    /// Where it came from, if not from inside the binary.
    pub path: Option<PathBuf>,
}

impl Template {
    /// What it says of itself. Read anew at each call: about 0.1 ms.
    ///
    /// # Errors
    /// As [`Manifest::read`]; an embedded template has none.
    pub fn manifest(&self) -> Result<Manifest, NotATemplate> {
        Manifest::read(&self.object)
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
        let template = |(name, object): &(&str, &'static [u8])| {
            let template = Template { name: (*name).to_owned(), object: Cow::Borrowed(*object), path: None };
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
            let object = Cow::Owned(fs::read(&path)?);
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
            for field in &manifest.fields {
                assert!(!field.help.is_empty(), "{}: field {} has no help", template.name, field.name);
            }
            // Programs of policies judge; they make no events.
            let judges = template.name == "policy";
            assert!(judges || manifest.maps.iter().any(|map| map.name == "aggregate" && map.value_size == 32));
        }
    }
}
