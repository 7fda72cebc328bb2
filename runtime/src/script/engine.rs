//! The engine: Rhai with skep's names and functions, and with limits, so that a script cannot harm the node.

use super::host::Host;
use super::modules::{Imports, Resolver};
use super::{
    called, csv, event, fields, findings, functions, graphs, params, policies, probe, readings, run, settings,
};
use super::{values, verdicts};
use crate::diagnostic::Diagnostic;
use crate::expr::Expr;
use crate::library::{Library, Script};
use crate::points::packets;
use crate::resolve::BUILTINS;
use crate::script::errors::Failed;
use crate::script::fields::Field;
use crate::script::written::Written;
use rhai::{AST, Dynamic, Engine, EvalAltResult, NativeCallContext, OptimizationLevel, Scope};
use skep_templates::catalog::Catalog;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

/// How long a script may compute without waiting for events.
const BUSY: Duration = Duration::from_secs(10);

/// A script, ready to run.
pub struct Runner {
    pub engine: Engine,
    pub host: Rc<Host>,
    pub scope: Scope<'static>,
    pub imports: Imports,
    known: Vec<String>,
}

impl Runner {
    /// # Errors
    /// A bug: a function could not be registered.
    pub fn new(host: Rc<Host>, library: Library) -> Result<Runner, Diagnostic> {
        let mut engine = Engine::new();
        // The optimiser folds `pid == 7` on a constant of the scope to `false`.
        engine.set_optimization_level(OptimizationLevel::None);
        engine.set_strict_variables(true).set_fail_on_invalid_map_property(true);
        engine.disable_symbol("eval");
        engine.set_max_call_levels(64).set_max_expr_depths(128, 64);
        engine.set_max_string_size(16 << 20).set_max_array_size(1_000_000).set_max_map_size(1_000_000);
        engine.set_max_modules(64).set_max_functions(2_000);
        let imports = Imports::default();
        engine.set_module_resolver(Resolver::new(library.clone(), imports.clone(), host.tape.clone()));
        let mut names = names(&host.settings.catalog);
        // Templates of then may not be here.
        names.extend(host.tape.player().into_iter().flat_map(|player| player.header.fields.clone()));
        known_names(&mut engine, &names);
        limits(&mut engine, &host);
        outputs(&mut engine, &host);
        fields::register(&mut engine, &host).map_err(Diagnostic::bug)?;
        values::register(&mut engine);
        event::register(&mut engine);
        graphs::register(&mut engine);
        super::packets::register(&mut engine);
        params::register(&mut engine, &host);
        probe::register(&mut engine, &host);
        functions::register(&mut engine, &host);
        settings::register(&mut engine);
        csv::register(&mut engine);
        policies::register(&mut engine, &host);
        verdicts::register(&mut engine);
        called::register(&mut engine, &host, &library, &imports);
        findings::register(&mut engine, &host);
        readings::register(&mut engine, &host);
        for (name, finish) in [(FINISH, run::finish as fn(&NativeCallContext, &Rc<Host>) -> _), (END, run::end)] {
            let own = host.clone();
            engine.register_fn(name, move |context: NativeCallContext| finish(&context, &own));
        }
        let scope = scope(&names);
        Ok(Runner { engine, host, scope, imports, known: names })
    }

    /// Runs a script to its end, which begins the chains that it left waiting.
    ///
    /// # Errors
    /// A diagnostic with its position in the script.
    pub fn run(&mut self, script: &Script) -> Result<(), Diagnostic> {
        self.host.script.replace(script.name.clone());
        event::name_fields(&mut self.engine, &script.text, &self.known);
        let ast = self
            .engine
            .compile_with_scope(&self.scope, &*script.text)
            .map_err(|error| self.failed(script).of_parse(&error))?;
        check_comments(&script.text)?;
        let outcome = self.part(&ast, FINISH);
        let outcome = match outcome {
            // `exit()` outside a run: what the script has is still shown.
            Err(error) if self.host.exit.get().or(self.host.ended.get()).is_some() && is_exit(&error) => {
                self.part(&ast.clone_functions_only(), END)
            }
            other => other,
        };
        self.host.active.borrow_mut().clear();
        outcome.map_err(|error| self.failed(script).of_run(&error))
    }

    /// What turns Rhai's errors in a script into ours.
    pub fn failed<'a>(&'a self, script: &'a Script) -> Failed<'a> {
        let written = Written(&script.text);
        Failed { written, known: &self.known, engine: &self.engine, imports: &self.imports }
    }

    /// Evaluates `ast` and then calls one of our own functions, so that closures of `ast` stay callable there.
    fn part(&mut self, ast: &AST, then: &str) -> Result<(), Box<EvalAltResult>> {
        let then = self.engine.compile_with_scope(&self.scope, format!("{then}()"))?;
        self.host.computes();
        self.engine.eval_ast_with_scope::<Dynamic>(&mut self.scope, &ast.merge(&then)).map(drop)
    }

