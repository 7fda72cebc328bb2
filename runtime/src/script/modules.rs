//! Imports: only scripts of the library, the user's own folder and the importing script's folder; no other file.

use super::errors::Failed;
use super::written::Written;
use crate::diagnostic::Diagnostic;
use crate::library::Library;
use rhai::{Dynamic, Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

pub struct Resolver {
    library: Library,
}

impl Resolver {
    pub fn new(library: Library) -> Resolver {
        Resolver { library }
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
        let not_found = || Box::new(EvalAltResult::ErrorModuleNotFound(path.to_owned(), position));
        let script = self.library.find(path).ok_or_else(not_found)?;
        let (known, scope) = super::engine::constants(engine);
        let failed = Failed { written: Written(&script.text), known: &known, engine, library: &self.library };
        // The diagnostic has the place in the imported script; Rhai wants one in this.
        let raise = |diagnostic: Diagnostic| {
            Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(diagnostic.within(&script)), position))
        };
        let mut ast =
            engine.compile_with_scope(&scope, &script.text).map_err(|error| raise(failed.of_parse(&error)))?;
        // Errors of its functions name it.
        ast.set_source(path);
        let module =
            Module::eval_ast_as_new(Scope::new(), &ast, engine).map_err(|error| raise(failed.of_run(&error)))?;
        Ok(module.into())
    }
}
