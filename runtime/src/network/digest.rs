//! Digests: what many flows come to, as tables for people: verdicts, reasons of drops, talkers, edges, latencies. Pure.

use crate::network::drop_reason::DropReason;
use crate::network::dropped;
use crate::network::flow::{Flow, Layer4, TcpFlags, Verdict};
use crate::network::hubble::Response;
use crate::network::life::Life;
use crate::network::service_map::{self, Edge, ServiceMap};
use crate::network::summary::rcode;
use crate::network::time::{Layout, Time};
use crate::report::units;
use hdrhistogram::Histogram;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Takes flows, and tells what they come to.
#[derive(Default)]
pub struct Digest {
    flows: u64,
    lost: u64,
    span: Option<(Time, Time)>,
    verdicts: BTreeMap<&'static str, u64>,
    drops: BTreeMap<(String, String), u64>,
    talkers: BTreeMap<String, Talker>,
    flags: BTreeMap<&'static str, u64>,
    answers: BTreeMap<String, Answers>,
    lives: BTreeMap<Edge, Lives>,
    map: ServiceMap,
}

/// Connections that are over, along one edge.
#[derive(Default)]
struct Lives {
    count: u64,
    sent: u64,
    received: u64,
    retransmits: u64,
    segments: u64,
    /// In nanoseconds, up to an hour.
    round_trips: Option<Histogram<u64>>,
}

#[derive(Clone, Copy, Default)]
struct Talker {
    sent: u64,
    received: u64,
    dropped: u64,
}

struct Answers {
    count: u64,
    /// In nanoseconds, up to an hour; `None`: of none is known how long it took.
    latency: Option<Histogram<u64>>,
}

const HOUR: u64 = 3_600_000_000_000;

impl Digest {
    pub fn count(&mut self, response: &Response) {
        self.lost += response.lost_events.as_ref().map_or(0, |lost| lost.count);
        let Some(flow) = &response.flow else { return };
        self.flows += 1;
        if let Some(time) = flow.time.0 {
            let (first, last) = self.span.unwrap_or((time, time));
            self.span = Some((first.min(time), last.max(time)));
        }
        *self.verdicts.entry(flow.verdict.name()).or_default() += 1;
        let dropped = flow.verdict == Verdict::Dropped;
        if dropped {
            *self.drops.entry(reason(flow)).or_default() += 1;
        }
        for (address, sends) in [(flow.source_address(), true), (flow.destination_address(), false)] {
            let Some(address) = address else { continue };
            let talker = self.talkers.entry(address.to_string()).or_default();
            *(if sends { &mut talker.sent } else { &mut talker.received }) += 1;
            talker.dropped += u64::from(dropped);
        }
        if let Some(Layer4::Tcp(tcp)) = &flow.l4 {
            for (flag, name) in [(TcpFlags::SYN, "opened"), (TcpFlags::FIN, "closed"), (TcpFlags::RST, "reset")] {
                // What is dropped was seen before, or opens nothing.
                let of_client = flag != TcpFlags::SYN || !tcp.flags.has(TcpFlags::ACK) && !dropped;
                *self.flags.entry(name).or_default() += u64::from(tcp.flags.has(flag) && of_client);
            }
        }
        self.answer(flow);
        self.map.count(flow);
    }

    fn answer(&mut self, flow: &Flow) {
        let Some(l7) = flow.l7.as_ref().filter(|_| flow.is_reply.0 == Some(true)) else { return };
        let name = match (&l7.http, &l7.dns) {
            (Some(http), _) => format!("HTTP {}", http.code),
            (None, Some(dns)) => format!("DNS {}", rcode(dns.rcode)),
            (None, None) => return,
        };
        let answers = self.answers.entry(name).or_insert(Answers { count: 0, latency: None });
        answers.count += 1;
        record(&mut answers.latency, l7.latency_ns);
    }

