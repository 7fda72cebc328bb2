//! Commands: lines that begin with a colon. One table feeds what runs, `:help`, completion and docs/repl.md.

use super::console::Console;
use super::serve::no_job;
use super::tutorial::Tutorial;
use super::{cost, functions};
use crate::diagnostic::{Diagnostic, nearest};
use crate::doctor::sources;
use crate::kernel::{load, sys};
use crate::library::{Library, Script};
use crate::listing;
use crate::report::{self, units};
use crate::script::host::State;
use crate::script::params::Params;
use std::time::{Duration, Instant};

pub struct Command {
    pub name: &'static str,
    pub argument: Argument,
    pub help: &'static str,
    run: fn(&mut Console, &str) -> Result<(), Diagnostic>,
}

/// What stands behind a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    None,
    /// A job's number, or `all`.
    Job,
    /// A variable with a chain, or nothing.
    Chain,
    Point,
    Pattern,
    File,
    Script,
    Name,
    Time,
    Line,
    Lesson,
}

impl Argument {
    pub fn spelling(self) -> &'static str {
        match self {
            Argument::None => "",
            Argument::Job => "N|all",
            Argument::Chain => "[NAME]",
            Argument::Point => "ATTACH_POINT",
            Argument::Pattern => "[GLOB]",
            Argument::File => "FILE",
            Argument::Script => "SCRIPT [--PARAMETER VALUE]",
            Argument::Name => "[NAME]",
            Argument::Time => "[TIME|off]",
            Argument::Line => "[LINE]",
            Argument::Lesson => "[N]",
        }
    }
}

pub const COMMANDS: &[Command] = &[
    Command { name: "help", argument: Argument::Name, help: "this list, or what a name means", run: help },
    Command {
        name: "tutorial",
        argument: Argument::Lesson,
        help: "twelve lessons, each tried here; again to leave it",
        run: tutorial,
    },
    Command {
        name: "list",
        argument: Argument::Pattern,
        help: "attach points; `:list templates`, `:list scripts`",
        run: list,
    },
    Command {
        name: "fields",
        argument: Argument::Point,
        help: "the fields of an attach point, with their types",
        run: fields,
    },
    Command { name: "doc", argument: Argument::Name, help: "a script, a template, or `functions`", run: doc },
    Command { name: "jobs", argument: Argument::None, help: "what runs in the background", run: jobs },
    Command { name: "stop", argument: Argument::Job, help: "ends a job; its values stay", run: stop },
    Command {
        name: "plan",
        argument: Argument::Chain,
        help: "what runs in the kernel and what here, of a chain or of all that run",
        run: plan,
    },
    Command {
        name: "cost",
        argument: Argument::None,
        help: "what share of a CPU each job's programs take, counted for a second",
        run: |console, _| cost::run(console),
    },
    Command {
        name: "load",
        argument: Argument::Script,
        help: "runs a script of the library or a file in this session",
        run: load,
    },
    Command { name: "save", argument: Argument::File, help: "writes what this session did as a script", run: save },
    Command {
        name: "edit",
        argument: Argument::None,
        help: "the last line in $EDITOR, which is run when it is saved",
        run: edit,
    },
    Command {
        name: "time",
        argument: Argument::Line,
        help: "how long a line takes; without one, of each line from now on",
        run: time,
    },
    Command {
        name: "ttl",
        argument: Argument::Time,
        help: "when nobody types for so long, everything is detached",
        run: ttl,
    },
    Command { name: "doctor", argument: Argument::None, help: "what works on this machine", run: doctor },
    Command {
        name: "quit",
        argument: Argument::None,
        help: "detaches everything and leaves, as Ctrl-D does",
        run: quit,
    },
];

