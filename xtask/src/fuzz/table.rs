//! Totals of a run, for people and for docs/fuzzing.md.

use super::target::Outcome;
use std::fmt::Write;

const HEAD: &str = "| target | executions | a second | edges | corpus | findings |\n|---|---:|---:|---:|---:|---:|\n";

/// A row for each target, and one for all.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = HEAD.to_owned();
    let mut sum = Outcome { name: format!("{} targets", outcomes.len()), ..Outcome::default() };
    for one in outcomes {
        sum.executions += one.executions;
        sum.edges = sum.edges.max(one.edges);
        sum.corpus = (sum.corpus.0 + one.corpus.0, sum.corpus.1 + one.corpus.1);
        sum.took += one.took;
        text += &row(one, usize::from(one.finding.is_some()));
    }
    text += &row(&sum, outcomes.iter().filter(|one| one.finding.is_some()).count());
    text
}

fn row(of: &Outcome, findings: usize) -> String {
    let speed = of.executions as f64 / of.took.as_secs_f64().max(0.001);
    let corpus = format!("{} files, {} KiB", of.corpus.0, of.corpus.1.div_ceil(1024));
    format!("| {} | {} | {speed:.0} | {} | {corpus} | {findings} |\n", of.name, of.executions, of.edges)
}

/// The document with the new table, and the sentence in front of it, in place of those that it has.
pub fn write_into(document: &str, sentence: &str, table: &str) -> Option<String> {
    let mut text = String::new();
    let (mut lines, mut found) = (document.lines().peekable(), false);
    while let Some(line) = lines.next() {
        if line.starts_with("Run of ") {
            let _infallible = writeln!(text, "{sentence}");
        } else if HEAD.starts_with(line) && !line.is_empty() && !found {
            found = true;
            while lines.next_if(|line| line.starts_with('|')).is_some() {}
            text += table;
        } else {
            let _infallible = writeln!(text, "{line}");
        }
    }
    found.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::target::Finding;
    use std::time::Duration;

    fn outcomes() -> [Outcome; 2] {
        let (took, corpus) = (Duration::from_secs(2), (3, 1025));
        let finding = Some(Finding { what: "a".into(), input: None, log: "b".into() });
        let one = Outcome { name: "btf".into(), executions: 46, edges: 7, corpus, took, finding: None };
        [one.clone(), Outcome { name: "words".into(), executions: 0, finding, ..one }]
    }

    #[test]
    fn table_ends_with_the_sum_of_all() {
        let rows = "| btf | 46 | 23 | 7 | 3 files, 2 KiB | 0 |\n| words | 0 | 0 | 7 | 3 files, 2 KiB | 1 |\n\
                    | 2 targets | 46 | 12 | 7 | 6 files, 3 KiB | 1 |\n";
        assert_eq!(table(&outcomes()), format!("{HEAD}{rows}"));
    }

    #[test]
    fn table_of_a_document_is_replaced_and_the_rest_stays() {
        let document = format!("# a\n\nRun of old:\n\n{HEAD}| x | 1 |\n\nrest | of it\n");
        let new = write_into(&document, "Run of now:", "T\n").expect("it has a table");
        assert_eq!(new, "# a\n\nRun of now:\n\nT\n\nrest | of it\n");
        assert_eq!(write_into("# a\n", "", ""), None);
    }
}
