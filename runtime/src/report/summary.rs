//! What a profile says on a terminal: how much of it there is, and the functions at its top.

use super::text::Style;
use super::{columns, csv, units};
use crate::trust::Trust;
use serde_json::{Value as Json, json};
use skep_flamegraphs::profile::{Origin, Profile};
use skep_flamegraphs::summary::{self, Row, Summary};
use skep_flamegraphs::unit;
use std::io::{self, Write};

/// Functions shown.
const MOST: usize = 5;

/// Of a run: its profile, and what was lost of it.
pub struct Found<'a> {
    pub profile: &'a Profile,
    pub trust: &'a Trust,
    summary: Summary,
    totals: Vec<Row>,
}

impl<'a> Found<'a> {
    pub fn new(profile: &'a Profile, trust: &'a Trust) -> Found<'a> {
        let summary = summary::of(profile, 0, MOST);
        let totals = summary::of(profile, 0, usize::MAX).by_total;
        Found { profile, trust, summary, totals }
    }

    /// ```text
    /// 1,980 samples in 20.0 s, 0 lost; 1.2 % of frames without a name
    ///   self  total  function
    /// 45.1 % 45.1 %  crunch
    /// ```
    ///
    /// # Errors
    /// Those of `out`.
    pub fn text(&self, out: &mut impl Write, style: &Style) -> io::Result<()> {
        let Found { profile, trust, summary, .. } = self;
        let of = &profile.types[0];
        let amount = unit::show(summary.total, &of.unit);
        let amount = if of.unit == "count" { format!("{amount} {}", of.kind) } else { amount };
        let took = units::duration(profile.duration.as_nanos() as i128);
        let lost = units::grouped(trust.lost() + trust.lost_stacks);
        let nameless = 100.0 * summary.unresolved;
        writeln!(out, "{amount} in {took}, {lost} lost; {nameless:.1} % of frames without a name")?;
        if summary.by_self.is_empty() {
            return Ok(());
        }
        writeln!(out, "   self    total  function")?;
        for row in &summary.by_self {
            let mark = if row.origin == Origin::Kernel { "  (kernel)" } else { "" };
            let shares = format!("{:5.1} %  {:5.1} %  ", 100.0 * row.share, 100.0 * self.total(row));
            let mut name = [units::escape(&row.name).into_owned()];
            columns::fit(&mut name, shares.len() + mark.len(), style.width);
            writeln!(out, "{shares}{}{mark}", name.concat())?;
        }
        Ok(())
    }

    fn total(&self, of: &Row) -> f64 {
        let same = |row: &&Row| row.name == of.name && row.origin == of.origin;
        self.totals.iter().find(same).map_or(of.share, |row| row.share)
    }

    /// The functions at the top: the line of names, and a line for each.
    pub fn csv(&self) -> (String, String) {
        let cells = |row: &Row| {
            let name = csv::guarded(&row.name).into_owned();
            [name, row.value.to_string(), row.share.to_string(), self.total(row).to_string()]
        };
        let rows = self.summary.by_self.iter().map(|row| csv::line(cells(row).into_iter())).collect();
        (csv::heading(["function", "value", "self", "total"]), rows)
    }

    /// The same as one object: see `docs/json.md`.
    pub fn json(&self) -> Json {
        let Found { profile, trust, summary, .. } = self;
        let row = |row: &Row| json!({ "function": row.name, "value": row.value, "self": row.share, "total": self.total(row) });
        json!({
            "v": super::json::VERSION, "type": "profile", "kind": profile.types[0].kind, "unit": profile.types[0].unit,
            "value": summary.total, "seconds": profile.duration.as_secs_f64(), "lost": trust.lost() + trust.lost_stacks,
            "unresolved": summary.unresolved, "top": summary.by_self.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_flamegraphs::fold;
    use std::time::Duration;

    fn profile(folded: &str) -> Profile {
        Profile { duration: Duration::from_millis(1500), ..fold::read(folded, "t").profile }
    }

    #[test]
    fn summary_has_the_functions_at_the_top_with_both_shares() {
        let profile = profile("main;parse;copy_[k] 3\nmain;parse 1\n");
        let mut text = Vec::new();
        Found::new(&profile, &Trust { lost_stacks: 2, ..Trust::default() }).text(&mut text, &Style::default()).unwrap();
        let expected = "4 samples in 1.50s, 2 lost; 0.0 % of frames without a name
   self    total  function
 75.0 %   75.0 %  copy  (kernel)
 25.0 %  100.0 %  parse
";
        assert_eq!(String::from_utf8_lossy(&text), expected);
    }

    #[test]
    fn documented_profile_is_what_is_written() {
        let (profile, trust) = (profile("main;parse 23\n"), Trust::default());
        let line = Found::new(&profile, &trust).json().to_string();
        let document = include_str!("../../../docs/json.md");
        assert!(document.lines().any(|text| text == line), "docs/json.md lacks {line}");
    }

    #[test]
    fn nothing_measured_is_one_line() {
        let mut text = Vec::new();
        Found::new(&profile(""), &Trust::default()).text(&mut text, &Style::default()).unwrap();
        assert_eq!(String::from_utf8_lossy(&text), "0 samples in 1.50s, 0 lost; 0.0 % of frames without a name\n");
    }
}