/// Runs a command, without its colon.
///
/// # Errors
/// No such command, with the nearest; its own.
pub fn run(console: &mut Console, line: &str) -> Result<(), Diagnostic> {
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let exact = COMMANDS.iter().find(|one| one.name == name);
    let mut short = COMMANDS.iter().filter(|one| !name.is_empty() && one.name.starts_with(name));
    // What begins like one command only is that one.
    let found = exact.or_else(|| short.next().filter(|_| short.next().is_none()));
    match found {
        Some(command) => (command.run)(console, argument.trim()).map_err(Diagnostic::nowhere),
        None => {
            let error = Diagnostic::script(format!("no command `:{name}`")).nowhere();
            Err(match nearest(name, COMMANDS.iter().map(|one| one.name)) {
                Some(near) => error.help(format!("did you mean `:{near}`?")),
                None => error.help(":help"),
            })
        }
    }
}

/// What `:help` shows.
pub fn help_text() -> String {
    let mut out = String::from("A line is Rhai; chains run in the background as soon as they are whole.\n\n");
    for one in COMMANDS {
        out += &format!("  :{:<32} {}\n", format!("{} {}", one.name, one.argument.spelling()), one.help);
    }
    out.push('\n');
    for (signature, help) in functions::REFERENCE {
        out += &format!("  {signature:<33} {help}\n");
    }
    out += "\n  let t = probe(\"t:syscalls:sys_enter_openat\").by(comm).count()   attaches; `t` alone shows its table now\n";
    out +=
        "  Ctrl-C ends what the line waits for, Ctrl-D the session; Tab completes; :doc functions has all of Rhai's\n";
    out
}

/// The table of docs/repl.md.
#[cfg(test)]
pub fn markdown() -> String {
    let mut out = String::from("| command | what it does |\n|---|---|\n");
    for one in COMMANDS {
        let line = format!("{} {}", one.name, one.argument.spelling()).trim_end().replace('|', "\\|");
        out += &format!("| `:{line}` | {} |\n", one.help);
    }
    out += "\n| function | what it does |\n|---|---|\n";
    for (signature, help) in functions::REFERENCE {
        out += &format!("| `{signature}` | {help} |\n");
    }
    out
}

fn help(console: &mut Console, name: &str) -> Result<(), Diagnostic> {
    if name.is_empty() {
        console.print(&help_text());
        return Ok(());
    }
    if let Some(command) = COMMANDS.iter().find(|one| one.name == name.trim_start_matches(':')) {
        console.print(&format!(":{} {}\n  {}", command.name, command.argument.spelling(), command.help));
        return Ok(());
    }
    let all = crate::script::reference::SECTIONS.iter().flat_map(|(_, list)| *list).chain(functions::REFERENCE);
    let own =
        |signature: &str| signature.trim_start_matches('.').split('(').next() == Some(name.trim_start_matches('.'));
    let found: Vec<String> =
        all.filter(|(signature, _)| own(signature)).map(|(signature, help)| format!("{signature}\n  {help}")).collect();
    if found.is_empty() {
        return doc(console, name);
    }
    console.print(&found.join("\n"));
    Ok(())
}

fn tutorial(console: &mut Console, lesson: &str) -> Result<(), Diagnostic> {
    if console.tutorial.take().is_some() && lesson.is_empty() {
        console.tell("the tutorial is over; :tutorial N goes on with a lesson");
        return Ok(());
    }
    let number = match lesson {
        "" => 1,
        lesson => {
            lesson.parse().ok().filter(|n| (1..=super::tutorial::LESSONS.len()).contains(n)).ok_or_else(|| {
                Diagnostic::script(format!("there is no lesson `{lesson}`"))
                    .help(format!(":tutorial 1   (of {})", super::tutorial::LESSONS.len()))
            })?
        }
    };
    let tutorial = Tutorial::from(number);
    tutorial.show(console);
    console.tutorial = Some(tutorial);
    Ok(())
}

fn list(console: &mut Console, pattern: &str) -> Result<(), Diagnostic> {
    let settings = &console.host().settings;
    let text = match pattern {
        "templates" => listing::templates(&settings.catalog, false),
        "scripts" => listing::scripts(Library::embedded()),
        pattern => listing::attach_points(
            Some(pattern).filter(|text| !text.is_empty()),
            settings.restrict.pid,
            &settings.machine,
            false,
        )?,
    };
    console.print(&text);
    Ok(())
}

