//! Files of baselines: JSON, with the samples as HdrHistogram's tools read them.

use super::samples::{Samples, decode, encode};
use super::series::Series;
use crate::diagnostic::Diagnostic;
use crate::kernel::load;
use crate::library::Script;
use crate::network::time::{Layout, Time};
use crate::recording::file::crc;
use crate::recording::header::Machine;
use serde_json::{Value as Json, json};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The most that a file may say it has.
pub const RUNS: u64 = 1_000;

/// What was measured, when, where and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    pub name: String,
    /// In RFC 3339.
    pub saved: String,
    pub host: String,
    pub kernel: String,
    pub arch: String,
    pub cpus: u64,
    pub script: Script,
    pub words: Vec<String>,
    /// `for`, `comm`, `cgroup`: options that say what is measured, as they were given.
    pub options: Vec<(String, String)>,
    pub seen: u64,
    pub lost: u64,
    /// What each of its runs measured.
    pub runs: Vec<Vec<Series>>,
}

impl Baseline {
    /// Of what was measured on `machine`.
    pub fn new(name: &str, script: &Script, words: &[String], machine: &Machine, host: &str) -> Baseline {
        Baseline {
            name: name.to_owned(),
            saved: Time::now().text(Layout::Rfc3339),
            host: host.to_owned(),
            kernel: machine.kernel.clone(),
            arch: machine.arch.clone(),
            cpus: machine.cpus,
            script: script.clone(),
            words: words.to_vec(),
            options: Vec::new(),
            seen: 0,
            lost: 0,
            runs: Vec::new(),
        }
    }

    pub fn samples(&self) -> u64 {
        self.runs.iter().flatten().map(|one| one.samples.count()).sum()
    }

    /// Is this the script that it was measured with?
    pub fn is_of(&self, script: &Script) -> bool {
        self.script.text == script.text
    }

    /// `None`: the library of histograms refuses.
    pub fn json(&self) -> Option<Json> {
        let series = |(run, one): (usize, &Series)| {
            let n = one.samples.count();
            let mut object = json!({ "run": run, "title": one.title, "key": one.key, "kind": one.kind, "n": n });
            object["hdr"] = encode(&one.samples.edges)?.into();
            if !one.samples.spread.is_empty() {
                object["spread"] = encode(&one.samples.spread)?.into();
            }
            Some(object)
        };
        let all = self.runs.iter().enumerate().flat_map(|(run, series)| series.iter().map(move |one| (run, one)));
        let options: serde_json::Map<String, Json> =
            self.options.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let hash = format!("{:08x}", crc(self.script.text.as_bytes()));
        Some(json!({
            "v": 1, "type": "baseline", "name": self.name, "saved": self.saved, "skep": env!("CARGO_PKG_VERSION"),
            "host": self.host, "kernel": self.kernel, "arch": self.arch, "cpus": self.cpus,
            "script": { "name": self.script.name, "crc32": hash, "text": &*self.script.text },
            "words": self.words, "options": options, "trust": { "seen": self.seen, "lost": self.lost },
            "runs": self.runs.len(), "series": all.map(series).collect::<Option<Vec<_>>>()?,
        }))
    }

    pub(crate) fn read(json: &Json) -> Option<Baseline> {
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let series = |one: &Json| {
            let spread = match &one["spread"] {
                Json::Null => Default::default(),
                spread => decode(spread.as_str()?)?,
            };
            let samples = Samples { edges: decode(one["hdr"].as_str()?)?, spread };
            Some(Series { title: text(&one["title"])?, key: text(&one["key"])?, kind: text(&one["kind"])?, samples })
        };
        let options = json["options"].as_object()?.iter().map(|(name, value)| Some((name.clone(), text(value)?)));
        let mut runs = vec![Vec::new(); usize::try_from(json["runs"].as_u64().filter(|runs| *runs <= RUNS)?).ok()?];
        for one in json["series"].as_array()? {
            runs.get_mut(usize::try_from(one["run"].as_u64()?).ok()?)?.push(series(one)?);
        }
        if json["v"] != 1 || json["type"] != "baseline" {
            return None;
        }
        Some(Baseline {
            name: text(&json["name"])?,
            saved: text(&json["saved"])?,
            host: text(&json["host"])?,
            kernel: text(&json["kernel"])?,
            arch: text(&json["arch"])?,
            cpus: json["cpus"].as_u64()?,
            script: Script { name: text(&json["script"]["name"])?, text: text(&json["script"]["text"])?.into() },
            words: json["words"].as_array()?.iter().map(text).collect::<Option<_>>()?,
            options: options.collect::<Option<_>>()?,
            seen: json["trust"]["seen"].as_u64()?,
            lost: json["trust"]["lost"].as_u64()?,
            runs,
        })
    }
}

