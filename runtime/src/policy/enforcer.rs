//! An enforcer: one policy at one place, from its programs' load to their end. It begins as an audit; what it enforces, and
//! until when, is one word that programs read. Needs CAP_BPF, CAP_NET_ADMIN.
//!
//! A swap loads new programs with new tables beside the old, then exchanges the programs, one hook after the other: each
//! packet meets the whole of the old policy or the whole of the new one, and none meets neither.

use super::place::Place;
use super::programs::{self, Kept, Outcomes, can_deny};
use super::rules::{Action, Direction, Rules, Side};
use super::tables::{Counter, Counters, Tables};
use crate::diagnostic::Diagnostic;
use crate::kernel::load;
use crate::kernel::network::{Attachment, Hook};
use crate::kernel::{map::Map, sys};
use skep_templates::catalog::Catalog;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How a policy is set up; what does not change with its rules.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Do replies pass? `None`: where the rules can deny anything; at XDP, which does not see what leaves, only where
    /// what no rule names is denied.
    pub tracks: Option<bool>,
    /// Connections at a time, at most: the least recently used one goes first. 120 bytes each.
    pub connections: u32,
    /// Rules by name, at most, over all swaps; `None`: twice those of the first policy.
    pub names: Option<u32>,
    /// Is some of what passes to be seen, too?
    pub shows_passing: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { tracks: None, connections: 131_072, names: None, shows_passing: false }
    }
}

/// What happened by one rule in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub rule: Arc<str>,
    pub direction: Direction,
    pub outcomes: Outcomes,
}

/// A policy at work. Drop it, and everything passes; so it does when this process dies, however it dies.
#[derive(Debug)]
pub struct Enforcer {
    place: Place,
    catalog: CatalogHandle,
    options: Options,
    counters: Counters,
    kept: Kept,
    hooks: Vec<Hooked>,
}

/// A catalog does not print.
struct CatalogHandle(Catalog);

impl std::fmt::Debug for CatalogHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Catalog")
    }
}

#[derive(Debug)]
struct Hooked {
    hook: Hook,
    attachment: Attachment,
    program: OwnedFd,
}

/// Enforced for good; 0 is an audit.
pub const FOR_EVER: u64 = u64::MAX;
const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

impl Enforcer {
    /// Puts a policy in place as an audit: what it denies is counted, and passes.
    ///
    /// # Errors
    /// A diagnostic: rules that the place cannot enforce, more than tables hold, no privilege, programs of others.
    pub fn audit(place: Place, rules: &Rules, options: Options, catalog: &Catalog) -> Result<Enforcer, Diagnostic> {
        let mut counters = Counters::default();
        let compiled = Compiled::new(&place, rules, options, &mut counters)?;
        let names = counters.iter().len() as u32;
        let room = options.names.unwrap_or(2 * names).max(names + 64);
        let kept = Kept::create(room, if compiled.tracks { options.connections } else { 1 });
        let kept = kept.map_err(|error| load::refused("policy", &error))?;
        let catalog = CatalogHandle(catalog.clone());
        let mut enforcer = Enforcer { place, catalog, options, counters, kept, hooks: Vec::new() };
        // Whether replies pass does not change later: the table of connections has its size now.
        enforcer.options.tracks = Some(compiled.tracks);
        enforcer.put(&compiled)?;
        Ok(enforcer)
    }

    /// Exchanges the rules; connections, counters and what is enforced go on.
    ///
    /// # Errors
    /// As [`Enforcer::audit`]; then the old rules hold.
    pub fn swap(&mut self, rules: &Rules) -> Result<(), Diagnostic> {
        let mut counters = self.counters.clone();
        let compiled = Compiled::new(&self.place, rules, self.options, &mut counters)?;
        let (names, room) = (counters.iter().len(), self.kept.room());
        if names > room as usize {
            return Err(Diagnostic::script(format!(
                "{names} rules by name, with those of earlier policies, and room for {room}"
            ))
            .help("skep policy rollback, then skep policy apply"));
        }
        self.counters = counters;
        self.put(&compiled)
    }

