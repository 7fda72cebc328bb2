//! The console: evaluates one line after another in a scope that lasts, and keeps what runs going in between.

use super::commands;
use super::knowledge::{Known, Nature};
use super::request::{Answer, Request};
use super::saved::Saved;
use super::serve::{Ended, Interactive, Until};
use super::tutorial::Tutorial;
use super::{complete, functions, show};
use crate::diagnostic::{Diagnostic, Kind};
use crate::library::{Library, Script};
use crate::machine::Machine;
use crate::report::units;
use crate::script::engine::{Runner, check_comments};
use crate::script::host::{Fallible, Host};
use crate::script::probe::Probe;
use crate::script::{errors, modules, run};
use rhai::{AST, Dynamic, EvalAltResult, Module, NativeCallContext, Position, Scope};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A line longer than this is a paste that went wrong: scripts are files.
const LONGEST: usize = 64 << 10;

/// Our function that Rhai calls to call us back, with the closures of every line at hand.
const ACT: &str = "__act";

type Action = Box<dyn FnOnce(&NativeCallContext, &Rc<Host>) -> Fallible<()>>;

pub struct Console {
    pub runner: Runner,
    pub library: Library,
    /// Functions and closures of all lines so far.
    functions: AST,
    lines: Vec<Script>,
    pub saved: Saved,
    /// Say how long each line took.
    pub timing: bool,
    pub tutorial: Option<Tutorial>,
    /// What front ends complete from.
    pub known: Arc<Mutex<Known>>,
    action: Rc<std::cell::RefCell<Option<Action>>>,
    pub left: Option<i32>,
    /// Says whether a script would run, without running it.
    pub planner: Option<Planner>,
    sources: complete::Sources,
}

pub type Planner = Box<dyn Fn(&Script) -> Result<(), Diagnostic>>;

/// What a line did, for those who look at it afterwards.
#[derive(Default)]
pub struct Done {
    /// Chains that it made or started.
    pub chains: Vec<usize>,
    pub value: Dynamic,
    /// A table, a histogram or a number was shown.
    pub showed: bool,
}

impl Console {
    /// `runner` is of [`crate::script::host::Mode::Interactive`]; its host has its [`Interactive`] already.
    pub fn new(mut runner: Runner, library: Library, known: Arc<Mutex<Known>>) -> Console {
        let sources = complete::Sources::new(Machine::live(), runner.host.settings.catalog.clone());
        let action: Rc<std::cell::RefCell<Option<Action>>> = Rc::default();
        let (todo, host) = (action.clone(), runner.host.clone());
        runner.engine.register_fn(ACT, move |context: NativeCallContext| -> Fallible<()> {
            let action = todo.borrow_mut().take();
            action.map_or(Ok(()), |action| action(&context, &host))
        });
        functions::register(&mut runner.engine, &runner.host);
        Console {
            runner,
            library,
            functions: AST::empty(),
            lines: Vec::new(),
            saved: Saved::default(),
            timing: false,
            tutorial: None,
            known,
            action,
            left: None,
            planner: None,
            sources,
        }
    }

    pub fn host(&self) -> &Rc<Host> {
        &self.runner.host
    }

    pub fn interactive(&self) -> &Interactive {
        // Whoever makes a console has set it.
        self.runner.host.interactive.get().expect("an interactive host")
    }

    pub fn print(&self, text: &str) {
        self.host().output.borrow_mut().print(text.trim_end());
    }

    pub fn tell(&self, text: &str) {
        self.host().output.borrow_mut().tell(text);
    }

    /// Until somebody leaves; with the exit status.
    pub fn run(&mut self) -> i32 {
        quiet_panics();
        loop {
            self.interactive().screen.set_typing(true);
            let ended = self.serve();
            self.host().output.borrow_mut().flush();
            self.interactive().screen.set_typing(false);
            match ended {
                Ok(Ended::Request(request)) => self.answer(request),
                Ok(Ended::Leave(status)) => self.left = Some(status),
                Ok(_) => {}
                Err(diagnostic) => drop(self.show_error(&diagnostic, 0)),
            }
            self.show_failures();
            if let Some(status) = self.left {
                self.leave();
                return status;
            }
        }
    }

