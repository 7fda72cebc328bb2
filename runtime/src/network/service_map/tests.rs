use super::*;
use crate::network::hubble::Response;

fn peer(name: &str, namespace: &str, kind: &str) -> Peer {
    Peer { name: name.into(), namespace: namespace.into(), kind: kind.into(), owner: String::new() }
}

fn map() -> ServiceMap {
    let mut map = ServiceMap::default();
    let edge = |client: Peer, server: Peer, port| Edge { client, server, protocol: "TCP".into(), port };
    let (web, db, world) =
        (peer("web-0", "shop", "Pod"), peer("db", "shop", "Service"), peer("192.0.2.1", "", "external"));
    let traffic = Traffic {
        connections: 23,
        sent: 4096,
        received: 1 << 20,
        retransmits: 1,
        answers: 2,
        latency_ns: 3_000_000,
        open: 1,
        ..Traffic::default()
    };
    map.add(edge(world.clone(), web.clone(), 443), &Traffic { events: 7, dropped: 2, ..Traffic::default() });
    map.add(edge(web.clone(), db, 5432), &traffic);
    map.add(edge(web, peer("x\"<b>", "", "external"), 80), &Traffic { connections: 1, ..Traffic::default() });
    map
}

#[test]
fn flows_become_edges_from_clients_to_servers() {
    let mut map = ServiceMap::default();
    for line in include_str!("../../../../tests/fixtures/hubble/flows.jsonl").lines() {
        let response = Response::parse(line, &mut Vec::new()).expect("it is a line");
        response.flow.iter().for_each(|flow| map.count(flow));
    }
    let edges: Vec<String> = map
        .edges()
        .map(|(edge, traffic)| {
            format!("{} -> {}: {}", edge.client.label(), edge.server.label(), draw::caption(edge, traffic))
        })
        .collect();
    assert_eq!(
        edges,
        [
            "10.9.0.2 -> 10.9.0.3: UDP 53 · 1 event · 1 dropped",
            "10.9.0.2 -> dns.example: UDP 53 · 1 event",
            "10.9.0.2 -> shop/web: TCP 443 · 1 connection",
            "10.9.0.2 -> shop/web: TCP 80 · 1 event",
            "10.9.0.2 -> shop/web-0: TCP 80 · 1 event · 3.0 ms",
            "client -> web: TCP 80 · 1 event · 1 dropped",
            "client -> shop/web-0: TCP 80 · 1 event",
        ]
        .map(str::to_owned)
    );
}

#[test]
fn drawings_are_graphviz_and_mermaid() {
    assert_eq!(
        draw::dot(&map()),
        "digraph services {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n  n0 [label=\"192.0.2.1\", \
         style=\"rounded,dashed\"];\n  n2 [label=\"shop/db\"];\n  n1 [label=\"shop/web-0\"];\n  n3 [label=\"x\\\"<b>\", \
         style=\"rounded,dashed\"];\n  n0 -> n1 [label=\"TCP 443 · 7 events · 2 dropped\", color=red];\n  n1 -> n2 \
         [label=\"TCP 5432 · 23 connections · 1,052,672 bytes · 1 retransmit · 1.5 ms\"];\n  n1 -> n3 [label=\"TCP 80 · 1 \
         connection\"];\n}\n"
    );
    assert_eq!(
        draw::mermaid(&map()),
        "flowchart LR\n  n0([\"192.0.2.1\"])\n  n2[\"shop/db\"]\n  n1[\"shop/web-0\"]\n  n3([\"x#34;#60;b#62;\"])\n  n0 \
         -.->|\"TCP 443 · 7 events · 2 dropped\"| n1\n  n1 -->|\"TCP 5432 · 23 connections · 1,052,672 bytes · 1 retransmit \
         · 1.5 ms\"| n2\n  n1 -->|\"TCP 80 · 1 connection\"| n3\n"
    );
}

#[test]
fn page_holds_everything_and_loads_nothing() {
    let page = html::page(&map(), "a <map>");
    for part in
        ["<title>a &lt;map&gt;</title>", "x&quot;&lt;b&gt;", "class=\"dropped\"", "<td class=\"number\">23</td>"]
    {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("http") && !page.contains("<script"), "{page}");
    assert!(html::page(&ServiceMap::default(), "none").contains("no edges"));
    // Who asks in a circle.
    let mut circle = ServiceMap::default();
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "a")] {
        let [client, server] = [from, to].map(|name| peer(name, "", "Pod"));
        circle.add(Edge { client, server, protocol: "TCP".into(), port: 1 }, &Traffic::default());
    }
    assert_eq!(html::page(&circle, "circle").matches("marker-end").count(), 4);
}

#[test]
fn gauges_are_carettas() {
    let text = caretta::metrics(&map());
    let (link, client, server) = ("2827968455", "3332637984", "2597824175");
    let line = text.lines().find(|line| line.contains("server_port=\"5432\"")).expect("the edge is there");
    assert!(line.starts_with("caretta_links_observed{link_id=\""), "{line}");
    assert!(line.ends_with("server_kind=\"Service\",server_port=\"5432\",role=\"1\"} 4096"), "{line}");
    let id =
        |key: &str| line.split(&format!("{key}=\"")).nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    assert_eq!(
        [id("link_id"), id("client_id"), id("server_id")].map(Option::unwrap_or_default),
        [link, client, server]
    );
    assert!(text.contains("caretta_tcp_states{") && text.lines().any(|line| line.ends_with("role=\"1\"} 3")), "{text}");
}
