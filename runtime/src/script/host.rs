//! The host: what one script's run is made of, shared by the functions that the script calls.

use super::called::Callee;
use super::child::CommandEnd;
use super::intervals::{self, Intervals, Shown};
use super::modules;
use super::names::Names;
use super::output::Output;
use super::params::Params;
use super::policies::Said;
use crate::aggregate::table::Table;
use crate::audit::run::Audit;
use crate::baseline::series::Measured;
use crate::budget::Allowance;
use crate::budget::limits::Limits;
use crate::diagnostic::Diagnostic;
use crate::feed::Values;
use crate::following::Following;
use crate::interactive::Interactive;
use crate::kernel::{load, signals};
use crate::machine::Machine;
use crate::node::Node;
use crate::permit::gate::Gate;
use crate::plan::Entry;
use crate::prepare::{Prepared, Restrict, prepare};
use crate::recording::Tape;
use crate::report::finding::{Finding, Level};
use crate::report::graph::Target;
use crate::session::Sizes;
use crate::span::Pairing;
use crate::stacks::Stacks;
use crate::trust::Trust;
use rhai::{Dynamic, EvalAltResult, FnPtr, NativeCallContext, Position};
use skep_flamegraphs::profile::Profile;
use skep_templates::catalog::Catalog;
use std::cell::{Cell, OnceCell, RefCell};
use std::process::Child;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What a function of a script may fail with.
pub type Fallible<T> = Result<T, Box<EvalAltResult>>;

/// Does the script run, or is it only asked what it would do?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Run,
    /// `run` returns at once, with empty values.
    Plan,
    /// Chains run in the background as soon as they are whole; `run` waits for one in the foreground.
    Interactive,
}

/// How long a closure may go on after a signal: one that prints a report ends it.
const GRACE: Duration = Duration::from_millis(100);

/// A closure of the script, and where it was given.
#[derive(Clone)]
pub struct Closure {
    pub function: FnPtr,
    pub position: Option<crate::diagnostic::Position>,
    /// The called script that it is of.
    pub callee: Option<Rc<Callee>>,
}

impl Closure {
    pub fn new(context: &NativeCallContext, host: &Host, function: FnPtr) -> Closure {
        Closure { function, position: called(context), callee: host.speaking() }
    }
}

/// One chain of the script, with what belongs to the script's side of it.
pub struct Chain {
    pub entry: Entry,
    /// Of `each`.
    pub each: Option<Closure>,
    pub state: State,
    /// The values after the last run; until then the session has them.
    pub table: Option<Table>,
    /// How complete they are, and how long the run took.
    pub trust: Trust,
    /// What it had in intervals that are over, where the script is given all of it.
    pub whole: Option<Option<Table>>,
    pub shown: Shown,
    pub ran: Duration,
    /// The script took the value, or said `quiet`: it is not printed at the end.
    pub taken: Rc<Cell<bool>>,
    /// The called script that it is of: nothing of it is printed.
    pub callee: Option<Rc<Callee>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Waiting,
    Running,
    Done,
}

/// A session that runs now, and which chains are in it.
pub struct Active {
    pub session: RefCell<Values>,
    pub chains: Vec<usize>,
    pub prepared: Vec<Prepared>,
}

/// Settings of one run, from the command line.
pub struct Settings {
    pub mode: Mode,
    pub catalog: Catalog,
    pub machine: Machine,
    pub restrict: Restrict,
    pub sizes: Sizes,
    /// Ends every run after this time.
    pub longest: Option<Duration>,
    /// How much of a processor each run may take.
    pub budget: Allowance,
    pub limits: Limits,
    /// Somebody is there who can be asked.
    pub asks: bool,
    /// Files that the first table with call chains is written to, in place of being printed.
    pub graphs: Vec<Target>,
    /// What such a graph is called.
    pub title: String,
    /// Inlined functions, files and lines of call chains, from debug information.
    pub inlines: bool,
    /// Say each second how far a run is.
    pub progress: bool,
    /// Policies may drop packets, if the script asks for it.
    pub enforce: bool,
    /// What /proc and the control groups are read from.
    pub node: Node,
}

#[cfg(any(test, feature = "fuzz"))]
impl Settings {
    /// This machine, nothing else asked for.
    pub fn bare(mode: Mode) -> Settings {
        Settings {
            mode,
            catalog: Catalog::embedded(),
            machine: Machine::live(),
            restrict: Restrict::default(),
            sizes: Sizes::default(),
            longest: None,
            budget: Allowance::Unsaid,
            limits: Limits::default(),
            asks: false,
            graphs: Vec::new(),
            title: String::new(),
            inlines: false,
            progress: false,
            enforce: false,
            node: Node::live(),
        }
    }
}

