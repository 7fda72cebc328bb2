//! What baselines there are, and what they are of.

use crate::args::Cli;
use crate::list::put;
use crate::run::show;
use skep_runtime::baseline::file::{Baseline, Folder};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::report::units;

pub fn list(cli: &Cli, folder: &Folder) -> Result<u8, Diagnostic> {
    let mut text = String::new();
    for name in folder.names() {
        match folder.load(&name) {
            Ok(baseline) => text += &line(cli, &baseline),
            Err(diagnostic) => drop(show(&diagnostic, None)),
        }
    }
    Ok(put(&text))
}

fn line(cli: &Cli, of: &Baseline) -> String {
    if cli.json {
        return format!("{}\n", without_samples(of));
    }
    let (samples, script) = (units::grouped(of.samples()), of.script.name.as_str());
    format!("{:<24} {}  {script}, {samples} samples, {} {}\n", of.name, of.saved, of.host, of.kernel)
}

/// A baseline as JSON, but for its histograms and the script's text.
fn without_samples(of: &Baseline) -> serde_json::Value {
    let mut json = of.json().unwrap_or_default();
    if let Some(script) = json["script"].as_object_mut() {
        script.remove("text");
    }
    for one in json["series"].as_array_mut().into_iter().flatten().filter_map(|one| one.as_object_mut()) {
        one.remove("hdr");
        one.remove("spread");
    }
    json
}

pub fn describe(cli: &Cli, of: &Baseline) -> Result<u8, Diagnostic> {
    if cli.json {
        return Ok(put(&format!("{}\n", without_samples(of))));
    }
    let options: Vec<String> = of.options.iter().map(|(name, value)| format!("--{name} {value}")).collect();
    let mut text = format!(
        "{} of {}\nscript   {}\nmachine  {} {} {}, {} processors\nevents   {} seen, {} lost\n",
        of.name,
        of.saved,
        [std::slice::from_ref(&of.script.name), &of.words[..], &options].concat().join(" "),
        of.host,
        of.kernel,
        of.arch,
        of.cpus,
        units::grouped(of.seen),
        units::grouped(of.lost),
    );
    for (run, one) in of.runs.iter().enumerate().flat_map(|(n, run)| run.iter().map(move |one| (n + 1, one))) {
        let quantile = |share| one.samples.quantile(share).map_or("-".to_owned(), units::grouped);
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(quantile);
        let name = format!("{} {}", one.title, one.key);
        let n = units::grouped(one.samples.count());
        let name = units::escape(name.trim_end());
        text += &format!("run {run}, {name}: p50 {p50}  p95 {p95}  p99 {p99}  n {n}\n");
    }
    Ok(put(&text))
}
