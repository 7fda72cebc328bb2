//! JSON: one object a line, described in `docs/json.md`. Every object has a version and a type.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Number, Value as Json, json};

use super::units::{self, Shown, may_act};
use crate::aggregate::column::{ColumnType, Names, Show, Value};
use crate::aggregate::histogram::{Bucket, Histogram};
use crate::aggregate::{Measure, Row, Spec, Table};

/// The version of the format. It grows when a program that reads the format could break, see `docs/json.md`.
pub const VERSION: u64 = 1;

/// Writes an object as one line.
///
/// # Errors
/// Those of `out`.
pub fn line(out: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(object)?;
    out.write_all(spelled(&text).as_bytes())?;
    out.write_all(b"\n")
}

/// JSON as it may go to a terminal too: what one acts on stands in it as `\u009b`. Texts alone hold such signs, but for the
/// ends of lines.
pub fn spelled(json: &str) -> Cow<'_, str> {
    let acts = |c: char| may_act(c) && c != '\n';
    // Most are plain, which is quickly seen.
    if json.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) || !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match acts(c) {
            false => out.push(c),
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out += &format!("\\u{unit:04x}")),
        }
    }
    Cow::Owned(out)
}

/// One aggregation.
pub fn table(table: &Table, names: &dyn Names) -> Json {
    // Its keys are texts, which nothing refuses.
    serde_json::to_value(table_at(table, names, None)).unwrap_or_default()
}

/// The same, of an interval that ended then, to be written: its rows, which may be a million, are never held as JSON.
pub fn table_at<'a>(table: &'a Table, names: &'a dyn Names, at: Option<&'a str>) -> Whole<'a> {
    Whole { table, names, at }
}

pub struct Whole<'a> {
    table: &'a Table,
    names: &'a dyn Names,
    at: Option<&'a str>,
}

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Whole { table, at, .. } = self;
        let (spec, mut all) = (&table.spec, serializer.serialize_map(None)?);
        all.serialize_entry("v", &VERSION)?;
        all.serialize_entry("type", "table")?;
        if let Some(at) = at {
            all.serialize_entry("at", at)?;
        }
        all.serialize_entry("name", &spec.name)?;
        all.serialize_entry("kind", spec.kind.name())?;
        all.serialize_entry("unit", &spec.unit)?;
        all.serialize_entry("key", &spec.key.iter().map(|column| &*column.name).collect::<Vec<_>>())?;
        all.serialize_entry("rows", &Rows(self))?;
        if let Some(estimates) = table.estimates {
            all.serialize_entry("lack", &number(estimates.lack))?;
            all.serialize_entry("rest", &number(estimates.rest))?;
            all.serialize_entry("total", &number(estimates.total))?;
        }
        all.end()
    }
}

struct Rows<'a>(&'a Whole<'a>);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Whole { table, names, .. } = *self.0;
        serializer.collect_seq(table.rows().iter().map(|row| Line { row, spec: &table.spec, names }))
    }
}

struct Line<'a> {
    row: &'a Row,
    spec: &'a Spec,
    names: &'a dyn Names,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(Some(2))?;
        line.serialize_entry("key", &Key(self))?;
        line.serialize_entry("value", &measure(&self.row.value, self.spec.show))?;
        line.end()
    }
}

struct Key<'a>(&'a Line<'a>);

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Line { row, spec, names } = *self.0;
        let named_before = |n: usize| spec.key[..n].iter().any(|column| column.name == spec.key[n].name);
        if (1..spec.key.len()).any(named_before) {
            return fields(&spec.key, &row.key, names).serialize(serializer);
        }
        let fields = row.key.iter().zip(&spec.key);
        serializer.collect_map(fields.map(|(field, column)| (&column.name, value(field, column, names))))
    }
}

/// One event of a stream; `probe` is the attach point that it comes from, where the script asks for it.
pub fn event(probe: Option<&str>, columns: &[ColumnType], values: &[Value], names: &dyn Names) -> Json {
    let mut object = object("event");
    if let Some(probe) = probe {
        object.insert("probe".into(), probe.into());
    }
    object.insert("fields".into(), fields(columns, values, names));
    object.into()
}

/// How complete the result is: counts such as `seen` and `lost`, by name.
pub fn trust<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>) -> Json {
    let mut object = object("trust");
    object.extend(counts.into_iter().map(|(name, count)| (name.into(), count.into())));
    object.into()
}

