//! A service map as one page: a drawing and a table, without a script, a font or a picture from elsewhere. Pure text.
//!
//! Peers stand in columns: those that only ask left, whom they ask one further to the right.

use super::draw::{caption, peers};
use super::{Peer, ServiceMap, Traffic};
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: usize = 220;
const HEIGHT: usize = 34;
/// Between columns there is room for what stands at the edges.
const COLUMN: usize = 520;
const ROW: usize = 66;
const MARGIN: usize = 24;
/// What fits into a box, in letters.
const LETTERS: usize = 30;

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:24px;color:#222;background:#fff}\
svg{max-width:100%;height:auto}rect{fill:#eef4fb;stroke:#456}rect.external{fill:#fff;stroke-dasharray:4 3}\
path{fill:none;stroke:#678}path.dropped{stroke:#b00020}text{font:12px system-ui,sans-serif}text.edge{font-size:11px;fill:#444}\
table{border-collapse:collapse;margin-top:24px}td,th{padding:4px 12px;border-bottom:1px solid #ddd;text-align:left}\
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}\
@media (prefers-color-scheme:dark){body{color:#ddd;background:#181818}rect{fill:#233;stroke:#9ab}rect.external{fill:#181818}\
text{fill:#ddd}text.edge{fill:#aaa}td,th{border-color:#444}}";

/// The page.
pub fn page(map: &ServiceMap, title: &str) -> String {
    let title = escaped(title);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n"
    );
    if map.is_empty() {
        text += "<p>no edges</p>\n";
    } else {
        text += &drawing(map);
        text += &table(map);
    }
    text + "</body>\n</html>\n"
}

/// Column and row of every peer.
fn places(map: &ServiceMap) -> BTreeMap<&Peer, (usize, usize)> {
    let peers = peers(map);
    let mut columns: BTreeMap<&Peer, usize> = peers.keys().map(|peer| (*peer, 0)).collect();
    // Where peers ask in a circle, this ends all the same, after as many rounds as there are peers.
    for _ in 0..peers.len().min(12) {
        let mut moved = false;
        for (edge, _) in map.edges().filter(|(edge, _)| edge.client != edge.server) {
            let wanted = columns[&edge.client] + 1;
            let place = columns.entry(&edge.server).or_default();
            if *place < wanted && wanted < peers.len() {
                (*place, moved) = (wanted, true);
            }
        }
        if !moved {
            break;
        }
    }
    // Columns that a circle has emptied are closed.
    let mut used: Vec<usize> = columns.values().copied().collect();
    used.sort_unstable();
    used.dedup();
    let mut filled = vec![0; used.len()];
    columns
        .into_iter()
        .map(|(peer, column)| {
            let column = used.binary_search(&column).unwrap_or(0);
            filled[column] += 1;
            (peer, (column, filled[column] - 1))
        })
        .collect()
}

fn drawing(map: &ServiceMap) -> String {
    let places = places(map);
    let (columns, rows) =
        places.values().fold((0, 0), |(columns, rows), (column, row)| (columns.max(column + 1), rows.max(row + 1)));
    let (width, height) = ((columns - 1) * COLUMN + WIDTH + 2 * MARGIN, rows * ROW + 2 * MARGIN);
    let corner = |(column, row): (usize, usize)| (MARGIN + column * COLUMN, MARGIN + row * ROW);
    let mut text = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n<defs><marker id=\"tip\" \
         viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8\"/>\
         </marker></defs>\n"
    );
    let mut seen: BTreeMap<(&Peer, &Peer), usize> = BTreeMap::new();
    for (edge, traffic) in map.edges() {
        // Edges of one pair bend apart.
        let nth = seen.entry((&edge.client, &edge.server)).or_default();
        let bend = *nth * 18;
        *nth += 1;
        let ((x1, y1), (x2, y2)) = (corner(places[&edge.client]), corner(places[&edge.server]));
        let (middle1, middle2) = (y1 + HEIGHT / 2, y2 + HEIGHT / 2);
        let class = if traffic.dropped > 0 { " class=\"dropped\"" } else { "" };
        let (path, x, y) = if x1 < x2 {
            let (from, half) = (x1 + WIDTH, (x2 - x1 - WIDTH) / 2);
            let path = format!(
                "M{from} {middle1}C{} {} {} {} {x2} {middle2}",
                from + half,
                middle1 + bend,
                x2 - half,
                middle2 + bend
            );
            (path, from + half, (middle1 + middle2) / 2 + bend * 3 / 4)
        } else {
            // Back, or within a column: below the boxes.
            let low = y1.max(y2) + HEIGHT + 14 + bend;
            let (from, to) = (x1 + WIDTH / 2, x2 + WIDTH / 2);
            (format!("M{from} {}C{from} {low} {to} {low} {to} {}", y1 + HEIGHT, y2 + HEIGHT), (from + to) / 2, low)
        };
        let _infallible = write!(
            text,
            "<path{class} d=\"{path}\" marker-end=\"url(#tip)\"/>\n<text class=\"edge\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            y - 5,
            escaped(&caption(edge, traffic))
        );
    }
    for (peer, place) in &places {
        let (x, y) = corner(*place);
        let class = if peer.kind == "external" { " class=\"external\"" } else { "" };
        let (label, shown) = (peer.label(), shortened(&peer.label()));
        let _infallible = write!(
            text,
            "<g><title>{} ({})</title><rect{class} x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text></g>\n",
            escaped(&label),
            escaped(&peer.kind),
            x + WIDTH / 2,
            y + HEIGHT / 2 + 4,
            escaped(&shown)
        );
    }
    text + "</svg>\n"
}

fn shortened(label: &str) -> String {
    let count = label.chars().count();
    if count <= LETTERS {
        return label.to_owned();
    }
    // The end tells more than the beginning.
    let end: String = label.chars().skip(count - LETTERS + 1).collect();
    format!("…{end}")
}

fn table(map: &ServiceMap) -> String {
    let mut text = String::from("<table>\n<tr><th>client</th><th>server</th><th>port</th>");
    for head in ["connections", "events", "dropped", "sent", "received", "retransmits", "latency, ms"] {
        let _infallible = write!(text, "<th class=\"number\">{head}</th>");
    }
    text += "</tr>\n";
    for (edge, traffic) in map.edges() {
        let (client, server) = (escaped(&edge.client.label()), escaped(&edge.server.label()));
        let _infallible =
            write!(text, "<tr><td>{client}</td><td>{server}</td><td>{} {}</td>", escaped(&edge.protocol), edge.port);
        let Traffic { connections, events, dropped, sent, received, retransmits, .. } = *traffic;
        for number in [connections, events, dropped, sent, received, retransmits] {
            let _infallible = write!(text, "<td class=\"number\">{}</td>", crate::report::units::grouped(number));
        }
        let latency = traffic.latency().map_or_else(String::new, |nanos| format!("{:.3}", nanos as f64 / 1e6));
        let _infallible = writeln!(text, "<td class=\"number\">{latency}</td></tr>");
    }
    text + "</table>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
