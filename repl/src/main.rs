//! skep: the command line.

mod args;
mod capture;
mod command;
mod doctor;
mod flame;
mod library;
mod list;
mod observe;
mod plan;
mod policy;
mod record;
mod repl;
mod run;

use args::Job;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match args::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let status = match &cli.job {
        Job::Run { script, words } => run::run(&cli, script, words),
        Job::Plan { script, words, code } => plan::plan(&cli, script, words, *code),
        Job::List { pattern, verbose } => list::list(&cli, pattern, *verbose),
        Job::Doc { name } => list::doc(&cli, name),
        Job::Repl { json, vi } => repl::repl(&cli, *json, *vi),
        Job::Flame(wish) => flame::flame(&cli, wish),
        Job::Compare(files) => flame::compare(&cli, files),
        Job::Capture(wish) => capture::capture(&cli, wish),
        Job::Observe(wish) => observe::observe(&cli, wish),
        Job::Policy(wish) => policy::policy(&cli, wish),
        Job::Library(wish) => library::lib(&cli, wish),
        Job::Record(wish) => record::run(&cli, wish),
        Job::Replay(wish) => record::replayed(&cli, wish),
        Job::Doctor { json } => doctor::doctor(&cli, *json),
    };
    ExitCode::from(status)
}
