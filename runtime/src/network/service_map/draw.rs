//! Drawings of a service map: Graphviz and Mermaid. Pure text.

use super::{Edge, Peer, ServiceMap, Traffic};
use crate::report::units;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What stands at an edge: `TCP 80 · 23 connections · 3 dropped · 1.2 ms`.
pub fn caption(edge: &Edge, traffic: &Traffic) -> String {
    let mut parts = vec![format!("{} {}", edge.protocol, edge.port)];
    let mut count = |count: u64, one: &str, many: &str| {
        if count > 0 {
            parts.push(format!("{} {}", units::grouped(count), if count == 1 { one } else { many }));
        }
    };
    count(traffic.connections, "connection", "connections");
    if traffic.connections == 0 {
        count(traffic.events, "event", "events");
    }
    count(traffic.sent + traffic.received, "byte", "bytes");
    count(traffic.retransmits, "retransmit", "retransmits");
    count(traffic.dropped, "dropped", "dropped");
    if let Some(latency) = traffic.latency() {
        parts.push(format!("{:.1} ms", latency as f64 / 1e6));
    }
    parts.join(" · ")
}

/// Ends of the map's edges, with a number each.
pub fn peers(map: &ServiceMap) -> BTreeMap<&Peer, usize> {
    let mut peers: BTreeMap<&Peer, usize> = BTreeMap::new();
    for (edge, _) in map.edges() {
        for peer in [&edge.client, &edge.server] {
            let next = peers.len();
            peers.entry(peer).or_insert(next);
        }
    }
    peers
}

/// A drawing in Graphviz' language: `dot -Tsvg`.
pub fn dot(map: &ServiceMap) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
    let mut text = String::from("digraph services {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    let mut line = |line: String| {
        let _infallible = writeln!(text, "  {line}");
    };
    let peers = peers(map);
    for (peer, number) in &peers {
        let dashed = if peer.kind == "external" { ", style=\"rounded,dashed\"" } else { "" };
        line(format!("n{number} [label={}{dashed}];", quoted(&peer.label())));
    }
    for (edge, traffic) in map.edges() {
        let red = if traffic.dropped > 0 { ", color=red" } else { "" };
        let (from, to) = (peers[&edge.client], peers[&edge.server]);
        line(format!("n{from} -> n{to} [label={}{red}];", quoted(&caption(edge, traffic))));
    }
    text + "}\n"
}

/// A drawing in Mermaid's language, for Markdown.
pub fn mermaid(map: &ServiceMap) -> String {
    // Signs of its own become entities.
    let quoted = |text: &str| {
        let signs = text.chars().map(|sign| match sign {
            '"' | '#' | '<' | '>' | '&' | '|' | '[' | ']' | '\\' | '`' => format!("#{};", u32::from(sign)),
            sign if sign.is_control() => " ".to_owned(),
            sign => sign.to_string(),
        });
        format!("\"{}\"", signs.collect::<String>())
    };
    let mut text = String::from("flowchart LR\n");
    let peers = peers(map);
    for (peer, number) in &peers {
        let label = quoted(&peer.label());
        let (open, close) = if peer.kind == "external" { ("([", "])") } else { ("[", "]") };
        let _infallible = writeln!(text, "  n{number}{open}{label}{close}");
    }
    for (edge, traffic) in map.edges() {
        let (from, to) = (peers[&edge.client], peers[&edge.server]);
        let arrow = if traffic.dropped > 0 { "-.->" } else { "-->" };
        let _infallible = writeln!(text, "  n{from} {arrow}|{}| n{to}", quoted(&caption(edge, traffic)));
    }
    text
}
