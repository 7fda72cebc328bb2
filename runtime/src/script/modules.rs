//! Imports: only scripts of the library, the user's own folder and the importing script's folder; no other file.

use super::errors::Failed;
use super::written::Written;
use crate::diagnostic::Diagnostic;
use crate::library::{Library, Script};
use crate::recording::Tape;
use rhai::{Dynamic, Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// The scripts that were imported so far; a place names one by its number, from 1.
#[derive(Clone, Default)]
pub struct Imports(Rc<RefCell<Vec<Script>>>);

impl Imports {
    /// Notes a script and gives its number.
    pub fn add(&self, script: &Script) -> usize {
        let mut scripts = self.0.borrow_mut();
        scripts.push(script.clone());
        scripts.len()
    }

    pub fn get(&self, number: u16) -> Option<Script> {
        self.0.borrow().get(usize::from(number).checked_sub(1)?).cloned()
    }
}

/// What Rhai calls the source of an imported script, its number behind it.
const SOURCE: &str = "import ";

/// The number of an imported script, from what Rhai calls its source.
pub fn number(source: &str) -> Option<u16> {
    source.strip_prefix(SOURCE)?.parse().ok()
}

/// What Rhai is to call the source of a script with this number.
pub fn source(number: usize) -> String {
    format!("{SOURCE}{number}")
}

pub struct Resolver {
    library: Library,
    imports: Imports,
    tape: Tape,
    /// A script is run once, however often it is imported.
    modules: RefCell<HashMap<String, Shared<Module>>>,
}

impl Resolver {
    pub fn new(library: Library, imports: Imports, tape: Tape) -> Resolver {
        Resolver { library, imports, tape, modules: RefCell::default() }
    }
}

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        engine: &Engine,
        _: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        if let Some(module) = self.modules.borrow().get(path) {
            return Ok(module.clone());
        }
        let not_found = || Box::new(EvalAltResult::ErrorModuleNotFound(path.to_owned(), position));
        let script = self.tape.imported(path, || self.library.find(path)).ok_or_else(not_found)?;
        let (known, scope) = super::engine::constants(engine);
        let failed = Failed { written: Written(&script.text), known: &known, engine, imports: &self.imports };
        // The diagnostic has the place in the imported script; Rhai wants one in this.
        let raise = |diagnostic: Diagnostic| {
            Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(diagnostic.within(&script)), position))
        };
        let mut ast =
            engine.compile_with_scope(&scope, &script.text).map_err(|error| raise(failed.of_parse(&error)))?;
        ast.set_source(source(self.imports.add(&script)));
        let module =
            Module::eval_ast_as_new(Scope::new(), &ast, engine).map_err(|error| raise(failed.of_run(&error)))?;
        let module = Shared::new(module);
        self.modules.borrow_mut().insert(path.to_owned(), module.clone());
        Ok(module)
    }
}