    fn serve(&mut self) -> Result<Ended, Diagnostic> {
        let ended = Rc::new(std::cell::Cell::new(None));
        let into = ended.clone();
        self.within(move |context, host| {
            let Some(interactive) = host.interactive.get() else { return Ok(()) };
            into.set(Some(interactive.serve(context, host, Until::Request)?));
            Ok(())
        })?;
        Ok(ended.take().unwrap_or(Ended::Failed))
    }

    /// Does something where closures of every line can be called.
    ///
    /// # Errors
    /// What it fails with.
    pub fn within(
        &mut self,
        action: impl FnOnce(&NativeCallContext, &Rc<Host>) -> Fallible<()> + 'static,
    ) -> Result<(), Diagnostic> {
        *self.action.borrow_mut() = Some(Box::new(action));
        let Runner { engine, scope, .. } = &mut self.runner;
        let outcome = match engine.compile(format!("{ACT}()")) {
            Ok(ast) => engine.eval_ast_with_scope::<Dynamic>(scope, &self.functions.merge(&ast)).map(drop),
            Err(error) => Err(Box::new(EvalAltResult::ErrorParsing(*error.0, error.1))),
        };
        outcome.map_err(|error| self.runner.failed(&Script { name: String::new(), text: "".into() }).of_run(&error))
    }

    fn answer(&mut self, request: Request) {
        self.interactive().asked.set(Instant::now());
        match request {
            Request::Line { text, reply } => {
                let failed = self.line(&text).err();
                self.refresh();
                // What the line asked to end is over before the next prompt.
                let settled = self.within(|context, host| {
                    if let Some(interactive) = host.interactive.get() {
                        interactive.settle(context, host);
                    }
                    Ok(())
                });
                if let Err(diagnostic) = settled {
                    self.show_error(&diagnostic, 0);
                }
                self.show_failures();
                self.host().output.borrow_mut().flush();
                if self.left.is_some() {
                    self.leave();
                }
                reply(Answer { failed, left: self.left, data: None });
            }
            Request::Complete { text, at, reply } => {
                let known = self.known.clone();
                let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                let found = complete::complete(&text, at, &known, &self.sources);
                reply(Answer { data: Some(found.json()), ..Answer::default() });
            }
            Request::Jobs { reply } => {
                reply(Answer { data: Some(self.interactive().jobs.json()), ..Answer::default() });
            }
            Request::Subscribe { job, every, reply } => {
                let answer = match self.interactive().subscribe(job, every) {
                    Ok(()) => Answer::default(),
                    Err(diagnostic) => Answer { failed: Some(rendered(&diagnostic, "", "")), ..Answer::default() },
                };
                reply(answer);
            }
            Request::Leave => self.left = Some(0),
        }
    }

    /// A line of Rhai or a command. What it failed with is shown, and given back.
    ///
    /// # Errors
    /// Who has to act, and what was shown.
    pub fn line(&mut self, text: &str) -> Result<(), (Kind, String)> {
        let text = text.trim();
        let began = Instant::now();
        if text.is_empty() {
            return Ok(());
        }
        if let Some((columns, _)) = self.interactive().screen.size() {
            self.host().output.borrow_mut().set_width(columns);
        }
        let outcome = match text.strip_prefix(':') {
            Some(command) => {
                // `:tutorial` itself is no answer to a lesson.
                let lesson = self.tutorial.is_some() && !command.starts_with("tut");
                commands::run(self, command).map(|()| {
                    if lesson {
                        self.check_lesson(text, &Done::default())
                    }
                })
            }
            None => self.evaluate(text, true).map(|done| self.check_lesson(text, &done)),
        };
        if self.timing {
            self.tell(&format!("took {}", units::duration(began.elapsed().as_nanos() as i128)));
        }
        outcome.map_err(|diagnostic| {
            let named = if text.starts_with(':') { 0 } else { self.lines.len() };
            self.show_error(&diagnostic, named)
        })
    }

    fn check_lesson(&mut self, text: &str, done: &Done) {
        if let Some(mut tutorial) = self.tutorial.take() {
            let goes_on = tutorial.look(self, text, done);
            self.tutorial = goes_on.then_some(tutorial);
        }
    }

