//! Policies: `policy(…)` and `import_policy(…)`, and the methods that say what is wanted of them. Their fields, and what is
//! wrong with them, are those of the files: see [`crate::policy::native`].

use super::host::{Closure, Fallible, Host, Mode, State, called, raise};
use super::nodes::{described, node};
use super::probe::not_a_duration;
use super::{imported, run, values, verdicts};
use crate::diagnostic::{Diagnostic, Position};
use crate::policy::check::Checked;
use crate::policy::model::{Policy, Subject};
use crate::policy::native::{Draft, MODES, POINTS};
use crate::policy::rules::Action;
use crate::policy::yaml::{Key, Node, Value};
use crate::report::units::parse_duration;
use rhai::{Array, Dynamic, Engine, FnPtr, ImmutableString, Map, NativeCallContext};
use serde_json::Value as Json;
use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// A policy as a script has said it so far, and what became of it.
pub struct Said {
    pub what: What,
    pub position: Option<Position>,
    /// Rules without a name are called as it is.
    is_named: bool,
    pub enforces: bool,
    pub confirm_within: Option<Duration>,
    /// Never dropped.
    pub guarded: Vec<IpAddr>,
    /// Of denials.
    pub each: Option<Closure>,
    pub state: State,
    /// Where it is at work, and those that run with it.
    pub places: Vec<String>,
    /// What it has done, as `skep policy status` has it; of all that ran with it.
    pub done: Option<Rc<Vec<Json>>>,
    /// The script took it, or said `quiet`: it is not printed at the end.
    pub taken: Rc<Cell<bool>>,
}

pub enum What {
    Draft(Box<Draft>),
    /// Policies of files, which hold together.
    Files(Box<Checked>),
}

/// A handle on one of them.
#[derive(Clone)]
pub struct Handle {
    pub host: Rc<Host>,
    pub number: usize,
}

impl Said {
    pub fn new(what: What, position: Option<Position>) -> Said {
        Said {
            what,
            position,
            is_named: false,
            enforces: false,
            confirm_within: None,
            guarded: Vec::new(),
            each: None,
            state: State::Waiting,
            places: Vec::new(),
            done: None,
            taken: Rc::default(),
        }
    }

    /// The policy of a script that said all of it.
    ///
    /// # Errors
    /// A script diagnostic: it says nothing at all.
    pub fn policy(draft: &Draft) -> Result<Policy, Diagnostic> {
        draft.clone().finish().map_err(spelled)
    }

    fn draft(&mut self) -> Result<&mut Draft, Diagnostic> {
        match &mut self.what {
            What::Draft(draft) => Ok(draft),
            What::Files(_) => Err(Diagnostic::script("what this policy says is in its file")
                .help("policy(\"tc\", \"eth0\").deny(#{ … }): another one")),
        }
    }
}

impl Handle {
    fn change(
        self,
        context: &NativeCallContext,
        change: impl FnOnce(&mut Said) -> Result<(), Diagnostic>,
    ) -> Fallible<Handle> {
        let changed = {
            let said = &mut self.host.policies.borrow_mut()[self.number];
            match said.state {
                State::Running => Err(Diagnostic::script("this policy is at work already and cannot be changed")
                    .help("skep policy swap PLACE --rules FILE")),
                State::Waiting | State::Done => change(said),
            }
        };
        match changed {
            Ok(()) => Ok(self),
            Err(error) => raise(spelled(error), context.call_position()),
        }
    }
}

/// Help of files, as a script spells it.
const SPELLED: &[(&str, &str)] = &[
    ("at: tc", "policy(\"tc\", \"eth0\")"),
    ("otherwise: deny", ".otherwise(\"deny\")"),
    ("proto: tcp", "proto: \"tcp\""),
    ("proto: icmp", "proto: \"icmp\""),
    ("100/s, or {packets: 100, burst: 20}", "rate: \"100/s\", or rate: #{ packets: 100, burst: 20 }"),
];

fn spelled(error: Diagnostic) -> Diagnostic {
    let ours = error.help.as_deref().and_then(|help| SPELLED.iter().find(|(theirs, _)| *theirs == help));
    match ours {
        Some((_, ours)) => error.help(*ours),
        None => error,
    }
}

pub fn register(engine: &mut Engine, host: &Rc<Host>) {
    engine.register_type_with_name::<Handle>("policy");
    values::no_order::<Handle>(engine, "a policy", ".value().rows()");
    sources(engine, host);
    rules(engine);
    wishes(engine, host);
    runs(engine);
}

fn sources(engine: &mut Engine, host: &Rc<Host>) {
    let own = host.clone();
    engine.register_fn("policy", move |context: NativeCallContext, point: ImmutableString, name: ImmutableString| {
        add(&own, &context, begun(&point, vec![name.to_string()]))
    });
    let own = host.clone();
    engine.register_fn("policy", move |context: NativeCallContext, point: ImmutableString, names: Array| {
        add(&own, &context, begun(&point, names.iter().map(ToString::to_string).collect()))
    });
    let own = host.clone();
    engine.register_fn("import_policy", move |context: NativeCallContext, path: ImmutableString| {
        add(&own, &context, imported::open(&path, None).map(|checked| What::Files(Box::new(checked))))
    });
    let own = host.clone();
    engine.register_fn(
        "import_policy",
        move |context: NativeCallContext, path: ImmutableString, inventory: ImmutableString| {
            let files = imported::open(&path, Some(&inventory));
            add(&own, &context, files.map(|checked| What::Files(Box::new(checked))))
        },
    );
}

