//! A request, carried out in a process of its own: it becomes its user first, and looks at the script then.

use crate::args::{self, Job};
use crate::run::{run_for, show};
use skep_runtime::confine::{capabilities, outputs};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::helper::order::{self, Order, Told};
use skep_runtime::kernel::{identity, load::text};
use skep_runtime::permit::gate::{Gate, Passed};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// What an order may take: the largest request, and the largest file of permits.
const LONGEST: u64 = 4 << 20;

pub fn carry_out() -> u8 {
    match ordered().and_then(|(order, helper)| begun(order, helper)) {
        Ok(status) => status,
        Err(error) => show(&error, None),
    }
}

fn ordered() -> Result<(Order, UnixStream), Diagnostic> {
    let alone = || Diagnostic::script("this is for the helper to call").help("skep run SCRIPT").nowhere();
    let helper = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).map_err(|_| alone())?;
    // Not of somebody's terminal or file: a socket has another end.
    helper.peer_addr().map_err(|_| alone())?;
    let mut line = String::new();
    BufReader::new((&helper).take(LONGEST)).read_line(&mut line).map_err(|_| alone())?;
    Ok((order::read(&line)?, helper))
}

fn begun(order: Order, helper: UnixStream) -> Result<u8, Diagnostic> {
    let Order { person, permit, granted } = order;
    let tell = move |passed: Passed<'_>| {
        // Without the helper nobody waits for the run either.
        let _gone = (&helper).write_all(format!("{}\n", Told::written(passed)).as_bytes());
    };
    let tell = Arc::new(tell);
    let told = tell.clone();
    outputs::close(move |why| told(Passed::Refused(why)));
    identity::become_person(&person, &capabilities::of_permit(&permit))
        .map_err(|error| Diagnostic::machine(format!("failed to become user {}: {}", person.uid, text(&error))))?;
    identity::fence();
    // Options alone: a word of the script is no option here, whatever it looks like.
    let words = ["skep".to_owned()].into_iter().chain(granted.options).chain(["-e".to_owned(), String::new()]);
    let cli = args::parse(words.map(OsString::from).collect())
        .map_err(|error| Diagnostic::script(error.to_string().trim_start_matches("error: ").to_owned()).nowhere())?;
    let Job::Run { words: common, .. } = &cli.job else {
        return Err(Diagnostic::bug("an order that runs nothing"));
    };
    let words: Vec<String> = common.iter().cloned().chain(granted.words).collect();
    if let Some(time) = cli.ttl {
        crate::ttl::begin(time);
    }
    let gate = Gate::new(permit, person.uid, granted.own_script, Box::new(move |passed| tell(passed)));
    Ok(run_for(&cli, &granted.script, &words, gate))
}