    /// Evaluates Rhai, starts what it made, and shows its value. With `keep` it belongs to the saved script.
    ///
    /// # Errors
    /// A diagnostic, which may have its place in the newest of the lines.
    pub fn evaluate(&mut self, text: &str, keep: bool) -> Result<Done, Diagnostic> {
        if text.len() > LONGEST {
            let [has, may] = [text.len(), LONGEST].map(|size| units::bytes(size as u64));
            let message = format!("this line has {has}, a line may have {may}");
            return Err(Diagnostic::script(message).nowhere().help(":load FILE"));
        }
        let script = Script { name: format!("line {}", self.lines.len() + 1), text: text.to_owned().into() };
        self.evaluate_script(script, keep)
    }

    /// The same of a script with a name of its own, of any length. `exit()` of a file ends that file only.
    ///
    /// # Errors
    /// As [`Console::evaluate`].
    pub fn evaluate_script(&mut self, script: Script, keep: bool) -> Result<Done, Diagnostic> {
        let typed = script.name.starts_with("line ");
        self.host().audit.get().into_iter().for_each(|audit| audit.typed(&script));
        self.lines.push(script.clone());
        let number = self.runner.imports.add(&script);
        self.interactive().line.set(self.lines.len());
        self.interactive().looked.set(false);
        self.interactive().played.set(false);
        self.interactive().changed.set(false);
        self.host().ran.set(false);
        let chains = self.host().chains.borrow().len();
        let ast = self.compiled(&script, number)?;
        let variables = self.runner.scope.len();
        let done = self.evaluated(&script, &ast, chains, typed, keep);
        if done.is_err() {
            // A line that failed defines nothing.
            self.runner.scope.rewind(variables);
        }
        done
    }

    fn evaluated(
        &mut self,
        script: &Script,
        ast: &AST,
        chains: usize,
        typed: bool,
        keep: bool,
    ) -> Result<Done, Diagnostic> {
        let outcome = self.caught(script, ast);
        let (exit, interrupted) = (self.host().exit.take(), self.host().asked_to_end.take().is_some());
        let ended = self.host().ended.take();
        self.left = ended.filter(|status| *status != 0).or(self.left);
        // Ctrl-C ended a run; the next one was not begun.
        let interrupted = interrupted || ended == Some(0) && outcome.as_ref().is_err_and(errors::is_endless);
        match (exit, outcome) {
            (None, Err(_)) if interrupted => Err(errors::interrupted().nowhere()),
            (Some(_), Err(_)) if interrupted => Err(errors::interrupted().nowhere()),
            (Some(_), Err(_)) if !typed => Ok(Done::default()),
            (Some(status), Err(_)) => {
                self.left = Some(status);
                Ok(Done::default())
            }
            (_, Err(_)) if self.left.is_some() => Ok(Done::default()),
            (_, Err(diagnostic)) => Err(diagnostic),
            (_, Ok(value)) => {
                self.functions = self.functions.merge(&ast.clone_functions_only());
                self.keep_imports(&script.text);
                let mut done =
                    Done { chains: (chains..self.host().chains.borrow().len()).collect(), value, showed: false };
                let started = self.interactive().start(&self.host().clone());
                let started = started.map_err(|diagnostic| self.placed(diagnostic))?;
                done.chains.extend(started.iter().filter(|n| **n < chains));
                done.showed = !self.interactive().changed.get() && show::value(self.host(), &done.value, &started);
                if keep {
                    let interactive = self.interactive();
                    // A value that was looked at, and nothing that began or changed.
                    let changed = !done.chains.is_empty() || interactive.changed.get() || self.host().ran.get();
                    let look = !done.value.is_unit() && !changed || interactive.played.get();
                    let reads = interactive.looked.get();
                    if !look {
                        self.saved.add(&script.text, reads);
                    }
                }
                Ok(done)
            }
        }
    }

    /// The text of the last line of Rhai.
    pub fn last(&self) -> &str {
        self.lines.last().map_or("", |script| &script.text)
    }

    fn compiled(&self, script: &Script, number: usize) -> Result<AST, Diagnostic> {
        let Runner { engine, scope, .. } = &self.runner;
        let compiled = catch_unwind(AssertUnwindSafe(|| engine.compile_with_scope(scope, &*script.text)));
        let mut ast = compiled.map_err(|_| bug())?.map_err(|error| self.runner.failed(script).of_parse(&error))?;
        check_comments(&script.text)?;
        ast.set_source(modules::source(number));
        Ok(ast)
    }

