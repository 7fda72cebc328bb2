//! /proc/pressure/*: the share of time in which some or all tasks wait for a resource (Linux 4.20, CONFIG_PSI).

use super::parsed;
use serde_json::{Map, Value as Json, json};

/// `some` and `full`, each with its averages in percent and its total in microseconds; what the kernel leaves out is 0.
pub fn parse(text: &str) -> Option<Json> {
    let mut pressure = json!({ "some": line(""), "full": line("") });
    let mut any = false;
    for (kind, rest) in text.lines().filter_map(|line| line.split_once(' ')) {
        if matches!(kind, "some" | "full") {
            pressure[kind] = line(rest);
            any = true;
        }
    }
    any.then_some(pressure)
}

fn line(text: &str) -> Json {
    let mut values: Map<String, Json> = [("avg10", json!(0.0)), ("avg60", json!(0.0)), ("avg300", json!(0.0))]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect();
    values.insert("total".into(), json!(0));
    for (name, word) in text.split_whitespace().filter_map(|word| word.split_once('=')) {
        let value = match name {
            "total" => parsed(word),
            _ => word.parse().ok().filter(|share: &f64| share.is_finite()).map(Json::from),
        };
        if let (Some(known), Some(value)) = (values.get_mut(name), value) {
            *known = value;
        }
    }
    values.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_has_its_averages_and_its_total() {
        let text = "some avg10=6.10 avg60=5.95 avg300=3.67 total=20187086621\nfull avg10=0.00 avg60=0.01 avg300=0.00 total=7\n";
        let pressure = parse(text).unwrap();
        assert_eq!((&pressure["some"]["avg10"], &pressure["some"]["total"]), (&json!(6.1), &json!(20_187_086_621u64)));
        assert_eq!(pressure["full"]["total"], 7);
    }

    #[test]
    fn line_that_is_missing_or_odd_counts_as_zero() {
        // Linux before 5.13 has no `full` for the CPU.
        assert_eq!(parse("some avg10=1.00 total=9\n").unwrap()["full"]["total"], 0);
        let odd = parse("some avg10=NaN total=-1 total=99999999999999999999 evil=1\nfull\nsome\n").unwrap();
        assert_eq!(odd["some"], line(""));
        assert_eq!((parse(""), parse("=\n\0\n")), (None, None));
    }
}
