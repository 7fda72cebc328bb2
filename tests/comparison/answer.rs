//! What a tool answers: a number, or a histogram; found in skep's JSON and in the text of the others.

use super::case::Place;
use serde_json::Value;
use skep_tests::Output;

#[derive(Debug)]
pub enum Answer {
    Count(u64),
    /// Lower edges and counts.
    Buckets(Vec<(u64, u64)>),
}

impl Answer {
    pub fn total(&self) -> u64 {
        match self {
            Answer::Count(count) => *count,
            Answer::Buckets(buckets) => buckets.iter().map(|(_, count)| count).sum(),
        }
    }

    /// In another unit: a count, or the edges of a histogram.
    pub fn times(self, scale: u64) -> Answer {
        match self {
            Answer::Count(count) => Answer::Count(count * scale),
            Answer::Buckets(buckets) => {
                Answer::Buckets(buckets.into_iter().map(|(low, count)| (low * scale, count)).collect())
            }
        }
    }

    /// Without the histogram: how many.
    pub fn counted(self) -> Answer {
        Answer::Count(self.total())
    }

    /// Mean of the powers of two that the samples lie in: no bucket at an edge can hide in it. `None`: no histogram.
    pub fn mean_power(&self) -> Option<f64> {
        let Answer::Buckets(buckets) = self else { return None };
        let power = |low: u64| f64::from(low.max(1).ilog2());
        let sum: f64 = buckets.iter().map(|(low, count)| power(*low) * *count as f64).sum();
        Some(sum / self.total().max(1) as f64)
    }
}

/// Words of a line, as `pid` stands in `bash (pid)` and a path in `mount("path", …)`.
fn has(line: &str, wanted: &[String]) -> bool {
    let bare = |word: &str| word.trim_matches(|c| "\"',();".contains(c)).to_owned();
    let words: Vec<String> = line.split_whitespace().map(bare).collect();
    wanted.iter().all(|one| words.contains(one))
}

/// Sum of the numbers in this place of lines whose first word is wanted.
fn column<'a>(lines: impl Iterator<Item = &'a str>, place: usize, wanted: impl Fn(&str) -> bool) -> u64 {
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let lines = lines.filter(|words| words.first().is_some_and(|first| wanted(first)));
    lines.filter_map(|words| words.get(place)?.parse::<u64>().ok()).sum()
}

/// A run of skep that has ended.
pub struct Ours<'a> {
    pub output: Output,
    pub place: &'a Place,
}

impl Ours<'_> {
    /// Columns and what must stand in them, as text.
    fn is(&self, columns: &Value, wanted: &[(&str, &str)]) -> bool {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        wanted.iter().all(|(column, value)| text(&columns[*column]) == self.place.fill(value))
    }

    pub fn events(&self, wanted: &[(&str, &str)]) -> Answer {
        let events = self.output.objects("event");
        Answer::Count(events.iter().filter(|event| self.is(&event["fields"], wanted)).count() as u64)
    }

    pub fn lines(&self, words: &[&str]) -> Answer {
        let words: Vec<String> = words.iter().map(|word| self.place.fill(word)).collect();
        Answer::Count(self.output.texts().iter().filter(|line| has(line, &words)).count() as u64)
    }

    /// Sum of the words in this place of lines that begin with a word.
    pub fn columns_of(&self, first: &str, place: usize) -> Answer {
        let (texts, first) = (self.output.texts(), self.place.fill(first));
        Answer::Count(column(texts.iter().map(String::as_str), place, |word| word == first))
    }

    fn rows(&self, wanted: &[(&str, &str)]) -> Vec<Value> {
        let tables = self.output.objects("table");
        let rows = tables.iter().flat_map(|table| table["rows"].as_array().cloned().unwrap_or_default());
        rows.filter(|row| self.is(&row["key"], wanted)).map(|row| row["value"].clone()).collect()
    }

    /// Sum of the values of rows with this key.
    pub fn values(&self, wanted: &[(&str, &str)]) -> Answer {
        Answer::Count(self.rows(wanted).iter().filter_map(Value::as_u64).sum())
    }

    /// The same of one member of `stats`.
    pub fn stats(&self, wanted: &[(&str, &str)], member: &str) -> Answer {
        Answer::Count(self.rows(wanted).iter().filter_map(|value| value[member].as_u64()).sum())
    }

    pub fn buckets(&self, wanted: &[(&str, &str)]) -> Answer {
        let rows = self.rows(wanted);
        let buckets = rows.iter().flat_map(|value| value["buckets"].as_array().into_iter().flatten());
        let number = |bucket: &Value, name: &str| bucket[name].as_u64().unwrap_or_default();
        Answer::Buckets(buckets.map(|bucket| (number(bucket, "low"), number(bucket, "count"))).collect())
    }
}

