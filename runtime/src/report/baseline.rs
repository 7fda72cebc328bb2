//! Comparisons with baselines: as people read them, as JSON and as CSV.

use super::columns::{self, Column};
use super::text::Style;
use super::{csv, units};
use crate::baseline::comparison::{Comparison, Row, Verdict};
use serde_json::{Value as Json, json};

const COLUMNS: [&str; 10] =
    ["title", "key", "quantile", "baseline", "now", "change", "verdict", "p", "n_baseline", "n_now"];

fn quantile(share: f64) -> String {
    format!("p{}", share * 100.0)
}

fn change(row: &Row) -> String {
    let change = 100.0 * row.change();
    if change.is_finite() { format!("{change:+.1} %") } else { "new".into() }
}

/// A table with a row for each quantile, and what comes of it.
pub fn text(comparison: &Comparison, style: &Style) -> String {
    let column = |heading: &str, right: bool, cell: &dyn Fn(&Row) -> String| {
        let mut column = Column::new(heading, right);
        comparison.rows.iter().for_each(|row| column.push(|out| *out += &cell(row)));
        column
    };
    let mut columns = vec![column("title", false, &|row| units::escape(&row.title).into_owned())];
    if comparison.rows.iter().any(|row| !row.key.is_empty()) {
        columns.push(column("key", false, &|row| row.key.clone()));
    }
    columns.extend([
        column("quantile", false, &|row| quantile(row.share)),
        column("baseline", true, &|row| units::grouped(row.before)),
        column("now", true, &|row| units::grouped(row.now)),
        column("change", true, &change),
        column("samples", true, &|row| row.samples.map(units::grouped).join(" / ")),
        column("verdict", false, &|row| row.verdict.name().to_owned()),
    ]);
    let mut out = Vec::new();
    if !comparison.rows.is_empty() {
        // A Vec takes whatever is written.
        let _infallible = columns::table(&mut out, &columns, style);
    }
    let mut out = String::from_utf8_lossy(&out).into_owned();
    for (what, series) in [("only in the baseline", &comparison.gone), ("only now", &comparison.new)] {
        for (title, key) in series {
            out += &format!("{what}: {}\n", units::escape(format!("{title} {key}").trim_end()));
        }
    }
    out += &format!("{}\n", conclusion(comparison));
    out
}

fn conclusion(comparison: &Comparison) -> String {
    let count = |verdict| comparison.rows.iter().filter(|row| row.verdict == verdict).count();
    let verdicts = [Verdict::Worse, Verdict::Better, Verdict::Same, Verdict::TooFew];
    let counts = verdicts.map(|verdict| (count(verdict), verdict.name()));
    let counts = counts.iter().filter(|(n, _)| *n > 0).map(|(n, name)| format!("{n} {name}")).collect::<Vec<_>>();
    match comparison.unjudged().as_slice() {
        [] => counts.join(", "),
        unjudged => {
            let unjudged: Vec<String> = unjudged.iter().map(|share| quantile(*share)).collect();
            let few = format!("too few samples for {}: measure for longer", unjudged.join(", "));
            counts.into_iter().filter(|count| !count.ends_with("few")).chain([few]).collect::<Vec<_>>().join(", ")
        }
    }
}

/// One object: see `docs/json.md`.
pub fn json(comparison: &Comparison, name: &str) -> Json {
    let row = |row: &Row| {
        let change = Some(row.change()).filter(|change| change.is_finite());
        json!({
            "title": row.title, "key": row.key, "quantile": row.share, "baseline": row.before, "now": row.now,
            "change": change, "verdict": row.verdict.name(), "p": row.p, "n": row.samples,
        })
    };
    let ids = |series: &[(String, String)]| -> Vec<Json> {
        series.iter().map(|(title, key)| json!({ "title": title, "key": key })).collect()
    };
    json!({
        "v": super::json::VERSION, "type": "comparison", "baseline": name, "worse": comparison.is_worse(),
        "level": comparison.level, "rows": comparison.rows.iter().map(row).collect::<Vec<_>>(),
        "gone": ids(&comparison.gone), "new": ids(&comparison.new),
    })
}

/// The line of names, and a line for each quantile.
pub fn csv(comparison: &Comparison) -> String {
    let cells = |row: &Row| {
        let change = Some(row.change()).filter(|change| change.is_finite());
        [
            csv::guarded(&row.title).into_owned(),
            csv::guarded(&row.key).into_owned(),
            quantile(row.share),
            row.before.to_string(),
            row.now.to_string(),
            change.map_or(String::new(), |change| change.to_string()),
            row.verdict.name().to_owned(),
            row.p.to_string(),
            row.samples[0].to_string(),
            row.samples[1].to_string(),
        ]
    };
    let lines = comparison.rows.iter().map(|row| csv::line(cells(row).into_iter()));
    std::iter::once(csv::heading(COLUMNS)).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison() -> Comparison {
        let row = |share, before, now, p, verdict| Row {
            title: "usecs".into(),
            key: "comm=api".into(),
            share,
            before,
            now,
            samples: [1_009, 1_013],
            p,
            verdict,
        };
        Comparison {
            rows: vec![row(0.5, 1_000, 1_500, 0.0, Verdict::Worse), row(0.99, 0, 7, 0.25, Verdict::TooFew)],
            gone: vec![("usecs".into(), "comm=\x1b[2J".into())],
            new: Vec::new(),
            level: 0.005,
        }
    }

    #[test]
    fn people_read_a_row_for_each_quantile_and_what_comes_of_it() {
        let expected = "\
title  key       quantile  baseline    now   change        samples  verdict
usecs  comm=api  p50          1,000  1,500  +50.0 %  1,009 / 1,013  worse
usecs  comm=api  p99              0      7      new  1,009 / 1,013  too few
only in the baseline: usecs comm=\\x1b[2J
1 worse, too few samples for p95, p99: measure for longer
";
        assert_eq!(text(&comparison(), &Style::default()), expected);
    }

    #[test]
    fn programs_get_the_same_in_json_and_csv() {
        let found = json(&comparison(), "api").to_string();
        let rows = r#"{"title":"usecs","key":"comm=api","quantile":0.5,"baseline":1000,"now":1500,"change":0.5,"verdict":"worse","p":0.0,"n":[1009,1013]}"#;
        assert!(found.contains(rows) && found.contains(r#""change":null,"verdict":"too few""#), "{found}");
        let document = include_str!("../../../docs/json.md");
        let one = Comparison { rows: comparison().rows[..1].to_vec(), gone: Vec::new(), ..comparison() };
        let line = json(&one, "api").to_string();
        assert!(document.lines().any(|text| text == line), "docs/json.md lacks {line}");
        let found = csv(&comparison());
        assert!(found.ends_with("usecs,comm=api,p99,0,7,,too few,0.25,1009,1013\n"), "{found}");
    }
}