/// A command that waits to be let go once everything is attached.
pub struct Command {
    pub release: Option<Box<dyn FnOnce() -> std::io::Result<Child>>>,
}

pub struct Host {
    pub settings: Settings,
    /// What the script that was started is called.
    pub script: RefCell<String>,
    pub chains: RefCell<Vec<Chain>>,
    pub policies: RefCell<Vec<Said>>,
    pub timers: RefCell<Vec<(Duration, Closure)>>,
    pub at_end: RefCell<Vec<Closure>>,
    /// Called scripts that speak now, each called by the one before it.
    pub callees: RefCell<Vec<Rc<Callee>>>,
    /// What the script has found so far.
    pub findings: RefCell<Vec<Finding>>,
    /// How often the script shows its results unless the command line says otherwise.
    pub interval: Cell<Option<Duration>>,
    /// What runs now: one session at a time in a script, one for each job where somebody types.
    pub active: RefCell<Vec<Rc<Active>>>,
    /// What somebody who types has besides.
    pub interactive: OnceCell<Interactive>,
    /// From the first run to the end: what is started between two runs is followed in the second.
    pub following: RefCell<Option<Following>>,
    pub params: RefCell<Params>,
    pub output: RefCell<Output>,
    pub command: RefCell<Option<Command>>,
    pub command_end: CommandEnd,
    pub trust: Cell<Trust>,
    /// `exit()` was called, with this status: no closure is called any more.
    pub exit: Cell<Option<i32>>,
    /// A signal came or the command ended: no further run begins, but what was seen is still delivered.
    pub ended: Cell<Option<i32>>,
    /// There was a run.
    pub ran: Cell<bool>,
    /// No run comes behind the one that there is.
    pub last: Cell<bool>,
    /// There was a look at what is there behind the end, or could have been.
    pub looked_back: Cell<bool>,
    /// Since when the script computes without waiting for events; `None` until somebody asks.
    busy_since: Cell<Option<Instant>>,
    /// When it was last looked how much memory skep holds.
    looked: Cell<Instant>,
    /// The script made a text of a field: its next step fails with this.
    pub refused: RefCell<Option<Diagnostic>>,
    /// Since when a signal waits for a closure to end.
    pub asked_to_end: Cell<Option<Instant>>,
    /// The samples of all runs, where somebody keeps them.
    pub measured: RefCell<Option<Measured>>,
    /// What was written to the graphs that the command line asked for.
    pub profile: RefCell<Option<Profile>>,
    pub names: Rc<Names>,
    /// What it is held to, where it is run for somebody else.
    pub gate: OnceCell<Gate>,
    /// Does this run record, or replay?
    pub tape: Tape,
    /// Where it is noted, if anybody keeps a log.
    pub audit: OnceCell<Audit>,
}

impl Host {
    pub fn new(settings: Settings, params: Params, output: Output, command: Option<Command>) -> Rc<Host> {
        Host::with_tape(settings, params, output, command, Tape::Off)
    }

    /// The same, of a run that records or replays.
    pub fn with_tape(
        settings: Settings,
        params: Params,
        output: Output,
        command: Option<Command>,
        tape: Tape,
    ) -> Rc<Host> {
        let names = Rc::new(Names::default());
        let _new = names.tape.set(tape.clone());
        names.inlines.set(settings.inlines);
        Rc::new(Host {
            settings,
            script: RefCell::default(),
            chains: RefCell::default(),
            policies: RefCell::default(),
            timers: RefCell::default(),
            at_end: RefCell::default(),
            callees: RefCell::default(),
            findings: RefCell::default(),
            interval: Cell::default(),
            active: RefCell::default(),
            interactive: OnceCell::new(),
            following: RefCell::default(),
            params: RefCell::new(params),
            output: RefCell::new(output),
            command: RefCell::new(command),
            command_end: CommandEnd::default(),
            trust: Cell::default(),
            exit: Cell::new(None),
            ended: Cell::new(None),
            ran: Cell::new(false),
            last: Cell::new(false),
            looked_back: Cell::new(false),
            busy_since: Cell::new(None),
            looked: Cell::new(Instant::now()),
            refused: RefCell::default(),
            asked_to_end: Cell::new(None),
            measured: RefCell::default(),
            profile: RefCell::default(),
            names,
            gate: OnceCell::new(),
            tape,
            audit: OnceCell::new(),
        })
    }