fn fields(console: &mut Console, point: &str) -> Result<(), Diagnostic> {
    if point.is_empty() {
        return Err(
            Diagnostic::script("`:fields` takes an attach point").help(":fields tracepoint:syscalls:sys_enter_openat")
        );
    }
    let settings = &console.host().settings;
    let text = listing::attach_points(Some(point), settings.restrict.pid, &settings.machine, true)?;
    console.print(&text);
    Ok(())
}

fn doc(console: &mut Console, name: &str) -> Result<(), Diagnostic> {
    let name = if name.is_empty() { "functions" } else { name };
    let text = listing::doc(name, &console.host().settings.catalog, &console.library)?;
    console.print(&text);
    Ok(())
}

fn jobs(console: &mut Console, _: &str) -> Result<(), Diagnostic> {
    let interactive = console.interactive();
    if interactive.jobs.is_empty() {
        console.tell("nothing runs");
        return Ok(());
    }
    let text = interactive.jobs.text();
    console.print(&text);
    if let Some(ttl) = interactive.ttl.get() {
        let time = units::duration(ttl.as_nanos() as i128);
        console.tell(&format!("detached when nobody types for {time} (:ttl)"));
    }
    Ok(())
}

fn stop(console: &mut Console, number: &str) -> Result<(), Diagnostic> {
    let interactive = console.interactive();
    if number == "all" {
        interactive.stop_all();
        return Ok(());
    }
    let wanted: Option<usize> = number.parse().ok();
    let list = interactive.jobs.list.borrow();
    let timers = interactive.jobs.timers.borrow();
    let job = list.iter().find(|job| Some(job.number) == wanted).map(|job| &job.stop);
    let timer = timers.iter().find(|timer| Some(timer.number) == wanted).map(|timer| &timer.stop);
    match job.or(timer) {
        Some(stop) => stop.set(true),
        None => {
            drop((list, timers));
            return Err(no_job(number, &interactive.jobs));
        }
    }
    Ok(())
}

fn plan(console: &mut Console, name: &str) -> Result<(), Diagnostic> {
    let host = console.host();
    let cpus = sys::possible_cpus().unwrap_or(1);
    let chains: Vec<usize> = match name {
        "" => {
            let running = host.chains.borrow();
            running.iter().enumerate().filter(|(_, chain)| chain.state == State::Running).map(|(n, _)| n).collect()
        }
        name => vec![console.chain(name).ok_or_else(|| {
            Diagnostic::script(format!("`{name}` is no chain of this session"))
                .help("let t = probe(\"t:syscalls:sys_enter_openat\").by(comm).count()")
        })?],
    };
    if chains.is_empty() {
        console.tell("nothing runs");
    }
    for n in chains {
        let prepared = host.prepare(n)?;
        let number = host.interactive.get().and_then(|one| one.jobs.of_chain(n)).map_or(n + 1, |job| job.number);
        let text =
            report::plan::text(number, &host.chains.borrow()[n].entry, &prepared, &host.settings.restrict, cpus, false);
        console.print(&text);
    }
    Ok(())
}

fn load(console: &mut Console, words: &str) -> Result<(), Diagnostic> {
    let mut words = words.split_whitespace().map(str::to_owned);
    let Some(name) = words.next() else {
        return Err(Diagnostic::script("`:load` takes a script").help(":load syscount --top 5"));
    };
    let script = console.library.open(&name)?;
    let words: Vec<String> = words.collect();
    *console.host().params.borrow_mut() = Params::parse(&words)?;
    let done = console.evaluate_script(script, true);
    let unknown = console.host().params.take().unknown();
    let done = done?;
    if let Some(unknown) = unknown {
        return Err(unknown);
    }
    if done.chains.is_empty() && !done.showed {
        console.tell(&format!("`{name}` was run; it left nothing running"));
    }
    Ok(())
}