fn begun(point: &str, names: Vec<String>) -> Result<What, Diagnostic> {
    let node = Node::from(point);
    node.word("policy", POINTS)?;
    if names.is_empty() {
        let error = Diagnostic::script("`policy` takes interfaces or cgroups, got an empty list");
        return Err(error.help("policy(\"tc\", \"eth0\")"));
    }
    let subject = if point == "cgroup" { Subject::Cgroups(names) } else { Subject::Interfaces(names) };
    let mut draft = Draft::new("policy", subject);
    draft.at(&node)?;
    Ok(What::Draft(Box::new(draft)))
}

fn add(host: &Rc<Host>, context: &NativeCallContext, what: Result<What, Diagnostic>) -> Fallible<Handle> {
    if host.settings.mode == Mode::Interactive {
        let error = Diagnostic::script("a session holds no policies: who leaves it would take them along");
        return raise(error.help("skep policy apply tc:eth0 --rules FILE"), context.call_position());
    }
    match what {
        Ok(what) => {
            let mut policies = host.policies.borrow_mut();
            policies.push(Said::new(what, called(context)));
            Ok(Handle { host: host.clone(), number: policies.len() - 1 })
        }
        Err(error) => raise(spelled(error), context.call_position()),
    }
}

fn rules(engine: &mut Engine) {
    for (name, action) in [("allow", Action::Allow), ("deny", Action::Deny)] {
        engine.register_fn(name, move |context: NativeCallContext, policy: Handle, fields: Map| {
            policy.change(&context, |said| {
                let is_named = said.is_named;
                let Node { value: Value::Map(mut entries), .. } = node("a rule", &Dynamic::from(fields), &context)?
                else {
                    return Err(Diagnostic::bug("a map of a script became none"));
                };
                if !entries.iter().any(|(key, _)| key.text == "name") && !is_named {
                    let name = described(name, &entries);
                    entries.push((Key { text: "name".to_owned(), position: None }, name.as_str().into()));
                }
                said.draft()?.rule(action, &Node { position: None, value: Value::Map(entries) })
            })
        });
    }
    engine.register_fn("otherwise", |context: NativeCallContext, policy: Handle, action: ImmutableString| {
        policy.change(&context, |said| said.draft()?.otherwise(&action.as_str().into()))
    });
    engine.register_fn("otherwise", |context: NativeCallContext, policy: Handle, actions: Map| {
        policy.change(&context, |said| said.draft()?.otherwise(&node("otherwise", &Dynamic::from(actions), &context)?))
    });
    engine.register_fn("named", |context: NativeCallContext, policy: Handle, name: ImmutableString| {
        policy.change(&context, |said| {
            said.draft()?.name(&name);
            said.is_named = true;
            Ok(())
        })
    });
}

fn wishes(engine: &mut Engine, host: &Rc<Host>) {
    let own = host.clone();
    engine.register_fn("mode", move |context: NativeCallContext, policy: Handle, mode: ImmutableString| {
        let settings = &own.settings;
        policy.change(&context, |said| {
            let node = Node::from(mode.as_str());
            let enforces = node.word("mode", MODES)? == 1;
            if enforces && !settings.enforce && settings.mode == Mode::Run {
                let error = Diagnostic::script("to enforce takes `--enforce` on the command line too");
                return Err(error.label("drops packets").help(own.again("--enforce")));
            }
            said.enforces = enforces;
            match &mut said.what {
                What::Draft(draft) => draft.mode(&node),
                // Each policy of a file says its own; this is about all of them.
                What::Files(_) => Ok(()),
            }
        })
    });
    engine.register_fn("ttl", |context: NativeCallContext, policy: Handle, time: ImmutableString| {
        policy.change(&context, |said| said.draft()?.ttl(&time.as_str().into()))
    });
    engine.register_fn("confirm_within", |context: NativeCallContext, policy: Handle, time: ImmutableString| {
        policy.change(&context, |said| {
            let nanos = parse_duration(&time).ok_or_else(|| not_a_duration(&time))?;
            said.confirm_within = Some(Duration::from_nanos(nanos));
            Ok(())
        })
    });
    engine.register_fn("guard", |context: NativeCallContext, policy: Handle, address: ImmutableString| {
        policy.change(&context, |said| {
            let wrong = || Diagnostic::script(format!("`{address}` is no address")).span(address.as_str());
            said.guarded.push(address.parse().map_err(|_| wrong().help(".guard(\"192.0.2.7\")"))?);
            Ok(())
        })
    });
    engine.register_fn("each", |context: NativeCallContext, policy: Handle, closure: FnPtr| {
        let closure = Closure::new(&context, &policy.host, closure);
        policy.change(&context, |said| {
            said.each = Some(closure);
            Ok(())
        })
    });
    engine.register_fn("quiet", |policy: Handle| {
        policy.host.policies.borrow()[policy.number].taken.set(true);
        policy
    });
}

fn runs(engine: &mut Engine) {
    engine.register_fn("run", |context: NativeCallContext, policy: Handle| run::policy(&context, &policy, None));
    engine.register_fn(
        "run",
        |context: NativeCallContext, policy: Handle, time: ImmutableString| match parse_duration(&time) {
            Some(nanos) => run::policy(&context, &policy, Some(Duration::from_nanos(nanos))),
            None => raise(not_a_duration(&time), context.call_position()),
        },
    );
    engine.register_fn("value", |policy: Handle| verdicts::now(&policy));
}