/// What another tool printed.
pub struct Said<'a> {
    pub text: String,
    pub place: &'a Place,
}

impl Said<'_> {
    fn with(&self, words: &[&str]) -> impl Iterator<Item = &str> {
        let words: Vec<String> = words.iter().map(|word| self.place.fill(word)).collect();
        self.text.lines().filter(move |line| has(line, &words))
    }

    pub fn lines(&self, words: &[&str]) -> Answer {
        Answer::Count(self.with(words).count() as u64)
    }

    /// Sum of the last words of lines, of those that are numbers.
    pub fn numbers(&self, words: &[&str]) -> Answer {
        let last = |line: &str| line.split_whitespace().last()?.parse::<u64>().ok();
        Answer::Count(self.with(words).filter_map(last).sum())
    }

    /// Sum of the words in this place of all lines.
    pub fn columns(&self, place: usize) -> Answer {
        Answer::Count(column(self.text.lines(), place, |_| true))
    }

    /// Sum of the lines that are nothing but a number.
    pub fn lone_numbers(&self) -> Answer {
        Answer::Count(self.text.lines().filter_map(|line| line.trim().parse::<u64>().ok()).sum())
    }

    /// The histogram below a heading with these words, in either drawing: `[4K, 8K)  29 |@@` and `4 -> 7 : 29 |**`.
    pub fn buckets(&self, heading: &[&str]) -> Answer {
        let words: Vec<String> = heading.iter().map(|word| self.place.fill(word)).collect();
        let below = self.text.lines().skip_while(|line| !has(line, &words)).skip(1);
        let rows = below.map(bucket).skip_while(Option::is_none);
        Answer::Buckets(rows.map_while(|row| row).collect())
    }
}

fn bucket(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = match line.trim_start().strip_prefix('[') {
        Some(line) => line.split_once([']', ')'])?,
        None => line.split_once(" : ").filter(|(range, _)| range.contains("->"))?,
    };
    let low = range.split([',', ' ']).find(|word| !word.is_empty())?;
    let count = rest.split_whitespace().next()?;
    Some((scaled(low)?, count.parse().ok()?))
}

/// `4K` is 4096.
fn scaled(number: &str) -> Option<u64> {
    let digits = number.trim_end_matches(char::is_alphabetic);
    let power = match &number[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    Some(digits.parse::<u64>().ok()? << power)
}

#[test]
fn histograms_of_both_drawings_are_read() {
    let place = Place::default();
    let said = |text: &str| Said { text: text.to_owned(), place: &place };
    let bpftrace = "@[other]: \n[1]   7 |@@|\n\n@[bites]: \n[4K, 8K)             29 |@@@@|\n[8K, 16K)     3 |@|\n\n";
    let Answer::Buckets(found) = said(bpftrace).buckets(&["@[bites]:"]) else { panic!("it is a histogram") };
    assert_eq!(found, [(4096, 29), (8192, 3)]);
    let bcc = "Tracing\n^C\n     usecs               : count    distribution\n         0 -> 1          : 0        |    |\n         2 -> 3          : 23       |****|\n";
    let answer = said(bcc).buckets(&["usecs"]);
    assert_eq!((answer.total(), answer.mean_power()), (23, Some(1.0)));
}
