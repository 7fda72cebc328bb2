//! Rules as JSON: what one skep tells another over a control socket, and what `skep policy apply --rules` reads.
//!
//! ```json
//! {"ingress": {"otherwise": "deny", "rules": [
//!   {"name": "web", "action": "allow", "peers": ["10.0.0.0/8", {"cidr": "11.0.0.0/8", "except": ["11.1.0.0/16"]}],
//!    "services": ["tcp/80", "tcp/8000-8080", "icmp"], "tier": 0, "rate": {"packets": 1000, "burst": 100}}]}}
//! ```
//! Without `peers`: anybody; without `services`: anything; a direction that is not there has no policy.

use super::rules::{Action, Peers, Prefix, Rate, Rule, Rules, Service, Side};
use crate::diagnostic::{Diagnostic, nearest};
use crate::network::cidr::Cidr;
use crate::network::protocol::Protocol;
use serde_json::{Map, Value, json};

/// # Errors
/// A script diagnostic: no JSON, or not of this form.
pub fn read(text: &str) -> Result<Rules, Diagnostic> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        Diagnostic::script(format!("the rules are no JSON: {error}")).help("skep policy apply --help")
    })?;
    rules(&value)
}

/// # Errors
/// As [`read`].
pub fn rules(value: &Value) -> Result<Rules, Diagnostic> {
    let fields = object(value, "rules", &["ingress", "egress"])?;
    let of = |name| fields.get(name).map_or(Ok(Side::default()), |value| side(value, name));
    Ok(Rules { ingress: of("ingress")?, egress: of("egress")? })
}

/// The other way.
pub fn written(rules: &Rules) -> Value {
    json!({ "ingress": written_side(&rules.ingress), "egress": written_side(&rules.egress) })
}

fn side(value: &Value, name: &str) -> Result<Side, Diagnostic> {
    let fields = object(value, name, &["otherwise", "rules"])?;
    let otherwise = fields.get("otherwise").map_or(Ok(Action::Allow), action)?;
    let rules = list(fields.get("rules"), "rules")?.iter().map(rule).collect::<Result<_, _>>()?;
    Ok(Side { otherwise, rules })
}

fn rule(value: &Value) -> Result<Rule, Diagnostic> {
    let fields = object(value, "a rule", &["name", "action", "tier", "peers", "services", "rate"])?;
    let peers = match fields.get("peers") {
        None => Peers::Any,
        peers => Peers::Prefixes(list(peers, "peers")?.iter().map(prefix).collect::<Result<_, _>>()?),
    };
    let rate = |value: &Value| {
        let fields = object(value, "rate", &["packets", "burst"])?;
        let packets =
            fields.get("packets").map_or(Err(wrong("a rate has `packets` a second")), |one| number(one, "packets"));
        let burst = fields.get("burst").map_or(Ok(1), |one| number(one, "burst"));
        Ok(Rate { packets: packets?, burst: burst? })
    };
    Ok(Rule {
        name: text(fields.get("name").ok_or_else(|| wrong("a rule has a `name`"))?, "name")?.into(),
        action: action(fields.get("action").ok_or_else(|| wrong("a rule has an `action`"))?)?,
        tier: fields.get("tier").map_or(Ok(0), |tier| number(tier, "tier"))? as u32,
        peers,
        services: list(fields.get("services"), "services")?.iter().map(service).collect::<Result<_, _>>()?,
        rate: fields.get("rate").map(rate).transpose()?,
    })
}

fn prefix(value: &Value) -> Result<Prefix, Diagnostic> {
    let cidr = |value: &Value| text(value, "a peer")?.parse::<Cidr>();
    if value.is_string() {
        return cidr(value).map(Into::into);
    }
    let fields = object(value, "a peer", &["cidr", "except"])?;
    let except = list(fields.get("except"), "except")?.iter().map(cidr).collect::<Result<_, _>>()?;
    Ok(Prefix { cidr: cidr(fields.get("cidr").ok_or_else(|| wrong("a peer has a `cidr`"))?)?, except })
}

/// `tcp/80`, `udp/1000-2000`, `icmp/8`, `89`.
fn service(value: &Value) -> Result<Service, Diagnostic> {
    let text = text(value, "a service")?;
    let (name, ports) = text.split_once('/').map_or((text, None), |(name, ports)| (name, Some(ports)));
    let unknown = || wrong(format!("`{text}` is no service")).help("tcp/80, udp/1000-2000, icmp/8 or sctp");
    let protocol = Protocol::named(name).ok_or_else(unknown)?;
    let Some(ports) = ports else { return Ok(Service::any_port(protocol)) };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (first.parse().map_err(|_| unknown())?, last.parse().map_err(|_| unknown())?);
    if first <= last { Ok(Service { protocol, ports: first..=last }) } else { Err(unknown()) }
}