fn save(console: &mut Console, file: &str) -> Result<(), Diagnostic> {
    if file.is_empty() {
        return Err(Diagnostic::script("`:save` takes a file").help(":save opens.rhai"));
    }
    if console.saved.is_empty() {
        return Err(Diagnostic::script("there is nothing to save: no line has made or changed anything yet")
            .help("let t = probe(\"t:syscalls:sys_enter_openat\").by(comm).count()"));
    }
    let path = if file.ends_with(".rhai") { file.to_owned() } else { format!("{file}.rhai") };
    let name = path.rsplit('/').next().unwrap_or(&path).trim_end_matches(".rhai").to_owned();
    let restrict = match console.host().settings.restrict.pid {
        Some(_) => " -p PID",
        None => "",
    };
    let text = console.saved.script(&name, restrict);
    std::fs::write(&path, &text)
        .map_err(|error| Diagnostic::machine(format!("failed to write `{path}`: {}", load::text(&error))))?;
    console.tell(&format!("wrote {path}; skep run {path}"));
    let script = Script { name: path, text: text.into() };
    if let Some(planner) = &console.planner
        && let Err(error) = planner(&script)
    {
        console.tell(&format!("it does not run as it stands:\n{}", error.render(&script.name, &script.text)));
    }
    Ok(())
}

fn edit(console: &mut Console, _: &str) -> Result<(), Diagnostic> {
    let failed =
        |what: &str, error: std::io::Error| Diagnostic::machine(format!("failed to {what}: {}", load::text(&error)));
    if console.interactive().screen.size().is_none() {
        return Err(Diagnostic::script("`:edit` needs a terminal").help(":load FILE"));
    }
    let editor =
        ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    let path = std::env::temp_dir().join(format!("skep-{}.rhai", std::process::id()));
    let show = path.display().to_string();
    let create = || -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        // Nobody else's file, and nobody else reads it.
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(console.last().as_bytes())
    };
    create().map_err(|error| failed(&format!("write `{show}`"), error))?;
    let status = std::process::Command::new("/bin/sh").arg("-c").arg(format!("{editor} \"$0\"")).arg(&path).status();
    let text = std::fs::read_to_string(&path);
    let _gone = std::fs::remove_file(&path);
    // Ctrl-C in the editor was for the editor.
    crate::kernel::signals::take();
    let status = status.map_err(|error| failed(&format!("start `{editor}`"), error))?;
    if !status.success() {
        console.tell(&format!("`{editor}` failed: nothing is run"));
        return Ok(());
    }
    let text = text.map_err(|error| failed(&format!("read `{show}`"), error))?;
    console.tell(text.trim());
    console.evaluate(text.trim(), true).map(drop)
}

fn time(console: &mut Console, line: &str) -> Result<(), Diagnostic> {
    if line.is_empty() {
        console.timing = !console.timing;
        let now = if console.timing {
            "from now on each line says how long it took"
        } else {
            "lines do not say any more how long they took"
        };
        console.tell(now);
        return Ok(());
    }
    let began = Instant::now();
    let done = match line.strip_prefix(':') {
        Some(command) => run(console, command),
        None => console.evaluate(line, true).map(drop),
    };
    console.tell(&format!("took {}", units::duration(began.elapsed().as_nanos() as i128)));
    done
}

fn ttl(console: &mut Console, time: &str) -> Result<(), Diagnostic> {
    let ttl = &console.interactive().ttl;
    match time {
        "" => {}
        "off" => ttl.set(None),
        time => match units::parse_duration(time).filter(|nanos| *nanos > 0) {
            Some(nanos) => ttl.set(Some(Duration::from_nanos(nanos))),
            None => return Err(Diagnostic::script(format!("`{time}` is no duration")).help(":ttl 2h, :ttl off")),
        },
    }
    console.tell(&match ttl.get() {
        Some(ttl) => {
            format!("when nobody types for {}, everything is detached", units::duration(ttl.as_nanos() as i128))
        }
        None => "what is attached stays until you leave".to_owned(),
    });
    Ok(())
}

fn doctor(console: &mut Console, _: &str) -> Result<(), Diagnostic> {
    let report = sources::examine(console.host().settings.catalog.clone())?;
    let style = console.host().output.borrow().style();
    console.host().output.borrow_mut().print_as_is(report.text(&style).trim_end());
    Ok(())
}

fn quit(console: &mut Console, _: &str) -> Result<(), Diagnostic> {
    console.left = Some(0);
    Ok(())
}
