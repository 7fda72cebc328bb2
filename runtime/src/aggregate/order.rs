//! Order: rows by their keys, or by one column of them. Pure; no privilege.
//!
//! Numbers, and how texts begin, are laid side by side and compared there; values themselves, which lie apart, only where
//! that does not tell.

use super::column::Value;
use std::cmp::{Ordering, Reverse};

/// Sorts by all columns of the key, the first one first.
pub fn by_key<T>(rows: &mut [T], key: impl Fn(&T) -> &[Value] + Copy) {
    by_columns_from(0, rows, key);
}

/// Sorts by one value; rows that are equal in it stay in their order.
pub fn by_value<T>(rows: &mut [T], value: impl Fn(&T) -> &Value + Copy, descending: bool) {
    let alike = |a: &T, b: &T| value(a).beginning() == value(b).beginning();
    match descending {
        false => rows.sort_by_cached_key(|row| value(row).beginning()),
        true => rows.sort_by_cached_key(|row| Reverse(value(row).beginning())),
    }
    for rows in rows.chunk_by_mut(alike).filter(|rows| rows.len() > 1) {
        rows.sort_by(|a, b| directed(value(a).cmp(value(b)), descending));
    }
}

pub(super) fn directed(order: Ordering, descending: bool) -> Ordering {
    if descending { order.reverse() } else { order }
}

fn by_columns_from<T>(column: usize, rows: &mut [T], key: impl Fn(&T) -> &[Value] + Copy) {
    let [first, _, ..] = rows else { return };
    let left = key(first).len() - column;
    if left > 0 {
        by_value(rows, |row| &key(row)[column], false);
    }
    if left > 1 {
        let equal = |a: &T, b: &T| key(a)[column] == key(b)[column];
        rows.chunk_by_mut(equal).for_each(|rows| by_columns_from(column + 1, rows, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    /// Values of every class, with such as begin alike.
    fn values() -> Vec<Value> {
        let long = |end| text(&format!("/usr/lib/x86_64-linux-gnu/{end}"));
        vec![
            Value::Unsigned(u64::MAX),
            Value::Int(i64::MIN),
            Value::Int(-1),
            Value::Unsigned(7),
            Value::Int(7),
            Value::Float(-1.5),
            Value::Float(2.0),
            text(""),
            text("a"),
            text("a\0"),
            text("b"),
            text("é"),
            long("libc.so.6"),
            long("libm.so.6"),
            Value::Bytes(vec![0]),
            Value::Bytes(vec![0, 0]),
            Value::Bytes(vec![255; 16]),
            Value::Stack([].into()),
        ]
    }

    #[test]
    fn what_begins_lower_is_lower() {
        for (a, b) in values().iter().flat_map(|a| values().into_iter().map(move |b| (a.clone(), b))) {
            let beginnings = a.beginning().cmp(&b.beginning());
            assert!(beginnings.is_eq() || beginnings == a.cmp(&b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn keys_are_sorted_as_their_values_are_compared() {
        let mut keys: Vec<[Value; 2]> = Vec::new();
        for first in values().into_iter().rev() {
            keys.extend(values().into_iter().rev().map(|second| [first.clone(), second]));
        }
        let mut expected = keys.clone();
        expected.sort();
        by_key(&mut keys, |key| key);
        assert_eq!(keys, expected);
    }

    #[test]
    fn rows_that_are_equal_in_a_value_stay_in_their_order() {
        let rows = [(7, 1), (9, 2), (7, 3), (8, 4)].map(|(value, place)| (Value::Int(value), place));
        let places = |descending| {
            let mut rows = rows.clone();
            by_value(&mut rows, |(value, _)| value, descending);
            rows.map(|(_, place)| place)
        };
        assert_eq!((places(false), places(true)), ([1, 3, 4, 2], [2, 4, 1, 3]));
    }
}