fn action(value: &Value) -> Result<Action, Diagnostic> {
    match text(value, "an action")? {
        "allow" => Ok(Action::Allow),
        "deny" => Ok(Action::Deny),
        other => Err(wrong(format!("`{other}` is no action")).help("allow or deny")),
    }
}

fn wrong(message: impl Into<String>) -> Diagnostic {
    Diagnostic::script(message)
}

fn object<'a>(value: &'a Value, what: &str, known: &[&str]) -> Result<&'a Map<String, Value>, Diagnostic> {
    let fields = value.as_object().ok_or_else(|| wrong(format!("{what}: `{value}` is no object")))?;
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(fields),
        Some(key) => {
            let meant = nearest(key, known.iter().copied());
            let help = meant.map_or_else(|| known.join(", "), |meant| format!("did you mean `{meant}`?"));
            Err(wrong(format!("{what}: unknown field `{key}`")).help(help))
        }
    }
}

fn list<'a>(value: Option<&'a Value>, what: &str) -> Result<&'a [Value], Diagnostic> {
    let Some(value) = value else { return Ok(&[]) };
    value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(format!("{what}: `{value}` is no list")))
}

fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str, Diagnostic> {
    value.as_str().ok_or_else(|| wrong(format!("{what}: `{value}` is no text")))
}

fn number(value: &Value, what: &str) -> Result<u64, Diagnostic> {
    let number = value.as_u64().filter(|number| *number <= u32::MAX.into());
    number.ok_or_else(|| wrong(format!("{what}: `{value}` is no number up to {}", u32::MAX)))
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
    }
}

fn written_side(side: &Side) -> Value {
    let rules: Vec<Value> = side.rules.iter().map(written_rule).collect();
    json!({ "otherwise": word(side.otherwise), "rules": rules })
}

fn written_rule(rule: &Rule) -> Value {
    let mut value = json!({ "name": *rule.name, "action": word(rule.action), "tier": rule.tier });
    if let Peers::Prefixes(prefixes) = &rule.peers {
        let prefix = |prefix: &Prefix| {
            let except: Vec<String> = prefix.except.iter().map(Cidr::to_string).collect();
            json!({ "cidr": prefix.cidr.to_string(), "except": except })
        };
        value["peers"] = prefixes.iter().map(prefix).collect();
    }
    let service = |service: &Service| {
        let (first, last) = (service.ports.start(), service.ports.end());
        if service.ports == Service::EVERY_PORT {
            service.protocol.to_string()
        } else {
            format!("{}/{first}-{last}", service.protocol)
        }
    };
    value["services"] = rule.services.iter().map(service).collect();
    if let Some(rate) = rule.rate {
        value["rate"] = json!({ "packets": rate.packets, "burst": rate.burst });
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::random::Random;

    #[test]
    fn rules_are_read_as_they_are_written() {
        let mut random = Random(17);
        for _ in 0..50 {
            let mut rules = Rules { ingress: random.side(), egress: random.side() };
            rules.ingress.rules.iter_mut().for_each(|rule| rule.rate = Some(Rate { packets: 5, burst: 7 }));
            assert_eq!(read(&written(&rules).to_string()).expect("it was written so"), rules);
        }
    }

    #[test]
    fn wrong_rules_are_refused_with_what_was_meant() {
        let error = |text: &str| {
            let error = read(text).expect_err("it is wrong");
            (error.message.clone(), error.help.clone().unwrap_or_default())
        };
        assert_eq!(
            error(r#"{"ingres": {}}"#),
            ("rules: unknown field `ingres`".into(), "did you mean `ingress`?".into())
        );
        let rule = |fields: &str| {
            error(&format!(r#"{{"egress": {{"rules": [{{"name": "a", "action": "deny", {fields}}}]}}}}"#))
        };
        assert_eq!(rule(r#""peers": ["10.1.2.3/8"]"#).1, "10.0.0.0/8");
        assert_eq!(rule(r#""services": ["tcp/90-80"]"#).0, "`tcp/90-80` is no service");
        assert_eq!(rule(r#""tier": -1"#).0, "tier: `-1` is no number up to 4294967295");
        assert_eq!(error("{").0, "the rules are no JSON: EOF while parsing an object at line 1 column 1");
    }
}