    /// Takes a connection that is over; its packets were counted before.
    pub fn lived(&mut self, life: &Life) {
        let Some(edge) = service_map::edge(&life.flow, false) else { return };
        let lives = self.lives.entry(edge).or_default();
        lives.count += 1;
        lives.sent += life.sent;
        lives.received += life.received;
        lives.retransmits += life.retransmits;
        lives.segments += life.segments;
        record(&mut lives.round_trips, life.round_trip);
    }

    /// Tables with at most `top` rows each; empty ones are left out.
    pub fn text(&self, top: usize) -> String {
        let mut text = format!("{} flows", units::grouped(self.flows));
        if self.lost > 0 {
            text += &format!(", {} events lost", units::grouped(self.lost));
        }
        if let Some((first, last)) = self.span {
            let seconds = (last.0 - first.0) as f64 / 1e9;
            let [from, to] = [first, last].map(|time| time.text(Layout::StampMilli));
            text += &format!(", from {from} to {to} ({seconds:.1} s)");
        }
        text.push('\n');
        let most = |rows: Vec<(u64, Vec<String>)>| most(rows, top);
        let count = |count: u64| units::grouped(count);
        let verdicts = self.verdicts.iter().map(|(name, flows)| (*flows, vec![(*name).to_owned(), count(*flows)]));
        table(&mut text, &["verdict", "flows"], 1, &most(verdicts.collect()));
        let drops = self.drops.iter();
        let drops =
            drops.map(|((reason, kernel), flows)| (*flows, vec![reason.clone(), kernel.clone(), count(*flows)]));
        table(&mut text, &["drops by reason", "of the kernel", "flows"], 2, &most(drops.collect()));
        let talkers = self.talkers.iter().map(|(address, talker)| {
            let Talker { sent, received, dropped } = *talker;
            (sent + received, vec![address.clone(), count(sent), count(received), count(dropped)])
        });
        table(&mut text, &["talkers", "sent", "received", "dropped"], 1, &most(talkers.collect()));
        let edges = self.map.edges().map(|(edge, traffic)| {
            let (client, server) = (edge.client.label(), edge.server.label());
            let port = format!("{} {}", edge.protocol, edge.port);
            let counts = [traffic.events, traffic.connections, traffic.dropped].map(count);
            (traffic.events, [client, server, port].into_iter().chain(counts).collect())
        });
        table(&mut text, &["client", "server", "port", "flows", "connections", "dropped"], 3, &most(edges.collect()));
        let answers = self.answers.iter().map(|(name, answers)| {
            let times = [0.5, 0.99].map(|q| quantile(answers.latency.as_ref(), q));
            (answers.count, [name.clone(), count(answers.count)].into_iter().chain(times).collect())
        });
        table(&mut text, &["answers", "count", "p50", "p99"], 1, &most(answers.collect()));
        let lives = self.lives.iter().map(|(edge, lives)| {
            let place = [edge.client.label(), edge.server.label(), format!("TCP {}", edge.port)];
            let bytes = [lives.sent, lives.received].map(units::bytes);
            let times = [0.5, 0.99].map(|q| quantile(lives.round_trips.as_ref(), q));
            let again = [count(lives.retransmits), share(lives.retransmits, lives.segments)];
            let row = place.into_iter().chain([count(lives.count)]).chain(bytes).chain(again);
            (lives.sent + lives.received, row.chain(times).collect())
        });
        let heads =
            ["client", "server", "port", "ended", "sent", "received", "sent again", "of segments", "RTT p50", "p99"];
        table(&mut text, &heads, 3, &most(lives.collect()));
        if self.flags.values().any(|count| *count > 0) {
            let flags = self.flags.iter().map(|(name, flows)| vec![(*name).to_owned(), count(*flows)]);
            table(&mut text, &["TCP connections", "packets"], 1, &flags.collect::<Vec<_>>());
        }
        text
    }
}

fn record(times: &mut Option<Histogram<u64>>, time: u64) {
    if time > 0 {
        if times.is_none() {
            *times = Histogram::new_with_bounds(1_000, HOUR, 2).ok();
        }
        if let Some(histogram) = times {
            histogram.saturating_record(time);
        }
    }
}