    fn put(&mut self, compiled: &Compiled) -> Result<(), Diagnostic> {
        self.kept.limit(&self.counters).map_err(|error| load::refused("policy", &error))?;
        let mut wanted = Vec::new();
        for (direction, tables) in DIRECTIONS.into_iter().zip(&compiled.tables) {
            let Some(tables) = tables else { continue };
            let hooks = self.place.hooks(direction);
            let flags = [("tracks", compiled.tracks), ("passing", self.options.shows_passing)];
            let programs = programs::load(&self.catalog.0, hooks, direction, tables, &self.kept, &flags)?;
            wanted.extend(hooks.iter().copied().zip(programs));
        }
        let gone = |hooked: &Hooked| !wanted.iter().any(|(hook, _)| *hook == hooked.hook);
        let dropped: Vec<usize> = (0..self.hooks.len()).filter(|at| gone(&self.hooks[*at])).collect();
        for (hook, program) in wanted {
            match self.hooks.iter_mut().find(|hooked| hooked.hook == hook) {
                Some(hooked) => {
                    hooked.attachment.replace(program.as_fd()).map_err(|error| self.place.lost(&error))?;
                    hooked.program = program;
                }
                None => {
                    let attachment = self.place.attach(hook, program.as_fd())?;
                    self.hooks.push(Hooked { hook, attachment, program });
                }
            }
        }
        dropped.into_iter().rev().for_each(|at| drop(self.hooks.remove(at)));
        Ok(())
    }

    /// Denials are enforced from now on for so long (`None`: for good), then counted and passed again. Exact: programs read
    /// the clock themselves, whoever is there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn enforce(&self, time: Option<Duration>) -> Result<(), Diagnostic> {
        let until = time.map_or(FOR_EVER, |time| sys::monotonic().saturating_add(time.as_nanos() as u64));
        self.enforce_until(until)
    }

    /// By [`sys::monotonic`]; 0: from now on nothing is denied.
    ///
    /// # Errors
    /// The kernel's.
    pub fn enforce_until(&self, until: u64) -> Result<(), Diagnostic> {
        let set = self.kept.settings.update(&0u32.to_ne_bytes(), &until.to_ne_bytes());
        set.map_err(|error| load::refused("policy", &error))
    }

    /// What happened, by rule; rules that met no packet among them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counts(&self) -> Result<Vec<Counted>, Diagnostic> {
        let entries = self.kept.counters.entries().map_err(|error| load::refused("policy", &error))?;
        let mut counted: Vec<Counted> = Vec::new();
        let mut places = HashMap::new();
        for (key, per_cpu) in entries {
            let Some(number) = key.try_into().ok().map(u32::from_ne_bytes) else { continue };
            let Some(Counter { rule, direction, .. }) = self.counters.get(number) else { continue };
            // Rules of one name may differ in their rate.
            let place = *places.entry((rule, *direction)).or_insert(counted.len());
            if place == counted.len() {
                let outcomes = Outcomes::default();
                counted.push(Counted { rule: rule.clone(), direction: *direction, outcomes });
            }
            counted[place].outcomes.add(&Outcomes::read(&per_cpu));
        }
        Ok(counted)
    }

    /// Names of rules by their number, for samples.
    pub fn rule(&self, number: u32) -> Option<&Arc<str>> {
        self.counters.get(number).map(|counter| &counter.rule)
    }

    /// The ring buffer of what is sampled.
    pub fn denials(&self) -> &Map {
        &self.kept.denials
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Do replies pass?
    pub fn tracks(&self) -> bool {
        self.options.tracks == Some(true)
    }

    /// A program, for test runs.
    pub fn program(&self, hook: Hook) -> Option<&OwnedFd> {
        self.hooks.iter().find(|hooked| hooked.hook == hook).map(|hooked| &hooked.program)
    }

    /// Keeps it at work beyond this process, until the files in `folder` (of a BPF file system) are removed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pin(&mut self, folder: &Path) -> io::Result<()> {
        for hooked in &mut self.hooks {
            hooked.attachment.pin(&folder.join(format!("{:?}", hooked.hook).to_lowercase()))?;
        }
        Ok(())
    }
}

/// Both directions; a direction that has nothing to do is `None`.
struct Compiled {
    tables: [Option<Tables>; 2],
    tracks: bool,
}

impl Compiled {
    fn new(place: &Place, rules: &Rules, options: Options, counters: &mut Counters) -> Result<Compiled, Diagnostic> {
        let is_xdp = matches!(place, Place::Xdp(_));
        if is_xdp && rules.egress != Side::default() {
            return Err(Diagnostic::script(format!(
                "`{place}` sees only what comes in, and this policy has egress rules"
            ))
            .help(place.to_string().replace("xdp:", "tc:")));
        }
        let ingress = Tables::compile(&rules.ingress, Direction::Ingress, counters)?;
        let egress = Tables::compile(&rules.egress, Direction::Egress, counters)?;
        let wanted =
            if is_xdp { rules.ingress.otherwise == Action::Deny } else { can_deny(&ingress) || can_deny(&egress) };
        let tracks = options.tracks.unwrap_or(wanted);
        // Where replies pass, what leaves tells which ones are replies.
        let has_work = |side: &Side| tracks || *side != Side::default();
        let tables = [has_work(&rules.ingress).then_some(ingress), has_work(&rules.egress).then_some(egress)];
        Ok(Compiled { tables, tracks })
    }
}