/// What the script printed.
pub fn text(text: &str) -> Json {
    let mut object = object("text");
    object.insert("text".into(), text.into());
    object.into()
}

/// What is said of the run itself, where standard error is not read: on the line of a front end.
pub fn note(text: &str) -> Json {
    let mut object = object("note");
    object.insert("text".into(), text.into());
    object.into()
}

fn object(kind: &str) -> Map<String, Json> {
    Map::from_iter([("v".into(), VERSION.into()), ("type".into(), kind.into())])
}

fn fields(columns: &[ColumnType], values: &[Value], names: &dyn Names) -> Json {
    let fields = columns.iter().zip(values);
    Json::Object(fields.map(|(column, field)| (column.name.clone(), value(field, column, names))).collect())
}

/// One value: a number, the text of a name, an address or bytes, or the functions of a call chain.
fn value(value: &Value, column: &ColumnType, names: &dyn Names) -> Json {
    if let Value::Stack(frames) = value {
        return frames.iter().map(|frame| frame.name.as_str()).collect();
    }
    match units::show(value, Some(column), names) {
        Shown::Integer(integer) => number(integer),
        Shown::Float(float) => float.into(),
        Shown::Text(text) => text.into(),
    }
}

fn measure(measure: &Measure, show: Show) -> Json {
    // A sum of addresses is none.
    let sample = |value: i128| match (show, u64::try_from(value)) {
        (Show::Hex, Ok(address)) => format!("0x{address:x}").into(),
        _ => number(value),
    };
    let mean = measure.mean();
    match measure {
        Measure::Count(n) => (*n).into(),
        Measure::Sum(value) => number(*value),
        Measure::Min(value) | Measure::Max(value) => sample(*value),
        Measure::Avg { n, sum } => json!({ "n": n, "sum": number(*sum), "avg": mean }),
        Measure::Stats { n, sum, min, max } => {
            json!({ "n": n, "sum": number(*sum), "avg": mean, "min": sample(*min), "max": sample(*max) })
        }
        Measure::Histogram(histogram) => buckets(histogram),
    }
}

/// The buckets of a histogram, with what follows from them.
pub fn buckets(histogram: &Histogram) -> Json {
    let edge = |edge: Option<i128>| edge.map_or(Json::Null, number);
    let row = |row: Bucket| json!({ "low": edge(row.low), "high": edge(row.high), "count": row.count });
    let rows: Json = histogram.rows().filter(|row| row.count > 0).map(row).collect();
    let [p50, p90, p99, p999] = histogram.quantiles([0.5, 0.9, 0.99, 0.999]).map(edge);
    json!({
        "buckets": rows, "n": histogram.count(), "mean": histogram.mean(),
        "p50": p50, "p90": p90, "p99": p99, "p999": p999,
    })
}

