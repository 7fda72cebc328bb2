//! Fields of a policy's rules: values of a script, as a file would have them.

use super::arguments;
use crate::diagnostic::Diagnostic;
use crate::policy::yaml::{Key, Node, Value};
use rhai::{Array, Dynamic, INT, ImmutableString, Map, NativeCallContext};
use std::ops::{Range, RangeInclusive};

/// A value of a script as a file would have it.
///
/// # Errors
/// A script diagnostic: nothing that a file could hold.
pub fn node(what: &str, value: &Dynamic, context: &NativeCallContext) -> Result<Node, Diagnostic> {
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Ok(text.as_str().into());
    }
    if let Some(map) = value.read_lock::<Map>() {
        return map.iter().map(|(key, value)| Ok((key.as_str(), node(key, value, context)?))).collect();
    }
    if let Some(items) = value.read_lock::<Array>() {
        return Ok(items.iter().map(|item| node(what, item, context)).collect::<Result<Vec<Node>, _>>()?.into());
    }
    if let Some(range) = value.read_lock::<RangeInclusive<INT>>() {
        return Ok(format!("{}-{}", range.start(), range.end()).as_str().into());
    }
    if let Some(range) = value.read_lock::<Range<INT>>() {
        return Ok(format!("{}-{}", range.start, range.end - 1).as_str().into());
    }
    match (value.as_int(), value.as_bool(), value.is_unit()) {
        (Ok(number), ..) => Ok(number.into()),
        (_, Ok(truth), _) => Ok(truth.into()),
        (.., true) => Ok(Node { position: None, value: Value::Null }),
        _ => {
            let is = arguments::in_words(context.engine().map_type_name(value.type_name()));
            Err(Diagnostic::script(format!("`{what}` cannot hold {is}")).span(what))
        }
    }
}

/// What a rule without a name is called: what it says, `deny 10.0.0.0/8 tcp/22`.
pub fn described(action: &str, entries: &[(Key, Node)]) -> String {
    let of = |key: &str| entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| listed(node));
    let services = match (of("proto"), of("port").or(of("dport")).or(of("icmp_type"))) {
        (Some(protocol), Some(ports)) => Some(format!("{protocol}/{ports}")),
        (protocol, _) => protocol,
    };
    let words = [of("src").or(of("dst")), services, of("direction")];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { format!("{action} all") } else { format!("{action} {}", words.join(" ")) }
}

/// Values, the first few of them.
fn listed(node: &Node) -> String {
    const SHOWN: usize = 3;
    let items = node.one_or_more();
    let text = |item: &Node| match &item.value {
        Value::Scalar { text, .. } => text.clone(),
        _ => "selected".to_owned(),
    };
    let shown: Vec<String> = items.iter().take(SHOWN).map(text).collect();
    let more = items.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} and {more} more", shown.join(",")) } else { shown.join(",") }
}
