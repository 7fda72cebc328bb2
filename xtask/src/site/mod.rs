//! `cargo xtask site DIR`: the documents and the library as a static site. No text is written here: documents are rendered,
//! pages of scripts are what `skep lib info` says of their headers.
//!
//! A page lies where its source lies, with `.html` for its extension, so that links between documents hold as they are.

mod markdown;
mod page;
mod scripts;

use markdown::Document;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub const USAGE: &str =
    "       cargo xtask site DIR            write the documents and the library as HTML pages into DIR";

/// Pages by their place in the site.
type Pages = BTreeMap<String, String>;

/// # Errors
/// What cannot be built, read or written; a link in a document that leads nowhere.
pub fn write(root: &Path, folder: &Path) -> Result<(), String> {
    let pages = pages(root)?;
    for (name, text) in &pages {
        let file = folder.join(name);
        let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, text));
        written.map_err(|error| format!("failed to write `{}`: {error}", file.display()))?;
    }
    println!("{} pages, the first of them {}", pages.len(), folder.join("index.html").display());
    Ok(())
}

/// Every page.
fn pages(root: &Path) -> Result<Pages, String> {
    let documents = documents(root)?;
    let scripts = scripts::all(root)?;
    let mut pages = Pages::new();
    for document in &documents {
        let body = document.html(root, &documents)?;
        pages.insert(page_of(&document.name), page::page(&document.name, &document.title(), &body));
    }
    for script in &scripts {
        let source = read(&root.join(script.file()))?;
        pages.insert(page_of(&script.file()), page::page(&script.file(), &script.name, &page::script(script, &source)));
    }
    pages.insert("index.html".into(), page::page("index.html", "skep", &page::index(&documents, &scripts)));
    Ok(pages)
}

/// `docs/json.md` -> `docs/json.html`.
fn page_of(file: &str) -> String {
    PathBuf::from(file).with_extension("html").display().to_string()
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("failed to read `{}`: {error}", file.display()))
}

/// The README first, then what is written about the parts, by name.
fn documents(root: &Path) -> Result<Vec<Document>, String> {
    let mut found = Vec::new();
    for folder in ["docs", "flamegraphs", "scripts"] {
        let entries = fs::read_dir(root.join(folder)).map_err(|error| format!("failed to read `{folder}`: {error}"))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        found.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}/{name}")));
    }
    found.sort();
    found.push("CHANGELOG.md".into());
    found.insert(0, "README.md".into());
    found.into_iter().map(|name| Ok(Document { text: read(&root.join(&name))?, name })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What stands in quotes behind each `mark`.
    fn quoted<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(mark).skip(1).filter_map(|rest| rest.split_once('"')).map(|(inner, _)| inner)
    }

    /// Files below `folder` that end in `extension`.
    fn files(root: &Path, folder: &str, extension: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(root.join(folder)).unwrap().flatten() {
            let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            match entry.path().is_dir() {
                true => found.extend(files(root, &name, extension)),
                false => found.extend(name.ends_with(extension).then_some(name)),
            }
        }
        found
    }

    #[test]
    fn every_script_and_document_has_a_page_and_no_link_is_dead() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let pages = pages(root).unwrap();
        let sources = [files(root, "scripts", ".rhai"), files(root, "docs", ".md"), vec!["README.md".into()]].concat();
        assert!(sources.len() > 90, "{sources:?}");
        for source in &sources {
            let page = page_of(source);
            assert!(pages.contains_key(&page), "{page}");
            assert!(quoted(&pages["index.html"], "href=\"").any(|link| link == page), "index.html leads not to {page}");
        }
        let ids = |page: &str| quoted(&pages[page], " id=\"").collect::<BTreeSet<_>>();
        let mut followed = 0;
        for (name, text) in &pages {
            assert!(!text.contains("<script"), "{name}");
            for link in quoted(text, "href=\"").filter(|link| !link.contains("://")) {
                let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = if path.is_empty() { name.clone() } else { markdown::resolved(name, path) };
                assert!(pages.contains_key(&target), "{name} leads to {link}");
                assert!(anchor.is_empty() || ids(&target).contains(anchor), "{name} leads to {link}");
                followed += 1;
            }
        }
        assert!(followed > 3 * sources.len(), "{followed}");
    }

    #[test]
    fn page_of_a_script_has_its_transcript_and_its_parameters() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let page = &pages(root).unwrap()["scripts/disk/biolatency.html"];
        for text in ["trust: 812 seen", "<code>--disk</code>", "[64, 128)", "requests.hist(elapsed / 1_000)"] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert!(page.contains("#{ disk: only }") && !page.contains("\"biolatency\""), "the source is escaped: {page}");
    }
}