    /// The script computes from here on. For each event: what time it is, is not looked up.
    pub fn computes(&self) {
        self.busy_since.set(None);
    }

    /// Since when the script computes, from the first look on.
    pub fn busy_since(&self) -> Instant {
        let since = self.busy_since.get().unwrap_or_else(Instant::now);
        self.busy_since.set(Some(since));
        since
    }

    /// A signal came while the script computes, and it went on for too long: it ends as `exit()` would end it.
    pub fn interrupted(&self) -> bool {
        if !signals::pending() {
            return false;
        }
        let now = Instant::now();
        let since = self.asked_to_end.get().unwrap_or(now);
        self.asked_to_end.set(Some(since));
        // Each call has its time: those for the events that are still to come are many, and do end.
        let over = now.saturating_duration_since(since.max(self.busy_since())) > GRACE;
        if over && let Some(signal) = signals::take() {
            self.exit.set(Some(signals::status(signal)));
        }
        over
    }

    /// A signal came, or the command ended: no further run begins, and the one that there is ends.
    pub fn is_ended(&self) -> bool {
        let status = self.tape.ended(|| match signals::take() {
            Some(signal) => Some(signals::status(signal)),
            None => (self.ended.get().is_none() && self.command_end.has_come()).then_some(0),
        });
        if status.is_some() {
            self.ended.set(status);
        }
        self.ended.get().is_some()
    }

    /// Skep itself holds more memory than it may. Looked at ten times a second at most.
    pub fn too_large(&self) -> Option<Diagnostic> {
        if self.looked.get().elapsed() < Duration::from_millis(100) {
            return None;
        }
        self.looked.set(Instant::now());
        let held = crate::report::units::bytes(self.settings.limits.exceeded()?);
        let error = Diagnostic::script(format!("skep holds {held} of memory, more than --max-memory lets it"));
        Some(error.help("keep less in the script: aggregate in the kernel, .top(20)").nowhere())
    }

    /// The status to exit with: what the script said, a signal's, or that of the worst finding.
    pub fn status(&self) -> i32 {
        let worst = || self.findings.borrow().iter().map(|finding| finding.level).max();
        let ended = self.ended.get().filter(|status| *status != 0);
        self.exit.get().or(ended).unwrap_or_else(|| worst().map_or(0, Level::status))
    }

    /// At which intervals results are shown.
    ///
    /// # Errors
    /// A script diagnostic: what the command line says makes none.
    pub fn intervals(&self) -> Result<Option<Intervals>, Diagnostic> {
        Intervals::of(&self.params.borrow(), self.interval.get())
    }

    /// The command line that starts this script with an option more.
    pub fn again(&self, option: &str) -> String {
        match self.script.borrow().as_str() {
            "-e" => format!("sudo skep {option} -e '…'"),
            name => format!("sudo skep run {name} {option}"),
        }
    }

    /// Adds a chain; its number is its handle.
    pub fn add(&self, entry: Entry) -> usize {
        let mut chains = self.chains.borrow_mut();
        let callee = self.speaking();
        let taken = Rc::new(Cell::new(callee.is_some()));
        chains.push(Chain {
            entry,
            each: None,
            state: State::Waiting,
            table: None,
            trust: Trust::default(),
            whole: None,
            shown: Shown::default(),
            ran: Duration::ZERO,
            taken,
            callee,
        });
        chains.len() - 1
    }

    /// Prepares a chain for the kernel.
    ///
    /// # Errors
    /// As [`prepare`].
    pub fn prepare(&self, chain: usize) -> Result<Prepared, Diagnostic> {
        self.prepare_for(chain, &self.settings.restrict)
    }

    /// The same with other restrictions than those of the command line.
    ///
    /// # Errors
    /// As [`prepare`].
    pub fn prepare_for(&self, chain: usize, restrict: &Restrict) -> Result<Prepared, Diagnostic> {
        let chains = self.chains.borrow();
        let settings = &self.settings;
        let entry = &chains[chain].entry;
        let prepare = |restrict: &Restrict| prepare(entry, chain, &settings.catalog, &settings.machine, restrict);
        match self.gate.get() {
            Some(gate) => gate.pass(entry, restrict, prepare),
            None => prepare(restrict),
        }
    }

