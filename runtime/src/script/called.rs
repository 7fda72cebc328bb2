//! Scripts that a script calls: `script("runqlat", #{ process: 12 })`. Their chains wait beside its own, so that one `run`
//! measures for all of them; what they print and count is given to the script that called them, and printed nowhere.

use super::aside::Aside;
use super::engine::constants;
use super::errors::Failed;
use super::host::{Chain, Closure, Fallible, Host, State, raise};
use super::modules::{self, Imports};
use super::params::Params;
use super::values;
use super::written::Written;
use crate::diagnostic::{Diagnostic, Kind, nearest};
use crate::library::{Library, Script};
use crate::prepare::Restrict;
use crate::report::units;
use rhai::{AST, Array, Dynamic, Engine, EvalAltResult, ImmutableString, Map, NativeCallContext, Position};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Scripts that call scripts that call scripts.
const DEEPEST: usize = 8;

/// A script that another one called.
pub struct Callee {
    script: Script,
    ast: AST,
    /// Fields that it may name.
    known: Rc<Vec<String>>,
    imports: Imports,
    pub aside: Aside,
    /// It has `run(time)`, which is left to the script that called it.
    pub wish: Cell<Option<Duration>>,
    /// Why it is left out: this machine, or the command line, does not allow one of its chains.
    pub missing: RefCell<Option<String>>,
}

impl Callee {
    /// Its name without its area.
    pub fn name(&self) -> &str {
        self.script.name.rsplit('/').next().unwrap_or(&self.script.name)
    }

    /// An error of it as one that points into it.
    fn raise(&self, engine: &Engine, error: &EvalAltResult, position: Position) -> Box<EvalAltResult> {
        let written = Written(&self.script.text);
        let failed = Failed { written, known: &self.known, engine, imports: &self.imports };
        let diagnostic = failed.of_run(error).within(&self.script);
        Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(diagnostic), position))
    }

    /// Calls one of its closures: Rhai looks for them among its own functions.
    ///
    /// # Errors
    /// What the closure fails with; `exit()` as it is.
    pub fn call(&self, context: &NativeCallContext, closure: &Closure, arguments: Vec<Dynamic>) -> Fallible<Dynamic> {
        closure.function.call(context.engine(), &self.ast, arguments).map_err(|error| match error.unwrap_inner() {
            EvalAltResult::ErrorTerminated(..) => error,
            _ => self.raise(context.engine(), &error, context.call_position()),
        })
    }
}

/// What `script(…)` gives: a handle on the chains of a called script.
#[derive(Clone)]
struct Called {
    host: Rc<Host>,
    callee: Rc<Callee>,
    chains: Vec<usize>,
}

/// What is the script that speaks now; back to the one before it when dropped.
pub struct Speaking<'a>(&'a Host);

impl Drop for Speaking<'_> {
    fn drop(&mut self) {
        self.0.callees.borrow_mut().pop();
        let before = self.0.speaking().map(|callee| callee.aside.clone());
        self.0.output.borrow_mut().aside(before);
    }
}

impl Host {
    /// The called script that speaks now; `None`: the one that was started.
    pub fn speaking(&self) -> Option<Rc<Callee>> {
        self.callees.borrow().last().cloned()
    }

    /// What is printed from here on is what this script prints.
    pub fn speaks(&self, callee: &Rc<Callee>) -> Speaking<'_> {
        self.callees.borrow_mut().push(callee.clone());
        self.output.borrow_mut().aside(Some(callee.aside.clone()));
        Speaking(self)
    }
}

