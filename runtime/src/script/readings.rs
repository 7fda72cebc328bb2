//! Readings: what the machine counts by itself, as maps. They are recorded, and told again to a replay; a plan reads those
//! of an idle machine, so that it is the same everywhere.

use super::host::{Fallible, Host, Mode, raise};
use crate::diagnostic::{Diagnostic, nearest};
use crate::node::{Node, since};
use rhai::{Array, Dynamic, Engine, FLOAT, INT, ImmutableString, Map, NativeCallContext};
use serde_json::{Value as Json, json};
use std::rc::Rc;

/// What tasks wait for.
const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

type Reading = fn(&Node) -> Option<Json>;

pub fn register(engine: &mut Engine, host: &Rc<Host>) {
    let readings: [(&str, Reading); 5] = [
        ("cpu_times", Node::cpu_times),
        ("mem_info", Node::mem_info),
        ("vm_counts", Node::vm_counts),
        ("net_counts", Node::net_counts),
        ("disk_counts", Node::disk_counts),
    ];
    for (name, reading) in readings {
        let own = host.clone();
        engine.register_fn(name, move |context: NativeCallContext| read(&context, &own, &format!("{name}()"), reading));
    }
    let own = host.clone();
    engine.register_fn("cgroups", move |context: NativeCallContext| {
        let below = own.settings.restrict.cgroup_path.as_deref();
        read(&context, &own, "cgroups()", |node| Some(node.cgroups(below)))
    });
    let own = host.clone();
    engine.register_fn("pressure", move |context: NativeCallContext, resource: ImmutableString| {
        pressure(&context, &own, &resource, None)
    });
    let own = host.clone();
    engine.register_fn(
        "pressure",
        move |context: NativeCallContext, resource: ImmutableString, cgroup: ImmutableString| {
            pressure(&context, &own, &resource, Some(&cgroup))
        },
    );
    engine.register_fn("since", |before: Map, now: Map| value(&since(&object(&before.into()), &object(&now.into()))));
    let own = host.clone();
    engine.register_fn("restriction", move |context: NativeCallContext| {
        let restrict = &own.settings.restrict;
        let (pid, comm, cgroup) = (restrict.pid.unwrap_or(0), &restrict.comm, &restrict.cgroup_path);
        read(&context, &own, "restriction()", |_| Some(json!({ "pid": pid, "comm": comm, "cgroup": cgroup })))
    });
}

fn pressure(context: &NativeCallContext, host: &Host, resource: &str, cgroup: Option<&str>) -> Fallible<Dynamic> {
    if !RESOURCES.contains(&resource) {
        let error =
            Diagnostic::script(format!("tasks do not wait for `{resource}` as the kernel counts it")).span(resource);
        let near = nearest(resource, RESOURCES).map(|near| format!("did you mean `{near}`?"));
        let help = near.unwrap_or_else(|| format!("one of {}", RESOURCES.join(", ")));
        return raise(error.help(help), context.call_position());
    }
    let what = match cgroup {
        Some(path) => format!("pressure({resource:?}, {path:?})"),
        None => format!("pressure({resource:?})"),
    };
    let cgroup = cgroup.or(host.settings.restrict.cgroup_path.as_deref());
    read(context, host, &what, |node| node.pressure(resource, cgroup))
}

fn read(
    context: &NativeCallContext,
    host: &Host,
    what: &str,
    reading: impl FnOnce(&Node) -> Option<Json>,
) -> Fallible<Dynamic> {
    let idle = Node::idle();
    let node = if host.settings.mode == Mode::Plan { &idle } else { &host.settings.node };
    // Named as the script names it: a replay has no command line of then.
    match host.tape.reading(what, || Ok(reading(node).unwrap_or(Json::Null))) {
        Ok(answer) => Ok(value(&answer)),
        Err(diagnostic) => raise(diagnostic, context.call_position()),
    }
}

/// As a script sees it.
fn value(json: &Json) -> Dynamic {
    match json {
        Json::Null => Dynamic::UNIT,
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => match number.as_i64() {
            Some(int) => (int as INT).into(),
            None => (number.as_f64().unwrap_or_default() as FLOAT).into(),
        },
        Json::String(text) => text.clone().into(),
        Json::Array(all) => all.iter().map(value).collect::<Array>().into(),
        Json::Object(all) => all.iter().map(|(name, one)| (name.into(), value(one))).collect::<Map>().into(),
    }
}

/// Numbers and maps of them, back again.
fn object(value: &Dynamic) -> Json {
    if let Some(map) = value.read_lock::<Map>() {
        return map
            .iter()
            .map(|(name, value)| (name.to_string(), object(value)))
            .collect::<serde_json::Map<_, _>>()
            .into();
    }
    match (value.as_int(), value.as_float()) {
        (Ok(int), _) => int.into(),
        (_, Ok(float)) => float.into(),
        _ if value.is_unit() => Json::Null,
        _ => value.to_string().into(),
    }
}
