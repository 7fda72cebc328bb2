//! Imports: only scripts of the library, the user's own folder and the importing script's folder; no other file.

use crate::library::Library;
use rhai::{Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

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
        let scope = super::engine::constants(engine);
        let ast = engine
            .compile_with_scope(&scope, &script.text)
            .map_err(|error| Box::new(EvalAltResult::ErrorInModule(path.to_owned(), error.into(), position)))?;
        let module = Module::eval_ast_as_new(Scope::new(), &ast, engine)
            .map_err(|error| Box::new(EvalAltResult::ErrorInModule(path.to_owned(), error, position)))?;
        Ok(module.into())
    }
}