/// A JSON number with all its digits; beyond 64 bits, where only a sum can get, the nearest float.
fn number(value: i128) -> Json {
    Number::from_i128(value).map_or_else(|| (value as f64).into(), Json::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Kind;
    use crate::aggregate::column::{BytesShow, ColumnKind, NoNames, Show};

    const DOCUMENT: &str = include_str!("../../../docs/json.md");
    const COMM: ColumnKind = ColumnKind::Text { size: 4 };
    const BYTES: ColumnKind = ColumnKind::Bytes { size: 2, show: BytesShow::Hex };

    fn rows(kind: Kind, unsigned: bool, key: &[u8], cells: &[u64]) -> String {
        let mut spec = Spec::new("x", kind, Vec::new());
        (spec.unsigned, spec.unit) = (unsigned, Some("ns".into()));
        let mut out = Vec::new();
        line(&mut out, &table(&Table::from_entries(spec, [(key, cells)]), &NoNames)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let head =
            format!(r#"{{"v":1,"type":"table","name":"x","kind":"{}","unit":"ns","key":[],"rows":["#, kind.name());
        text.strip_prefix(&head).and_then(|rest| rest.strip_suffix("]}\n")).unwrap().into()
    }

    #[test]
    fn values_have_the_shape_of_their_kind() {
        assert_eq!(rows(Kind::Count, false, &[], &[23]), r#"{"key":{},"value":23}"#);
        assert_eq!(rows(Kind::Avg, false, &[], &[2, 5]), r#"{"key":{},"value":{"n":2,"sum":5,"avg":2.5}}"#);
        let stats = rows(Kind::Stats, false, &[], &[2, 5, 1, 4]);
        assert_eq!(stats, r#"{"key":{},"value":{"n":2,"sum":5,"avg":2.5,"min":1,"max":4}}"#);
    }

    #[test]
    fn histogram_lists_the_buckets_that_are_not_empty() {
        let hist = rows(Kind::Hist, false, &8u32.to_ne_bytes(), &[2, 200]);
        let expected = r#"{"buckets":[{"low":64,"high":127,"count":2}],"n":2,"mean":100.0,"p50":127,"p90":127,"p99":127,"p999":127}"#;
        assert!(DOCUMENT.contains(expected));
        assert_eq!(hist, format!(r#"{{"key":{{}},"value":{expected}}}"#));
        let open = rows(Kind::LHist { min: 0, max: 10, step: 10 }, false, &2u32.to_ne_bytes(), &[1, 99]);
        assert!(open.contains(r#"{"low":10,"high":null,"count":1}"#) && open.contains(r#""p50":99,"#), "{open}");
    }

    #[test]
    fn large_unsigned_numbers_keep_their_digits() {
        assert!(rows(Kind::Max, true, &[], &[1, u64::MAX]).contains(r#""value":18446744073709551615}"#));
        assert!(rows(Kind::Sum, true, &[], &[u64::MAX; 2]).contains(r#""value":3.6893488147419103e+19}"#));
    }

    /// The examples of `docs/json.md`, which stand there one a line.
    fn documented(object: &Json) {
        let line = object.to_string();
        assert!(DOCUMENT.lines().any(|text| text == line), "docs/json.md lacks {line}");
    }

    #[test]
    fn documented_table_is_what_is_written() {
        let pid = ColumnType::new("pid", ColumnKind::int(4, false, Show::Decimal));
        let spec = Spec::new("bytes", Kind::Count, vec![ColumnType::new("comm", COMM), pid]);
        let key = [*b"bash", [0; 4], 18644u32.to_ne_bytes()].concat();
        documented(&table(&Table::from_entries(spec, [(key, [11, 12])]), &NoNames));
    }

    #[test]
    fn of_columns_with_one_name_the_last_is_written() {
        let pid = || ColumnType::new("pid", ColumnKind::int(4, false, Show::Decimal));
        let spec = Spec::new("", Kind::Count, vec![pid(), ColumnType::new("comm", COMM), pid()]);
        let key = [&7u32.to_ne_bytes()[..], &[0; 4], b"bash", &[0; 4], &9u32.to_ne_bytes()].concat();
        let table = Table::from_entries(spec, [(key, [23])]);
        let written = serde_json::to_string(&table_at(&table, &NoNames, Some("now"))).unwrap();
        assert!(written.ends_with(r#""rows":[{"key":{"pid":9,"comm":"bash"},"value":23}]}"#), "{written}");
        assert!(written.contains(r#""type":"table","at":"now","name":"""#), "{written}");
    }

    #[test]
    fn documented_event_is_what_is_written() {
        let columns = [
            ColumnType::new("pid", ColumnKind::int(4, false, Show::Decimal)),
            ColumnType::new("addr", ColumnKind::int(8, false, Show::Hex)),
            ColumnType::new("comm", COMM),
            ColumnType::new("digest", BYTES),
        ];
        let [comm, digest] = [Value::Text("cat".into()), Value::Bytes(vec![1, 0xab])];
        let values = [Value::Int(7), Value::Unsigned(0xffff_8880), comm, digest];
        documented(&event(Some("kprobe:vfs_read"), &columns, &values, &NoNames));
    }

    #[test]
    fn documented_trust_and_text_are_what_is_written() {
        documented(&trust([("seen", 1861), ("filtered", 0), ("counted", 1861), ("lost", 0)]));
        documented(&text("p99 52000 us"));
    }

    #[test]
    fn control_characters_are_json_escapes() {
        let mut out = Vec::new();
        line(&mut out, &text("a\x1b\u{9b}2J\u{202e}\u{e0041}\n日")).expect("a vector takes everything");
        let out = String::from_utf8(out).expect("it is text");
        assert!(out.ends_with("\"text\":\"a\\u001b\\u009b2J\\u202e\\udb40\\udc41\\n日\"}\n"), "{out}");
        let read: Json = serde_json::from_str(&out).expect("it is JSON");
        assert_eq!(read["text"], "a\x1b\u{9b}2J\u{202e}\u{e0041}\n日");
    }
}