pub fn register(engine: &mut Engine, host: &Rc<Host>, library: &Library, imports: &Imports) {
    engine.register_type_with_name::<Called>("script");
    let own = (host.clone(), library.clone(), imports.clone());
    engine.register_fn("script", move |context: NativeCallContext, name: ImmutableString| {
        call(&context, &own.0, &own.1, &own.2, &name, &Map::new())
    });
    let own = (host.clone(), library.clone(), imports.clone());
    engine.register_fn("script", move |context: NativeCallContext, name: ImmutableString, params: Map| {
        call(&context, &own.0, &own.1, &own.2, &name, &params)
    });
    engine.register_fn("value", |context: NativeCallContext, called: Called| match called.chains.as_slice() {
        [] => Ok(Dynamic::UNIT),
        [chain, ..] => called.of(*chain, context.call_position()),
    });
    engine.register_fn("value", |context: NativeCallContext, called: Called, title: ImmutableString| {
        called.titled(&title, context.call_position())
    });
    engine.register_fn("lines", |called: Called| -> Array {
        called.callee.aside.lines().into_iter().map(Dynamic::from).collect()
    });
}

impl Called {
    fn of(&self, chain: usize, position: Position) -> Fallible<Dynamic> {
        match self.host.table(chain) {
            Ok(Some(table)) => Ok(values::result(table, &Rc::new(Cell::new(true)), &self.host.names)),
            Ok(None) => Ok(Dynamic::UNIT),
            Err(diagnostic) => raise(diagnostic, position),
        }
    }

    fn titled(&self, title: &str, position: Position) -> Fallible<Dynamic> {
        let chains = self.host.chains.borrow();
        let titles: Vec<String> =
            self.chains.iter().map(|chain| chains[*chain].entry.name.clone().unwrap_or_default()).collect();
        drop(chains);
        if let Some(n) = titles.iter().position(|one| one == title) {
            return self.of(self.chains[n], position);
        }
        let name = self.callee.name();
        let error = Diagnostic::script(format!("script `{name}` has no result called `{title}`")).span(title);
        let titles: Vec<&str> = titles.iter().map(String::as_str).filter(|title| !title.is_empty()).collect();
        let help = match nearest(title, titles.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if titles.is_empty() => "it has none; .lines() gives what it printed".to_owned(),
            None => format!("it has {}", titles.join(", ")),
        };
        raise(error.help(help), position)
    }
}

fn call(
    context: &NativeCallContext,
    host: &Rc<Host>,
    library: &Library,
    imports: &Imports,
    name: &str,
    params: &Map,
) -> Fallible<Called> {
    let position = context.call_position();
    let engine = context.engine();
    if host.callees.borrow().len() >= DEEPEST {
        let error = Diagnostic::script(format!("`{name}` is called by scripts that call each other without end"));
        return raise(error.span(name).help("a script may not call itself"), position);
    }
    if !host.active.borrow().is_empty() {
        let error = Diagnostic::script("`script` inside a run: its chains would come too late");
        return raise(error.help("before run(\"10s\"), or behind it"), position);
    }
    // Not by a path: a script reads no file but those of the library and the user's folders.
    let Some(script) = host.tape.imported(name, || library.find(name)) else {
        let all = library.all();
        let names = all.iter().filter_map(|script| script.name.rsplit('/').next());
        let error = Diagnostic::script(format!("no script `{name}` in the library")).span(name);
        let near = nearest(name, names).map(|near| format!("did you mean `{near}`?"));
        return raise(error.help(near.unwrap_or_else(|| "skep list scripts".to_owned())), position);
    };
    let (known, mut scope) = constants(engine);
    let mut ast = engine.compile_with_scope(&scope, &script.text).map_err(|error| {
        let failed = Failed { written: Written(&script.text), known: &known, engine, imports };
        let diagnostic = failed.of_parse(&error).within(&script);
        Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(diagnostic), position))
    })?;
    ast.set_source(modules::source(imports.add(&script)));
    let callee = Rc::new(Callee {
        script,
        ast,
        known,
        imports: imports.clone(),
        aside: Aside::default(),
        wish: Cell::new(None),
        missing: RefCell::default(),
    });
    let first = host.chains.borrow().len();
    let own = host.params.replace(Params::of(params));
    let outcome = {
        let _speaking = host.speaks(&callee);
        engine.eval_ast_with_scope::<Dynamic>(&mut scope, &callee.ast)
    };
    let asked = host.params.replace(own);
    let _value = outcome.map_err(|error| match error.unwrap_inner() {
        EvalAltResult::ErrorTerminated(..) => error,
        _ => callee.raise(engine, &error, position),
    })?;
    if let Some(unknown) = asked.unknown_of(callee.name()) {
        return raise(unknown, position);
    }
    // Among those that came are those of scripts that it calls itself.
    let own = |chain: &Chain| chain.callee.as_ref().is_some_and(|of| Rc::ptr_eq(of, &callee));
    let came = host.chains.borrow();
    let chains = came.iter().enumerate().skip(first).filter(|(_, chain)| own(chain)).map(|(n, _)| n).collect();
    drop(came);
    Ok(Called { host: host.clone(), callee, chains })
}