/// A folder of baselines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// The file of a name.
    ///
    /// # Errors
    /// A script diagnostic: it is no name of a file.
    pub fn path(&self, name: &str) -> Result<PathBuf, Diagnostic> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@' | '+');
        match !name.is_empty() && !name.starts_with('.') && name.len() <= 200 && name.chars().all(fits) {
            true => Ok(self.0.join(format!("{name}.json"))),
            false => Err(Diagnostic::script(format!("`{name}` is no name of a baseline"))
                .help("letters, digits, - and _: api-v2")
                .nowhere()),
        }
    }

    /// # Errors
    /// There is none of this name; its file cannot be read, or is damaged.
    pub fn load(&self, name: &str) -> Result<Baseline, Diagnostic> {
        let path = self.path(name)?;
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Diagnostic::script(format!("there is no baseline `{name}` in {}", self.0.display()))
                .help("skep baseline list")
                .nowhere(),
            _ => failed("read", &path, &error),
        })?;
        let read = serde_json::from_str(&text).ok().and_then(|json| Baseline::read(&json));
        read.ok_or_else(|| {
            Diagnostic::script(format!("`{}` is no baseline, or is damaged", path.display()))
                .help(format!("skep baseline save {name} SCRIPT --force"))
                .nowhere()
        })
    }

    /// Writes it whole, or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, baseline: &Baseline) -> Result<PathBuf, Diagnostic> {
        let path = self.path(&baseline.name)?;
        let json = baseline.json().ok_or_else(|| Diagnostic::bug("a histogram could not be written"))?;
        let part = path.with_extension(format!("{}.part", std::process::id()));
        let written = fs::create_dir_all(&self.0).and_then(|()| fs::write(&part, format!("{json:#}\n")));
        written.and_then(|()| fs::rename(&part, &path)).map_err(|error| {
            // It is of no use, and may not be there.
            let _gone = fs::remove_file(&part);
            failed("write", &path, &error)
        })?;
        Ok(path)
    }

    /// # Errors
    /// There is none of this name; it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), Diagnostic> {
        let path = self.path(name)?;
        fs::remove_file(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Diagnostic::script(format!("there is no baseline `{name}` in {}", self.0.display()))
                .help("skep baseline list")
                .nowhere(),
            _ => failed("remove", &path, &error),
        })
    }

    /// The names that are there, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let name = |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned());
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        names
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::machine(format!("failed to {what} `{}`: {}", path.display(), load::text(error))).nowhere()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline() -> Baseline {
        let mut samples = Samples::default();
        (1..1_010).for_each(|value| samples.record(value * 37));
        let spread = samples.edges.clone();
        let one = |key: &str, samples: Samples| Series {
            title: "usecs".into(),
            key: key.into(),
            kind: "hist".into(),
            samples,
        };
        let series = vec![one("comm=bash", samples.clone()), one("", Samples { spread, ..samples })];
        let script = Script { name: "syslat".into(), text: "print(1);".to_owned().into() };
        let words = ["--top", "3"].map(str::to_owned);
        let new = Baseline::new("api-v2", &script, &words, &Machine::default(), "node");
        let new = Baseline { saved: "2026-11-21T20:00:01Z".into(), ..new };
        Baseline {
            options: vec![("for".into(), "10s".into())],
            seen: 1_013,
            lost: 4,
            runs: vec![series.clone(), series],
            ..new
        }
    }

    #[test]
    fn baseline_comes_back_from_its_file() {
        let folder = Folder(std::env::temp_dir().join(format!("skep-baselines-{}", std::process::id())));
        let path = folder.save(&baseline()).unwrap();
        assert_eq!(folder.load("api-v2").ok(), Some(baseline()));
        assert_eq!(folder.names(), ["api-v2"]);
        fs::write(path, "{ \"v\": 1").unwrap();
        assert!(folder.load("api-v2").unwrap_err().message.contains("is no baseline, or is damaged"));
        folder.remove("api-v2").unwrap();
        assert!(folder.remove("api-v2").unwrap_err().message.contains("there is no baseline `api-v2`"));
        fs::remove_dir(folder.0).unwrap();
    }

    #[test]
    fn name_that_leaves_the_folder_is_refused() {
        let folder = Folder(PathBuf::from("/nowhere"));
        for name in ["", "../a", "a/b", ".hidden", "a b"] {
            assert!(folder.path(name).is_err(), "{name}");
        }
        assert!(folder.path("api-v2:2026+1").is_ok());
    }
}
