//! Prometheus: metrics in the text format, version 0.0.4. Pure.
//!
//! Source: Prometheus, "Exposition formats".

use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Metrics of one name, by the values of their labels.
#[derive(Clone, Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    values: BTreeMap<Vec<String>, Value>,
}

#[derive(Clone, Debug)]
enum Value {
    Number(f64),
    /// How many were at most as large as each of [`BUCKETS`], and all.
    Histogram {
        buckets: [u64; BUCKETS.len()],
        count: u64,
        sum: f64,
    },
}

/// Upper edges, in seconds: what Prometheus' clients take where nobody says otherwise.
pub const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Family {
    pub const fn new(name: &'static str, help: &'static str, kind: Kind, labels: &'static [&'static str]) -> Family {
        Family { name, help, kind, labels, values: BTreeMap::new() }
    }

    /// Adds to a counter, or a gauge. Labels in the order of their names.
    pub fn add<const N: usize>(&mut self, labels: [&str; N], amount: f64) {
        debug_assert_eq!(self.labels.len(), N, "{}", self.name);
        let value = self.values.entry(labels.map(str::to_owned).to_vec()).or_insert(Value::Number(0.0));
        if let Value::Number(number) = value {
            *number += amount;
        }
    }

    /// Sets a gauge.
    pub fn set<const N: usize>(&mut self, labels: [&str; N], amount: f64) {
        debug_assert_eq!(self.labels.len(), N, "{}", self.name);
        self.values.insert(labels.map(str::to_owned).to_vec(), Value::Number(amount));
    }

    /// Adds one value to a histogram.
    pub fn observe<const N: usize>(&mut self, labels: [&str; N], seen: f64) {
        debug_assert_eq!(self.labels.len(), N, "{}", self.name);
        let empty = || Value::Histogram { buckets: [0; BUCKETS.len()], count: 0, sum: 0.0 };
        let value = self.values.entry(labels.map(str::to_owned).to_vec()).or_insert_with(empty);
        if let Value::Histogram { buckets, count, sum } = value {
            for (bucket, edge) in buckets.iter_mut().zip(BUCKETS) {
                *bucket += u64::from(seen <= edge);
            }
            *count += 1;
            *sum += seen;
        }
    }

    /// Its lines; nothing where there is no value.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if self.values.is_empty() {
            return text;
        }
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = self.help.replace('\\', "\\\\").replace('\n', "\\n");
        let (name, mut line) = (self.name, |line: String| {
            text += &line;
            text.push('\n');
        });
        line(format!("# HELP {name} {help}"));
        line(format!("# TYPE {name} {kind}"));
        for (labels, value) in &self.values {
            let pairs: Vec<String> =
                self.labels.iter().zip(labels).map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            match value {
                Value::Number(number) => line(format!("{name}{} {number}", braces(&pairs))),
                Value::Histogram { buckets, count, sum } => {
                    let edges = BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                    for (edge, below) in edges.zip(buckets.iter().chain([count])) {
                        let pairs = [&pairs[..], &[format!("le=\"{edge}\"")]].concat();
                        line(format!("{name}_bucket{} {below}", braces(&pairs)));
                    }
                    line(format!("{name}_sum{} {sum}", braces(&pairs)));
                    line(format!("{name}_count{} {count}", braces(&pairs)));
                }
            }
        }
        text
    }
}

fn braces(pairs: &[String]) -> String {
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for sign in value.chars() {
        match sign {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            sign => {
                let _infallible = out.write_char(sign);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_the_text_format() {
        let mut requests = Family::new("requests_total", "How\nmany\\", Kind::Counter, &["path"]);
        requests.add(["/a\"b\\c\nd"], 1.0);
        requests.add(["/"], 2.0);
        requests.add(["/"], 0.5);
        assert_eq!(
            requests.text(),
            "# HELP requests_total How\\nmany\\\\\n# TYPE requests_total counter\nrequests_total{path=\"/\"} 2.5\n\
             requests_total{path=\"/a\\\"b\\\\c\\nd\"} 1\n"
        );
        let mut up = Family::new("up", "Is it?", Kind::Gauge, &[]);
        assert_eq!(up.text(), "");
        up.set([], 1.0);
        assert_eq!(up.text(), "# HELP up Is it?\n# TYPE up gauge\nup 1\n");
    }

    #[test]
    fn buckets_of_a_histogram_add_up() {
        let mut seconds = Family::new("seconds", "How long", Kind::Histogram, &["method"]);
        for seen in [0.005, 0.2, 100.0] {
            seconds.observe(["GET"], seen);
        }
        let text = seconds.text();
        for line in [
            "seconds_bucket{method=\"GET\",le=\"0.005\"} 1",
            "seconds_bucket{method=\"GET\",le=\"0.1\"} 1",
            "seconds_bucket{method=\"GET\",le=\"0.25\"} 2",
            "seconds_bucket{method=\"GET\",le=\"10\"} 2",
            "seconds_bucket{method=\"GET\",le=\"+Inf\"} 3",
            "seconds_sum{method=\"GET\"} 100.205",
            "seconds_count{method=\"GET\"} 3",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