    /// Every name that a script may use without defining it.
    pub fn known(&self) -> &[String] {
        &self.known
    }
}

const FINISH: &str = "__finish";
const END: &str = "__end";

fn is_exit(error: &EvalAltResult) -> bool {
    matches!(error.unwrap_inner(), EvalAltResult::ErrorTerminated(..))
}

/// Names of all sources' and all templates' fields.
pub fn names(catalog: &Catalog) -> Vec<String> {
    let mut names: Vec<String> = BUILTINS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for template in catalog.iter() {
        // A template that does not describe itself is an error where it is used.
        names.extend(template.field_names());
    }
    names.extend(packets::flags().map(|flag| flag.name));
    names.sort();
    names.dedup();
    names
}

/// Names as constants, so that a misspelt one is found when parsing.
fn scope(names: &[String]) -> Scope<'static> {
    let mut scope = Scope::new();
    for name in names {
        scope.push_constant(name.clone(), Field(Expr::name(name)));
    }
    scope
}

/// The names, and the same scope, for an imported script.
pub fn constants(engine: &Engine) -> (Rc<Vec<String>>, Scope<'static>) {
    let names = engine.default_tag().read_lock::<Rc<Vec<String>>>().map(|names| names.clone()).unwrap_or_default();
    let scope = scope(&names);
    (names, scope)
}

fn known_names(engine: &mut Engine, names: &[String]) {
    engine.set_default_tag(Dynamic::from(Rc::new(names.to_vec())));
    let set: HashSet<String> = names.iter().cloned().collect();
    // The body of a `fn` sees no scope; a variable of the same name comes first everywhere.
    #[allow(deprecated, reason = "Rhai marks callbacks that may change as deprecated")]
    engine.on_var(move |name, _, context| {
        let ours = context.scope().get(name).is_none() && set.contains(name);
        Ok(ours.then(|| Dynamic::from(Field(Expr::name(name)))))
    });
}

fn limits(engine: &mut Engine, host: &Rc<Host>) {
    let own = host.clone();
    engine.on_progress(move |operations| {
        if let Some(refused) = own.refused.take() {
            return Some(Dynamic::from(refused));
        }
        if operations % 4096 == 0
            && let Some(error) = own.too_large()
        {
            return Some(Dynamic::from(error));
        }
        let stuck = operations % 1024 == 0 && (own.busy_since().elapsed() > BUSY || own.interrupted());
        stuck.then_some(Dynamic::UNIT)
    });
}

fn outputs(engine: &mut Engine, host: &Rc<Host>) {
    let own = host.clone();
    engine.on_print(move |text| own.output.borrow_mut().print(text));
    let own = host.clone();
    engine.on_debug(move |text, _, position| own.output.borrow_mut().tell(&format!("debug {position:?}: {text}")));
}

/// An open `/*` swallows the rest of a script without an error of Rhai's.
pub fn check_comments(text: &str) -> Result<(), Diagnostic> {
    let bytes = text.as_bytes();
    let (mut at, mut line, mut start) = (0, 1, None);
    let mut column = 1;
    while at < bytes.len() {
        let two = bytes.get(at..at + 2);
        match (start, two) {
            (None, Some(b"//")) => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            (None, Some(b"/*")) => start = Some((line, column, 1)),
            (Some((l, c, depth)), Some(b"/*")) => start = Some((l, c, depth + 1)),
            (Some((_, _, 1)), Some(b"*/")) => start = None,
            (Some((l, c, depth)), Some(b"*/")) => start = Some((l, c, depth - 1)),
            (None, _) if matches!(bytes[at], b'"' | b'`') => {
                let quote = bytes[at];
                at += 1;
                column += 1;
                while at < bytes.len() && bytes[at] != quote {
                    if bytes[at] == b'\\' {
                        at += 1;
                        column += 1;
                    }
                    if bytes.get(at) == Some(&b'\n') {
                        line += 1;
                        column = 0;
                    }
                    at += 1;
                    column += 1;
                }
            }
            _ => {
                if bytes[at] == b'\n' {
                    line += 1;
                    column = 0;
                }
                at += 1;
                column += 1;
                continue;
            }
        }
        let step = if matches!(two, Some(b"/*" | b"*/")) { 2 } else { 1 };
        at += step;
        column += step;
    }
    match start {
        Some((line, column, _)) => Err(Diagnostic::script("this comment has no end")
            .at(Some(crate::diagnostic::Position::new(line, column)))
            .help("*/")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_comment_is_found_and_closed_ones_pass() {
        assert!(check_comments("let a = \"/*\"; /* one /* two */ */ // /*\n").is_ok());
        let error = check_comments("print(1);\n  /* forgotten").unwrap_err();
        assert_eq!(error.position, Some(crate::diagnostic::Position::new(2, 3)));
    }
}
