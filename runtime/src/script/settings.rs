//! `.set(#{ … })`: parameters of a template, changed after the chain was made.
//!
//! Parameters are constants of the programs, so that those that are not used cost nothing: a chain that runs is
//! specialised and attached anew. The new programs are there before the old ones go.

use super::host::{Fallible, State, raise};
use super::probe::{Probe, parameters};
use crate::diagnostic::Diagnostic;
use crate::plan::{Entry, Source};
use rhai::{Engine, Map, NativeCallContext};

pub fn register(engine: &mut Engine) {
    engine.register_fn("set", |context: NativeCallContext, probe: Probe, settings: Map| -> Fallible<Probe> {
        let changes = parameters(&settings, &context)?;
        let before = probe.host.chains.borrow()[probe.chain].entry.clone();
        let mut entry = before.clone();
        let Source::Template { name, parameters } = &mut entry.source else {
            let message =
                format!("`set` changes parameters of templates, and this chain watches {}", before.source_text());
            return raise(
                Diagnostic::script(message).help("another chain, with another .filter(…)"),
                context.call_position(),
            );
        };
        for change in changes {
            parameters.retain(|(name, ..)| *name != change.0);
            parameters.push(change);
        }
        parameters.sort_by(|a, b| a.0.cmp(&b.0));
        let name = name.clone();
        probe.host.chains.borrow_mut()[probe.chain].entry = entry;
        let restore = |entry: Entry| probe.host.chains.borrow_mut()[probe.chain].entry = entry;
        if let Err(diagnostic) = probe.host.prepare(probe.chain) {
            restore(before);
            return raise(diagnostic, context.call_position());
        }
        if probe.host.chains.borrow()[probe.chain].state != State::Running {
            return Ok(probe);
        }
        let interactive = probe.host.interactive.get();
        let job = interactive.and_then(|one| Some((one, one.jobs.of_chain(probe.chain)?)));
        match job {
            Some((interactive, job)) if !interactive.is_calling() => {
                if let Err(error) = interactive.replace(&context, &probe.host, probe.chain, &job) {
                    restore(before);
                    return Err(error);
                }
                let text = format!(
                    "`{name}` was attached anew: its parameters are constants of its programs; counts begin anew"
                );
                interactive.changed.set(true);
                probe.host.output.borrow_mut().tell(&text);
                Ok(probe)
            }
            _ => {
                restore(before);
                let error = Diagnostic::script("a chain cannot be changed while its run is waited for");
                raise(error.help("in a session, on a line of its own: t.set(#{ … })"), context.call_position())
            }
        }
    });
}
