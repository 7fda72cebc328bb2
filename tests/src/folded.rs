//! What a flame graph says, against what the programs of workloads/flame.* say about themselves.

use crate::Output;
use std::collections::HashMap;

/// A profile as folded text.
#[derive(Debug)]
pub struct Folded(Vec<(Vec<String>, u64)>);

impl Folded {
    #[track_caller]
    pub fn read(path: &str) -> Folded {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("failed to read {path}: {error}"));
        let stack = |line: &str| {
            let (frames, value) = line.rsplit_once(' ')?;
            Some((frames.split(';').map(str::to_owned).collect(), value.parse().ok()?))
        };
        let stacks = text.lines().map(|line| stack(line).unwrap_or_else(|| panic!("no stack: {line}")));
        Folded(stacks.collect())
    }

    pub fn total(&self) -> u64 {
        self.of(|_| true)
    }

    /// What stacks with such a frame hold together.
    pub fn of(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        let holds = |frames: &[String]| frames.iter().any(|frame| wanted(frame));
        self.0.iter().filter(|(frames, _)| holds(frames)).map(|(_, value)| value).sum()
    }

    /// What stacks hold that have all of these frames, the outer one first.
    pub fn path(&self, wanted: &[&str]) -> u64 {
        let holds = |frames: &[String]| {
            let mut frames = frames.iter();
            wanted.iter().all(|name| frames.any(|frame| frame == name))
        };
        self.0.iter().filter(|(frames, _)| holds(frames)).map(|(_, value)| value).sum()
    }
}

/// What a program measured itself: lines of a name and a number.
#[derive(Debug)]
pub struct Accounts(HashMap<String, u64>);

impl Accounts {
    pub fn of(output: &Output) -> Accounts {
        Accounts::read(&output.out)
    }

    pub fn read(text: &str) -> Accounts {
        let account = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Accounts(text.lines().filter_map(account).collect())
    }

    #[track_caller]
    pub fn get(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("the program says nothing about `{name}`: {self:?}"))
    }

    /// Fails unless each part has the share of the graph that it has of the program's total, within `points` hundredths.
    /// `frame` tells a part's frames.
    #[track_caller]
    pub fn assert_shares(&self, folded: &Folded, parts: &[&str], points: f64, frame: impl Fn(&str, &str) -> bool) {
        for part in parts {
            let share = |value: u64, total: u64| 100.0 * value as f64 / total as f64;
            let own = share(self.get(part), self.get("total"));
            let drawn = share(folded.of(|name| frame(part, name)), folded.total());
            println!("{part}: measured {own:.2} %, drawn {drawn:.2} %");
            assert!((own - drawn).abs() <= points, "{part}: measured {own:.2} %, drawn {drawn:.2} %\n{folded:#?}");
        }
    }
}