    /// Where chains that ask for call chains keep them; `None` where none does.
    ///
    /// # Errors
    /// A machine diagnostic: no privilege, no memory.
    pub fn stacks(&self, prepared: &[Prepared]) -> Result<Option<Rc<Stacks>>, Diagnostic> {
        if !prepared.iter().any(Prepared::has_stacks) {
            return Ok(None);
        }
        let none_left = || Diagnostic::machine("failed to start the thread that finds names for addresses");
        let symbols = self.names.symbols().ok_or_else(none_left)?.clone();
        // Another process may end a span, and its chain be asked for.
        let others = prepared.iter().any(|one| one.span.as_ref().is_some_and(|span| span.pairing == Pairing::Given));
        self.names.watch(self.settings.restrict.pid.filter(|_| !others));
        symbols.expect_kernel();
        let stacks = Stacks::create(self.settings.sizes.stacks, symbols, self.tape.clone());
        stacks.map(|stacks| Some(Rc::new(stacks))).map_err(|error| load::refused("stacks", &error))
    }

    /// From now on this run is noted there.
    pub fn note_in(&self, audit: Option<Audit>) {
        // A run has one log: the first.
        audit.into_iter().for_each(|audit| drop(self.audit.set(audit)));
    }

    /// Notes what is about to be attached, where somebody keeps a log.
    ///
    /// # Errors
    /// As [`Audit::attaches`].
    pub fn audited(&self, what: impl FnOnce() -> serde_json::Value) -> Result<(), Diagnostic> {
        let Some(audit) = self.audit.get() else { return Ok(()) };
        if let Some(warning) = audit.attaches(what())? {
            self.output.borrow_mut().tell(&warning);
        }
        Ok(())
    }

    /// Says a line about the machine, which a replay says too.
    pub fn tell(&self, line: &str) {
        self.tape.told(line);
        self.output.borrow_mut().tell(line);
    }

    /// The session that a chain runs in, and which of its entries the chain is.
    pub fn running(&self, chain: usize) -> Option<(Rc<Active>, usize)> {
        let active = self.active.borrow();
        active.iter().find_map(|one| Some((one.clone(), one.chains.iter().position(|n| *n == chain)?)))
    }

    /// The values of a chain as they are now, in the order that its view asks for; `None` for streams and before a run.
    ///
    /// # Errors
    /// The kernel's, and a view that names no column.
    pub fn table(&self, chain: usize) -> Result<Option<Table>, Diagnostic> {
        self.viewed(chain, None)
    }

    /// The same, to be shown: with as many rows as the command line says.
    ///
    /// # Errors
    /// As [`Host::table`]; `--top` says no number.
    pub fn shown(&self, chain: usize) -> Result<Option<Table>, Diagnostic> {
        let top = intervals::top(&self.params.borrow())?;
        self.viewed(chain, top)
    }

    fn viewed(&self, chain: usize, top: Option<usize>) -> Result<Option<Table>, Diagnostic> {
        if let Some(interactive) = self.interactive.get() {
            interactive.looked.set(true);
        }
        let live = self.running(chain).map(|(active, n)| active.session.borrow().table(n));
        let chains = self.chains.borrow();
        let table = match live {
            Some(table) => {
                table.map_err(|error| Diagnostic::machine(format!("failed to read values: {}", load::text(&error))))?
            }
            None => chains[chain].table.clone(),
        };
        table.map(|table| arranged(table, &chains[chain].entry, top)).transpose()
    }
}

/// Sorted and cut as the chain's view says; `top`: to so many rows, whatever it says.
pub fn arranged(mut table: Table, entry: &Entry, top: Option<usize>) -> Result<Table, Diagnostic> {
    if let Some((column, direction)) = &entry.view.sort {
        let descending = *direction == crate::plan::Direction::Descending;
        table.sort_by(column, descending).map_err(|message| Diagnostic::script(message).at(entry.position))?;
    }
    if let Some(top) = top.or(entry.view.top) {
        table.top(top);
    }
    Ok(table)
}

/// A diagnostic as Rhai carries it.
pub fn raise<T>(diagnostic: Diagnostic, position: Position) -> Fallible<T> {
    let position = diagnostic.position.map_or(position, |at| Position::new(at.line as u16, at.column as u16));
    Err(Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(diagnostic), position)))
}

/// Rhai's position as ours.
pub fn place(position: Position) -> Option<crate::diagnostic::Position> {
    Some(crate::diagnostic::Position::new(position.line()?, position.position().unwrap_or(1)))
}

/// Where a function was called, in an imported script too.
pub fn called(context: &NativeCallContext) -> Option<crate::diagnostic::Position> {
    let mut position = place(context.call_position())?;
    position.script = context.call_source().and_then(modules::number).unwrap_or(0);
    Some(position)
}
