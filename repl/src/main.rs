//! skep: the command line.

mod args;
mod audit;
mod baseline;
mod capture;
mod command;
mod completion;
mod doctor;
mod flame;
mod helper;
mod library;
mod list;
mod manual;
mod observe;
mod plan;
mod policy;
mod record;
mod repl;
mod run;
mod ttl;

use args::{Cli, Job};
use skep_runtime::interactive::console::{panicked, quiet_panics};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match args::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    if let Some(time) = cli.ttl {
        ttl::begin(time);
    }
    quiet_panics();
    // Everything is detached by the time that it is caught.
    let done = catch_unwind(AssertUnwindSafe(|| done(&cli)));
    let bug = |_| run::show(&panicked().help("everything was detached; please report this with the script"), None);
    ExitCode::from(done.unwrap_or_else(bug))
}

fn done(cli: &Cli) -> u8 {
    match &cli.job {
        Job::Run { script, words } => run::run(cli, script, words),
        Job::Plan { script, words, detail } => plan::plan(cli, script, words, *detail),
        Job::List { pattern, verbose } => list::list(cli, pattern, *verbose),
        Job::Doc { name } => list::doc(cli, name),
        Job::Repl { json, vi } => repl::repl(cli, *json, *vi),
        Job::Flame(wish) => flame::flame(cli, wish),
        Job::Compare(files) => flame::compare(cli, files),
        Job::Capture(wish) => capture::capture(cli, wish),
        Job::Observe(wish) => observe::observe(cli, wish),
        Job::Policy(wish) => policy::policy(cli, wish),
        Job::Library(wish) => library::lib(cli, wish),
        Job::Record(wish) => record::run(cli, wish),
        Job::Replay(wish) => record::replayed(cli, wish),
        Job::Baseline(wish) => baseline::baseline(cli, wish),
        Job::Completion(wish) => completion::complete(cli, wish),
        Job::Manual { command } => manual::print(command),
        Job::Audit(wish) => audit::audit(cli, wish),
        Job::Helper(wish) => helper::run(wish),
        Job::Doctor { json, units } => doctor::doctor(cli, *json, *units),
    }
}
