use super::*;
use crate::network::flow::{EventType, Interface, Ip, Layer4, Tcp};
use crate::network::message::{Text, Wrapped};

/// The flow of Hubble's own tests of its printer.
fn flow() -> Flow {
    let address = |text: &str| Text(text.parse().ok());
    let endpoint = |identity| Some(Arc::new(Endpoint { identity, ..Endpoint::default() }));
    Flow {
        time: Text(Some(Time(1_234_567_800_000))),
        node_name: "k8s1".into(),
        verdict: Verdict::Dropped,
        ip: Some(Ip { source: address("1.1.1.1"), destination: address("2.2.2.2"), ..Ip::default() }),
        source: endpoint(4),
        destination: endpoint(12345),
        l4: Some(Layer4::Tcp(Tcp { source_port: 31793, destination_port: 8080, ..Tcp::default() })),
        event_type: Some(EventType { kind: event::DROP, sub_kind: 133 }),
        summary: "TCP Flags: SYN".into(),
        is_reply: Wrapped(Some(false)),
        interface: Some(Interface::default()),
        ..Flow::default()
    }
}

fn printed(flow: Flow, options: Options) -> String {
    let mut printer = Printer::new(options);
    printer.print(&flow.into()) + printer.end().as_str()
}

#[test]
fn compact_lines_are_hubbles() {
    let node = || Options { node_name: true, ..Options::default() };
    assert_eq!(
        printed(flow(), Options::default()),
        "Jan  1 00:20:34.567: 1.1.1.1:31793 (health) -> 2.2.2.2:8080 (ID:12345) Policy denied DROPPED (TCP Flags: SYN)\n"
    );
    assert_eq!(
        printed(Flow { is_reply: Wrapped(Some(true)), ..flow() }, node()),
        "Jan  1 00:20:34.567 [k8s1]: 2.2.2.2:8080 (ID:12345) <- 1.1.1.1:31793 (health) Policy denied DROPPED (TCP Flags: SYN)\n"
    );
    let verdict = Flow {
        is_reply: Wrapped(None),
        event_type: Some(EventType { kind: event::POLICY_VERDICT, sub_kind: 0 }),
        traffic_direction: crate::network::flow::Direction::Egress,
        ..flow()
    };
    assert_eq!(
        printed(verdict, node()),
        "Jan  1 00:20:34.567 [k8s1]: 1.1.1.1:31793 (health) <> 2.2.2.2:8080 (ID:12345) policy-verdict:none EGRESS DENIED (TCP Flags: SYN)\n"
    );
    assert_eq!(
        printed(flow(), Options { colour: true, ..Options::default() }),
        "Jan  1 00:20:34.567: \x1b[36m1.1.1.1:\x1b[33m31793\x1b[0m\x1b[0m \x1b[35m(health)\x1b[0m -> \
         \x1b[36m2.2.2.2:\x1b[33m8080\x1b[0m\x1b[0m \x1b[35m(ID:12345)\x1b[0m Policy denied \x1b[31mDROPPED\x1b[0m (TCP Flags: SYN)\n"
    );
}

#[test]
fn dict_and_table_are_hubbles() {
    let options = |form| Options { form, node_name: true, ..Options::default() };
    assert_eq!(
        printed(flow(), options(Form::Dict)),
        "  TIMESTAMP: Jan  1 00:20:34.567\n       NODE: k8s1\n     SOURCE: 1.1.1.1:31793\nDESTINATION: 2.2.2.2:8080\n       \
         TYPE: Policy denied\n    VERDICT: DROPPED\n    SUMMARY: TCP Flags: SYN\n"
    );
    assert_eq!(
        printed(flow(), options(Form::Table)),
        "TIMESTAMP             NODE   SOURCE          DESTINATION    TYPE            VERDICT   SUMMARY\n\
         Jan  1 00:20:34.567   k8s1   1.1.1.1:31793   2.2.2.2:8080   Policy denied   DROPPED   TCP Flags: SYN\n"
    );
}

#[test]
fn names_stand_for_addresses_unless_numbers_are_asked_for() {
    let endpoint = Endpoint { namespace: "shop".into(), pod_name: "web-0".into(), ..Endpoint::default() };
    let mut named = Flow { source: Some(Arc::new(endpoint)), ..flow() };
    named.destination_names = vec!["a.example".into(), "b.example".into()];
    let shown = printed(named.clone(), Options::default());
    assert!(shown.contains("shop/web-0:31793 (unknown) -> a.example,b.example:8080 (ID:12345)"), "{shown}");
    let shown = printed(named.clone(), Options { translate: false, ..Options::default() });
    assert!(shown.contains("1.1.1.1:31793"), "{shown}");
    named.destination_service = Some(Service { name: "web".into(), namespace: "shop".into() });
    assert!(printed(named.clone(), Options::default()).contains("shop/web:8080"));
    let v6 = Ip { source: Text("fd00::2".parse().ok()), ..Ip::default() };
    named.ip = Some(v6);
    assert!(printed(named, Options { translate: false, ..Options::default() }).contains("[fd00::2]:31793"));
}

#[test]
fn policies_that_decided_are_named_on_request() {
    let policy = |name: &str| Policy { name: name.into(), kind: "NetworkPolicy".into(), ..Policy::default() };
    let mut verdict = Flow { ingress_denied_by: vec![policy("a"), policy("b")], policy_match_type: 2, ..flow() };
    verdict.event_type = Some(EventType { kind: event::POLICY_VERDICT, sub_kind: 0 });
    verdict.traffic_direction = crate::network::flow::Direction::Ingress;
    let shown = printed(verdict, Options { policy_names: true, ..Options::default() });
    assert!(
        shown.contains("policy-verdict:L3-L4 INGRESS DENIED BY a (NetworkPolicy), b (NetworkPolicy) (TCP"),
        "{shown}"
    );
}

#[test]
fn text_of_others_moves_no_cursor() {
    let shown = printed(Flow { summary: "GET /\x1b[2J\r\n".into(), ..flow() }, Options::default());
    assert!(shown.ends_with("(GET /^[[2J\\r\\n)\n"), "{shown}");
}
