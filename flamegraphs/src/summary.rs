//! The functions at the top of a profile, for a report on a terminal.

use crate::profile::{Frame, Origin, Profile};
use std::collections::{HashMap, HashSet};

/// What a profile says in a few lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub total: u64,
    /// By the value counted in the function itself, the greatest first.
    pub by_self: Vec<Row>,
    /// By the value counted in it and in all that it called, the greatest first.
    pub by_total: Vec<Row>,
    /// Of all frames, each as often as it was counted, the share without a name: 0.0..=1.0.
    pub unresolved: f64,
}

/// One function.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub origin: Origin,
    pub value: u64,
    /// Of the total: 0.0..=1.0.
    pub share: f64,
}

/// The `most` greatest functions by the values of type number `value`; equal ones in the order of their names. Group
/// frames are no functions. A function that calls itself counts once in each stack.
pub fn of(profile: &Profile, value: usize, most: usize) -> Summary {
    let mut by_self: HashMap<Function, u64> = HashMap::new();
    let mut by_total: HashMap<Function, u64> = HashMap::new();
    let (mut frames, mut nameless) = (0u128, 0u128);
    for stack in &profile.stacks {
        let count = stack.values.get(value).copied().unwrap_or(0);
        if count == 0 {
            continue;
        }
        let mut seen = HashSet::new();
        let code = || stack.frames.iter().filter(|frame| frame.origin != Origin::Group);
        for frame in code() {
            frames += u128::from(count);
            nameless += u128::from(count) * u128::from(frame.unresolved.is_some());
            if seen.insert(function(frame)) {
                *by_total.entry(function(frame)).or_default() += count;
            }
        }
        if let Some(leaf) = code().next_back() {
            *by_self.entry(function(leaf)).or_default() += count;
        }
    }
    let total = profile.total(value);
    Summary {
        total,
        by_self: top(by_self, total, most),
        by_total: top(by_total, total, most),
        unresolved: if frames == 0 { 0.0 } else { nameless as f64 / frames as f64 },
    }
}

type Function<'a> = (&'a str, Origin);

fn function(frame: &Frame) -> Function<'_> {
    (&frame.name, frame.origin)
}

fn top(functions: HashMap<Function<'_>, u64>, total: u64, most: usize) -> Vec<Row> {
    let mut functions: Vec<_> = functions.into_iter().collect();
    functions.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let row = |((name, origin), value): (Function<'_>, u64)| {
        let share = if total == 0 { 0.0 } else { value as f64 / total as f64 };
        Row { name: name.to_owned(), origin, value, share }
    };
    functions.into_iter().take(most).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold;

    #[test]
    fn recursion_counts_once() {
        let profile = fold::read("main;walk;walk;walk 5\nmain;walk;0x12ab 2\nmain 1\n", "t").profile;
        let summary = of(&profile, 0, 2);
        let rows = |rows: &[Row]| rows.iter().map(|row| (row.name.clone(), row.value)).collect::<Vec<_>>();
        assert_eq!(summary.total, 8);
        assert_eq!(rows(&summary.by_self), [("walk".into(), 5), ("0x12ab".into(), 2)]);
        assert_eq!(rows(&summary.by_total), [("main".into(), 8), ("walk".into(), 7)]);
        assert_eq!(summary.by_total[1].share, 7.0 / 8.0);
        // Of 5 times 4 frames, twice 3 and one.
        assert_eq!(summary.unresolved, 2.0 / 27.0);
    }

    #[test]
    fn an_empty_profile_has_no_functions() {
        let summary = of(&Profile::new("t", Vec::new()), 0, 5);
        assert_eq!((summary.total, summary.by_self.len(), summary.unresolved), (0, 0, 0.0));
    }
}
