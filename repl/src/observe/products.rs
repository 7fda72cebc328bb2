//! Products: what is made of flows besides printing them, each a file.

use super::wish::Wish;
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::kernel::load::text;
use skep_runtime::network::hubble::metrics::Metrics;
use skep_runtime::network::pcapng;
use skep_runtime::network::service_map::{ServiceMap, caretta, draw, html};
use skep_runtime::network::source::Seen;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was asked for.
pub struct Products<'a> {
    pcapng: Option<(&'a Path, pcapng::Writer<BufWriter<File>>)>,
    packets: u64,
    metrics: Option<(&'a Path, Metrics)>,
    map: Option<(&'a Path, Drawing, ServiceMap)>,
    /// When files that are replaced were written.
    written: Instant,
}

/// How old they get while flows go on: Prometheus asks about as often.
const AGE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
enum Drawing {
    Html,
    Dot,
    Mermaid,
    Gauges,
}

impl Drawing {
    fn of(path: &Path) -> Result<Drawing, Diagnostic> {
        match path.extension().and_then(|end| end.to_str()) {
            Some("html" | "htm") => Ok(Drawing::Html),
            Some("dot" | "gv") => Ok(Drawing::Dot),
            Some("mmd" | "mermaid" | "md") => Ok(Drawing::Mermaid),
            Some("prom") => Ok(Drawing::Gauges),
            _ => Err(Diagnostic::script(format!("`{}` ends in no form of a map", path.display()))
                .help("--map services.html, .dot, .mmd or .prom")),
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn unwritten(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::script(format!("failed to write `{}`: {}", path.display(), text(error)))
}

impl<'a> Products<'a> {
    pub fn new(wish: &'a Wish) -> Result<Products<'a>, Diagnostic> {
        let map = match &wish.map {
            Some(path) => Some((path.as_path(), Drawing::of(path)?, ServiceMap::default())),
            None => None,
        };
        let pcapng = match &wish.pcapng {
            Some(path) if wish.input.as_ref().is_some_and(|input| is_same(input, path)) => {
                let message = format!("`{}` is read and cannot be written at the same time", path.display());
                return Err(Diagnostic::script(message).help("--pcapng other.pcapng"));
            }
            Some(path) => {
                let writer = File::create(path)
                    .and_then(|file| pcapng::Writer::new(BufWriter::new(file), "times are those of the source"));
                Some((path.as_path(), writer.map_err(|error| unwritten(path, &error))?))
            }
            None => None,
        };
        let metrics = wish.metrics.as_ref().map(|path| (path.as_path(), Metrics::default()));
        Ok(Products { pcapng, packets: 0, metrics, map, written: Instant::now() })
    }

    pub fn count(&mut self, seen: &Seen) -> Result<(), Diagnostic> {
        if let (Some((path, writer)), Some(frame)) = (&mut self.pcapng, &seen.frame) {
            let mut frame = frame.clone();
            // What the flow says now, once.
            let comment = seen.response.flow.as_deref().and_then(pcapng::comment);
            frame.comments.retain(|one| !one.starts_with("uuid=") && !one.starts_with("verdict="));
            frame.comments.extend(comment);
            writer.packet(&frame).map_err(|error| unwritten(path, &error))?;
            self.packets += 1;
        }
        if let Some((_, metrics)) = &mut self.metrics {
            metrics.count(&seen.response);
        }
        if let (Some((.., map)), Some(flow)) = (&mut self.map, &seen.response.flow) {
            map.count(flow);
        }
        Ok(())
    }

    /// Writes what is complete now; says what was asked for and is not there.
    pub fn end(self, lost: u64) -> Result<Option<String>, Diagnostic> {
        self.write()?;
        let mut note = None;
        if let Some((path, writer)) = self.pcapng {
            // Whose they were, nobody knows: they are told once.
            let mut lost = lost;
            writer.end(|_| std::mem::take(&mut lost)).map_err(|error| unwritten(path, &error))?;
            if self.packets == 0 {
                note = Some(format!("`{}` is empty: flows in JSON hold no packets", path.display()));
            }
        }
        Ok(note)
    }

    /// Writes files anew that show what there is so far, when they are old.
    pub fn refresh(&mut self) -> Result<(), Diagnostic> {
        if self.written.elapsed() >= AGE {
            self.write()?;
            self.written = Instant::now();
        }
        Ok(())
    }

    fn write(&self) -> Result<(), Diagnostic> {
        if let Some((path, metrics)) = &self.metrics {
            replace(path, &metrics.text())?;
        }
        if let Some((path, drawing, map)) = &self.map {
            let text = match drawing {
                Drawing::Html => html::page(map, "service map"),
                Drawing::Dot => draw::dot(map),
                Drawing::Mermaid => draw::mermaid(map),
                Drawing::Gauges => caretta::metrics(map),
            };
            replace(path, &text)?;
        }
        Ok(())
    }
}

/// A file that is never half there for its readers.
fn replace(path: &Path, text: &str) -> Result<(), Diagnostic> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).map_err(|error| unwritten(path, &error))
}