    /// A panic ends the line, and not the session.
    fn caught(&mut self, script: &Script, ast: &AST) -> Result<Dynamic, Diagnostic> {
        self.host().computes();
        let whole = self.functions.merge(ast);
        let Runner { engine, scope, .. } = &mut self.runner;
        let outcome = catch_unwind(AssertUnwindSafe(|| engine.eval_ast_with_scope::<Dynamic>(scope, &whole)));
        match outcome {
            Ok(outcome) => outcome.map_err(|error| self.runner.failed(script).of_run(&error)),
            Err(_) => Err(bug()),
        }
    }

    /// Adds the line that a chain was written in.
    fn placed(&self, diagnostic: Diagnostic) -> Diagnostic {
        match diagnostic.position.and_then(|at| self.runner.imports.get(at.script)) {
            Some(script) => diagnostic.within(&script),
            None => diagnostic,
        }
    }

    /// Imports are of one line in Rhai; here they last.
    fn keep_imports(&mut self, text: &str) {
        let mut words = text.split_whitespace().peekable();
        while let Some(word) = words.next() {
            if word != "import" {
                continue;
            }
            let (Some(path), Some("as"), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
            let (path, name) = (path.trim_matches(['"', '`']), name.trim_end_matches(';'));
            let engine = &mut self.runner.engine;
            let resolved: Result<rhai::Shared<Module>, _> =
                engine.module_resolver().resolve(engine, None, path, Position::NONE);
            if let Ok(module) = resolved {
                engine.register_static_module(name, module);
            }
        }
    }

    /// Shows what went wrong in the background.
    fn show_failures(&mut self) {
        let failures = self.interactive().failures.take();
        for (line, error) in failures {
            let script = self.lines.get(line.wrapping_sub(1)).cloned();
            let script = script.unwrap_or(Script { name: String::new(), text: "".into() });
            let diagnostic = self.runner.failed(&script).of_run(&error);
            self.show_error(&diagnostic, line);
        }
    }

    fn show_error(&self, diagnostic: &Diagnostic, line: usize) -> (Kind, String) {
        let script = self.lines.get(line.wrapping_sub(1));
        let (name, text) = script.map_or(("", ""), |script| (script.name.as_str(), &*script.text));
        let (kind, shown) = rendered(diagnostic, name, text);
        let mut output = self.host().output.borrow_mut();
        output.tell(shown.trim_end());
        (kind, shown)
    }

    /// Tells front ends what can be completed now.
    fn refresh(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let chains = self.host().chains.borrow();
        let ours: std::collections::HashSet<&str> = self.runner.known().iter().map(String::as_str).collect();
        let variables = self.runner.scope.iter().filter(|(name, _, _)| !ours.contains(name));
        known.variables = variables.map(|(name, _, value)| (name.to_owned(), Nature::of(&value, &chains))).collect();
        known.functions =
            self.functions.iter_functions().map(|one| one.name.to_owned()).filter(|name| !name.contains('$')).collect();
        known.jobs = self.interactive().jobs.numbers();
    }

    /// Detaches everything; `at_end` closures have their say.
    fn leave(&mut self) {
        let jobs = self.interactive().jobs.len();
        if jobs > 0 {
            self.tell(&format!("detaching {jobs} job{}", if jobs == 1 { "" } else { "s" }));
        }
        let left = self.within(|context, host| {
            if let Some(interactive) = host.interactive.get() {
                interactive.stop_all();
                interactive.settle(context, host);
            }
            run::end(context, host)
        });
        if let Err(diagnostic) = left {
            self.show_error(&diagnostic, 0);
        }
        self.host().output.borrow_mut().flush();
    }

    /// The chain that a variable of the session holds.
    pub fn chain(&self, name: &str) -> Option<usize> {
        let scope: &Scope<'static> = &self.runner.scope;
        scope.get(name)?.read_lock::<Probe>().map(|probe| probe.chain)
    }
}

fn rendered(diagnostic: &Diagnostic, name: &str, text: &str) -> (Kind, String) {
    (diagnostic.kind, diagnostic.render(name, text))
}

/// What the last panic said.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// A panic is shown as one of our bugs, and not in the middle of what is being typed.
pub fn quiet_panics() {
    let own = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() != own {
            return before(info);
        }
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string().replace('\n', " ");
    }));
}

/// What the last panic of this thread was, once [`quiet_panics`] was called.
pub fn panicked() -> Diagnostic {
    Diagnostic::bug(PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone()).nowhere()
}

fn bug() -> Diagnostic {
    panicked().help("the session goes on; please report this with the line that you typed")
}
