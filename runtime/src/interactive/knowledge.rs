//! What completion knows: the session's variables, and what the machine, the templates and the library have.

use crate::attach_point::PROVIDERS;
use crate::binary::elf::Binary;
use crate::binary::process::Target;
use crate::binary::usdt;
use crate::kernel::perf;
use crate::library::Library;
use crate::machine::Machine;
use crate::plan::{Output, Source};
use crate::points;
use crate::script::host::Chain;
use crate::script::probe::Probe;
use crate::script::values::{HistogramValue, RowValue, TableValue};
use rhai::Dynamic;
use skep_templates::catalog::Catalog;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// What changes with each line. Shared between the script's thread and the terminal's.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub variables: Vec<(String, Nature)>,
    pub functions: Vec<String>,
    pub jobs: Vec<usize>,
}

/// What kind of value a name stands for, as far as its methods are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Nature {
    Chain {
        /// Its attach points, as they were written.
        points: Vec<String>,
        template: Option<String>,
        /// Names of streamed columns.
        columns: Vec<String>,
    },
    Table,
    Row,
    Histogram,
    Text,
    Array,
    Map(Vec<String>),
    #[default]
    Other,
}

impl Nature {
    pub fn of(value: &Dynamic, chains: &[Chain]) -> Nature {
        if let Some(probe) = value.read_lock::<Probe>() {
            let Some(chain) = chains.get(probe.chain) else { return Nature::Other };
            let texts = |points: &[(String, _)]| points.iter().map(|(text, _)| text.clone()).collect();
            let (points, template) = match &chain.entry.source {
                Source::Probe(points) => (texts(points), None),
                Source::Span(span) => (texts(&span.end), None),
                Source::Template { name, .. } => (Vec::new(), Some(name.clone())),
            };
            let columns = match &chain.entry.output {
                Output::Stream { columns, .. } => columns.iter().map(|column| column.name.clone()).collect(),
                _ => Vec::new(),
            };
            return Nature::Chain { points, template, columns };
        }
        match value {
            value if value.is::<TableValue>() => Nature::Table,
            value if value.is::<RowValue>() => Nature::Row,
            value if value.is::<HistogramValue>() => Nature::Histogram,
            value if value.is_string() => Nature::Text,
            value if value.is_array() => Nature::Array,
            value => match value.read_lock::<rhai::Map>() {
                Some(map) => Nature::Map(map.keys().map(ToString::to_string).collect()),
                None => Nature::Other,
            },
        }
    }
}

/// Of a program's functions or USDT probes.
type Names = Rc<Vec<String>>;

/// What does not change while a session lasts; looked up when it is first asked for.
pub struct Sources {
    pub machine: Machine,
    pub catalog: Catalog,
    /// Names of fields.
    pub fields: Vec<String>,
    tracepoints: std::cell::OnceCell<BTreeMap<String, Vec<String>>>,
    functions: std::cell::OnceCell<Vec<String>>,
    binaries: RefCell<HashMap<(String, bool), Names>>,
}

impl Sources {
    pub fn new(machine: Machine, catalog: Catalog) -> Sources {
        let fields = crate::script::engine::names(&catalog);
        Sources {
            machine,
            catalog,
            fields,
            tracepoints: Default::default(),
            functions: Default::default(),
            binaries: RefCell::default(),
        }
    }

    pub fn tracepoints(&self) -> &BTreeMap<String, Vec<String>> {
        // Where this process may not look there is nothing to complete.
        self.tracepoints.get_or_init(|| self.machine.tracepoints().unwrap_or_default())
    }

    /// Functions of the kernel that can be traced, sorted.
    pub fn functions(&self) -> &[String] {
        self.functions.get_or_init(|| {
            let Ok(functions) = self.machine.functions() else { return Vec::new() };
            let mut names: Vec<String> = functions.map(|function| function.name.to_owned()).collect();
            names.sort_unstable();
            names.dedup();
            names
        })
    }

