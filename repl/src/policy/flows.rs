//! `skep policy apply --output`: verdicts on single packets, as flows, while they come.

use crate::run::show;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::network::hubble::Response;
use skep_runtime::network::hubble::printer::{self, Options, Printer};
use skep_runtime::policy::denial::Denial;
use skep_runtime::policy::flows::Witness;
use skep_runtime::threads;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Printed(printer::Form),
}

/// So many wait to be printed; whoever reads more slowly sees fewer.
const WAITING: usize = 4096;

pub fn argument() -> Arg {
    Arg::new("output")
        .short('o')
        .long("output")
        .value_name("FORM")
        .help("print some of the verdicts as `skep observe` prints flows: compact, dict or json")
        // As every command has it.
        .value_parser(value_parser!(PathBuf))
        .action(ArgAction::Append)
}

/// What was asked for.
pub fn wanted(matches: &ArgMatches) -> Option<String> {
    matches.get_many::<PathBuf>("output").into_iter().flatten().last().map(|form| form.display().to_string())
}

impl Form {
    /// # Errors
    /// A script diagnostic: there is no such form.
    pub fn named(name: &str) -> Result<Form, Diagnostic> {
        match name {
            "compact" => Ok(Form::Printed(printer::Form::Compact)),
            "dict" => Ok(Form::Printed(printer::Form::Dict)),
            "json" | "jsonpb" => Ok(Form::Json),
            _ => {
                Err(Diagnostic::script(format!("`{name}` is no form of verdicts"))
                    .help("-o compact, -o dict or -o json"))
            }
        }
    }

    /// Prints what comes through the channel until nobody sends any more.
    ///
    /// # Errors
    /// No thread is to be had for it.
    pub fn print(self, witness: Witness) -> Result<(SyncSender<Denial>, JoinHandle<u8>), Diagnostic> {
        let (sender, denials) = sync_channel(WAITING);
        let printing = threads::start(move || {
            print(self, witness, &denials).unwrap_or_else(|error| show(&error.nowhere(), None))
        })?;
        Ok((sender, printing))
    }
}

fn print(form: Form, mut witness: Witness, denials: &Receiver<Denial>) -> Result<u8, Diagnostic> {
    let terminal = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut printer = match form {
        Form::Json => None,
        Form::Printed(form) => {
            Some(Printer::new(Options { form, policy_names: true, colour: terminal, ..Options::default() }))
        }
    };
    for denial in denials {
        let Some(flow) = witness.flow(&denial)? else { continue };
        let response = Response::from(flow);
        let line = match &mut printer {
            Some(printer) => printer.print(&response),
            None => response.line() + "\n",
        };
        let mut out = io::stdout().lock();
        // Nobody reads any more; the policy goes on.
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    Ok(0)
}