/// In percent; empty where nothing was sent.
fn share(part: u64, all: u64) -> String {
    if all == 0 { String::new() } else { format!("{:.2} %", 100.0 * part as f64 / all as f64) }
}

/// In milliseconds; empty where no time is known.
fn quantile(times: Option<&Histogram<u64>>, q: f64) -> String {
    times.map_or_else(String::new, |one| format!("{:.1} ms", one.value_at_quantile(q) as f64 / 1e6))
}

/// Cilium's reason, and the kernel's own where it is known.
fn reason(flow: &Flow) -> (String, String) {
    let kernel = flow.extension(dropped::REASON).and_then(|reason| reason.as_str()).unwrap_or_default();
    let cilium = flow.drop_reason_desc;
    let own = if cilium == DropReason::NONE { "none of Cilium's".to_owned() } else { cilium.text().into_owned() };
    (own, kernel.to_owned())
}

/// The rows that count most, and one that says how many more there are.
fn most(mut rows: Vec<(u64, Vec<String>)>, top: usize) -> Vec<Vec<String>> {
    rows.sort_by_key(|(count, _)| Reverse(*count));
    let more = rows.len().saturating_sub(top);
    let mut rows: Vec<Vec<String>> = rows.into_iter().take(top).map(|(_, row)| row).collect();
    if more > 0 {
        rows.push(vec![format!("and {} more", units::grouped(more as u64))]);
    }
    rows
}

/// Appends a table whose first columns are text, the others numbers.
fn table(text: &mut String, heads: &[&str], texts: usize, rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let all = || std::iter::once(&heads).chain(rows);
    let width = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..heads.len()).map(|column| width(column).unwrap_or(0)).collect();
    text.push('\n');
    for row in all() {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let width = widths[column];
            let _infallible =
                if column < texts { write!(line, "{gap}{cell:<width$}") } else { write!(line, "{gap}{cell:>width$}") };
        }
        *text += line.trim_end();
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_come_to_tables() {
        let mut digest = Digest::default();
        for line in include_str!("../../../tests/fixtures/hubble/flows.jsonl").lines() {
            digest.count(&Response::parse(line, &mut Vec::new()).expect("it is a line"));
        }
        assert!(digest.text(3).lines().any(|line| line == "and 2 more"));
        let text = digest.text(10);
        for line in [
            "8 flows, 12 events lost, from Nov 21 02:00:00.123 to Nov 21 02:00:08.000 (7.9 s)",
            "verdict     flows",
            "FORWARDED       3",
            "drops by reason            of the kernel  flows",
            "Policy denied by denylist                     1",
            "talkers   sent  received  dropped",
            "10.9.0.2     5         2        2",
            "HTTP 503      1  3.0 ms  3.0 ms",
            "opened                 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert_eq!(Digest::default().text(3), "0 flows\n");
    }

    #[test]
    fn segments_sent_again_are_shown_as_a_share_of_all() {
        use crate::aggregate::column::Value;
        use crate::network::life::life;
        let of = |retransmits, segments| {
            let ip = |last: u8| Value::Bytes([&[0; 10][..], &[0xff, 0xff, 10, 9, 0, last]].concat());
            let values = [
                ("saddr", ip(1)),
                ("daddr", ip(2)),
                ("sport", Value::Int(9000)),
                ("dport", Value::Int(80)),
                ("retransmits", Value::Int(retransmits)),
                ("segments", Value::Int(segments)),
            ];
            life(|name| values.iter().find(|(known, _)| *known == name).map(|(_, value)| value))
        };
        let mut digest = Digest::default();
        [of(2, 101), of(3, 699)].iter().for_each(|life| digest.lived(life));
        let text = digest.text(3);
        let row = text.lines().find(|line| line.contains("TCP 80")).expect("the edge has a row");
        // 5 of 800.
        assert!(row.ends_with("5       0.62 %"), "{text}");
    }
}
