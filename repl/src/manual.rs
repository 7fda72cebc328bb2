//! `skep manual`: pages for man, made from the command line's own definition.

use crate::args::command;
use crate::list::put;
use crate::run::show;
use clap::{Arg, ArgMatches, Command};
use skep_runtime::diagnostic::{Diagnostic, nearest};

const EXAMPLES: &str = "\
Examples:
  skep manual | man -l -
  skep manual lib check > skep-lib-check.1";

pub fn manual() -> Command {
    Command::new("manual")
        .about("Print the manual page, of skep or of one of its commands, in roff")
        .after_help(EXAMPLES)
        .arg(Arg::new("command").value_name("COMMAND").help("such as run, or lib check").num_args(0..))
}

/// Names of a command and of the one below it.
pub fn names(matches: &ArgMatches) -> Vec<String> {
    matches.get_many("command").into_iter().flatten().cloned().collect()
}

pub fn print(names: &[String]) -> u8 {
    match page(names) {
        Ok(page) => put(&page),
        Err(diagnostic) => show(&diagnostic, None),
    }
}

/// # Errors
/// No such command, with the nearest.
fn page(names: &[String]) -> Result<String, Diagnostic> {
    let mut whole = command();
    whole.build();
    let mut command = &whole;
    for name in names {
        command = command.find_subcommand(name).ok_or_else(|| {
            let known = command.get_subcommands().map(Command::get_name);
            let error = Diagnostic::script(format!("no command `{name}`")).nowhere();
            match nearest(name, known) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help("skep --help"),
            }
        })?;
    }
    let mut written = Vec::new();
    let manual = clap_mangen::Man::new(command.clone()).source(concat!("skep ", env!("CARGO_PKG_VERSION")));
    let rendered = manual.render(&mut written);
    rendered.map_err(|error| Diagnostic::machine(format!("failed to write the page: {error}")))?;
    Ok(String::from_utf8_lossy(&written).into_owned())
}