/// Chains that wait, without those of called scripts that this machine or the command line does not allow: a runbook
/// does what it can, and says what it cannot.
pub fn without_missing(host: &Host, waiting: Vec<usize>) -> Vec<usize> {
    let callee = |chain: usize| host.chains.borrow()[chain].callee.clone();
    if waiting.iter().all(|chain| callee(*chain).is_none()) {
        return waiting;
    }
    let fault = |chain: usize| -> Option<String> {
        let error = host.prepare(chain).err()?;
        // Of another process or cgroup than the command line asks for, it could be told.
        let restricted = || host.prepare_for(chain, &Restrict::default()).is_ok();
        (error.kind == Kind::Machine || restricted()).then(|| error.message.clone())
    };
    let faults = host.tape.reading("left out", || {
        let faults = waiting
            .iter()
            .filter(|chain| callee(**chain).is_some())
            .filter_map(|chain| Some((chain.to_string(), json!(fault(*chain)?))));
        Ok(serde_json::Map::from_iter(faults).into())
    });
    // A recording of before has none.
    let faults = faults.unwrap_or_default();
    for chain in &waiting {
        let why = faults.get(chain.to_string()).and_then(|why| why.as_str());
        if let (Some(why), Some(callee)) = (why, callee(*chain))
            && callee.missing.borrow().is_none()
        {
            host.output.borrow_mut().tell(&format!("left out `{}`: {}", callee.name(), units::escape(why)));
            callee.missing.replace(Some(why.to_owned()));
        }
    }
    let is_left = |chain: &usize| callee(*chain).is_none_or(|callee| callee.missing.borrow().is_none());
    let (left, gone): (Vec<usize>, Vec<usize>) = waiting.into_iter().partition(is_left);
    let mut chains = host.chains.borrow_mut();
    gone.into_iter().for_each(|chain| chains[chain].state = State::Done);
    left
}

/// How long called scripts want the run to be, the longest of them; zero: until somebody ends it.
pub fn wish(host: &Host) -> Option<Duration> {
    let (chains, closures) = (host.chains.borrow(), host.at_end.borrow());
    let waiting = chains.iter().filter(|chain| chain.state == State::Waiting).filter_map(|chain| chain.callee.as_ref());
    let callees = waiting.chain(closures.iter().filter_map(|closure| closure.callee.as_ref()));
    callees.filter_map(|callee| callee.wish.get()).max()
}

/// The closures that called scripts have for the end of the run that they were in; those that are left out have none.
pub fn closures(host: &Host) -> Vec<Closure> {
    let all = host.at_end.take();
    let (called, own): (Vec<Closure>, Vec<Closure>) = all.into_iter().partition(|closure| closure.callee.is_some());
    host.at_end.replace(own);
    let is_there = |closure: &Closure| closure.callee.as_ref().is_none_or(|callee| callee.missing.borrow().is_none());
    called.into_iter().filter(is_there).collect()
}

impl Chain {
    /// Where its events are printed, of a called script.
    pub fn aside(&self) -> Option<Aside> {
        self.callee.as_ref().map(|callee| callee.aside.clone())
    }
}