    pub fn scripts(&self) -> Vec<String> {
        let name = |script: crate::library::Script| script.name.rsplit('/').next().unwrap_or_default().to_owned();
        Library::embedded().map(name).collect()
    }

    /// Names that may follow a provider; with their number where they are groups: `sched:` and 24.
    pub fn points(&self, provider: &str, rest: &str) -> Vec<(String, Option<usize>)> {
        let plain = |names: Vec<String>| names.into_iter().map(|name| (name, None)).collect::<Vec<_>>();
        match provider {
            "tracepoint" => match rest.split_once(':') {
                None => self
                    .tracepoints()
                    .iter()
                    .map(|(category, names)| (format!("{category}:"), Some(names.len())))
                    .collect(),
                Some((category, _)) => {
                    let names = self.tracepoints().get(category).map_or(&[][..], Vec::as_slice);
                    plain(names.iter().map(|name| format!("{category}:{name}")).collect())
                }
            },
            "rawtracepoint" => {
                let mut names: Vec<String> = self
                    .tracepoints()
                    .iter()
                    .filter(|(category, _)| *category != "syscalls")
                    .flat_map(|(_, names)| names.clone())
                    .collect();
                names.sort();
                plain(names)
            }
            "uprobe" | "uretprobe" | "usdt" => match rest.split_once(':') {
                None => self.libraries(),
                Some((target, _)) => {
                    let names = self.binary(target, provider == "usdt");
                    names.iter().map(|name| (format!("{target}:{name}"), None)).collect()
                }
            },
            "iter" => plain(points::iterator::names(&self.machine)),
            "software" => plain(perf::names(perf::SOFTWARE).map(str::to_owned).collect()),
            "hardware" => plain(perf::names(perf::HARDWARE).map(str::to_owned).collect()),
            "profile" => plain(["hz:99", "hz:49", "ms:10"].map(str::to_owned).to_vec()),
            "interval" => plain(["s:1", "ms:100", "hz:10"].map(str::to_owned).to_vec()),
            _ => Vec::new(),
        }
    }

    /// How many attach points a provider has, where that is known without looking into files.
    pub fn count(&self, provider: &str) -> Option<usize> {
        match provider {
            "tracepoint" => Some(self.tracepoints().values().map(Vec::len).sum()),
            "kprobe" | "kretprobe" | "fentry" | "fexit" => Some(self.functions().len()),
            _ => None,
        }
        .filter(|count| *count > 0)
    }

    fn libraries(&self) -> Vec<(String, Option<usize>)> {
        let cache = crate::binary::library_cache::LibraryCache::of(std::path::Path::new("/"));
        let mut names: Vec<String> = cache.short_names().map(|name| format!("{name}:")).collect();
        names.sort();
        names.dedup();
        names.into_iter().map(|name| (name, None)).collect()
    }

    fn binary(&self, target: &str, usdt: bool) -> Names {
        let read = || -> Option<Vec<String>> {
            let found = Target::default().resolve(target).ok()?;
            let mut names: Vec<String> = match usdt {
                true => usdt::sites(&found.path)
                    .ok()?
                    .into_iter()
                    .map(|site| format!("{}:{}", site.provider, site.name))
                    .collect(),
                false => Binary::open(&found.path).ok()?.functions().iter().map(|one| one.name.clone()).collect(),
            };
            names.sort();
            names.dedup();
            Some(names)
        };
        let mut binaries = self.binaries.borrow_mut();
        // A name that is not finished yet names no file; nothing is kept of it.
        match binaries.get(&(target.to_owned(), usdt)) {
            Some(names) => names.clone(),
            None => match read() {
                Some(names) => binaries.entry((target.to_owned(), usdt)).or_insert(Rc::new(names)).clone(),
                None => Rc::default(),
            },
        }
    }

    /// The long name of a provider.
    pub fn provider(name: &str) -> Option<&'static str> {
        PROVIDERS.iter().find(|(long, short, ..)| *long == name || *short == name).map(|(long, ..)| *long)
    }
}
