//! `:cost`: what the programs of each job take of the processors, counted by the kernel for a moment.

use super::console::Console;
use super::serve::Until;
use crate::diagnostic::Diagnostic;
use crate::kernel::cost::{self, Cost};
use crate::kernel::load;
use crate::report::units::{duration, grouped};
use crate::script::host::{Host, raise};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long is counted. Every BPF program on the machine pays some 100 ns a run meanwhile.
const TIME: Duration = Duration::from_secs(1);

pub fn run(console: &mut Console) -> Result<(), Diagnostic> {
    if console.interactive().jobs.list.borrow().is_empty() {
        console.tell("nothing is attached: nothing costs anything");
        return Ok(());
    }
    console.within(|context, host| {
        let Some(interactive) = host.interactive.get() else { return Ok(()) };
        let counting = match cost::count() {
            Ok(counting) => counting,
            Err(error) => {
                let message = format!("the kernel does not count what programs cost: {}", load::text(&error));
                return raise(
                    Diagnostic::machine(message).help("it takes root, and Linux 5.8").nowhere(),
                    context.call_position(),
                );
            }
        };
        let (before, began) = (costs(host), Instant::now());
        interactive.serve(context, host, Until::Time(began + TIME, None))?;
        let (after, passed) = (costs(host), began.elapsed());
        drop(counting);
        let mut out = format!("{:>3}  {:>9}  {:>10}  {:>8}  {}\n", "job", "of a CPU", "runs/s", "a run", "what");
        for (number, now, what) in &after {
            let then = before.iter().find(|(one, ..)| one == number).map(|(_, cost, _)| *cost).unwrap_or_default();
            let (nanos, runs) = (now.nanos.saturating_sub(then.nanos), now.runs.saturating_sub(then.runs));
            let share = nanos as f64 / passed.as_nanos() as f64 * 100.0;
            let each = nanos.checked_div(runs).map_or("-".to_owned(), |nanos| duration(nanos.into()));
            let a_second = (runs as f64 / passed.as_secs_f64()).round() as u64;
            out += &format!("{number:>3}  {share:>7.3} %  {:>10}  {each:>8}  {what}\n", grouped(a_second));
        }
        out += "time inside of the programs; reaching them (a breakpoint, a tracepoint) comes on top\n";
        host.output.borrow_mut().print(out.trim_end());
        Ok(())
    })
}

fn costs(host: &Rc<Host>) -> Vec<(usize, Cost, String)> {
    let Some(interactive) = host.interactive.get() else { return Vec::new() };
    let list = interactive.jobs.list.borrow();
    let of = |job: &Rc<super::jobs::Job>| (job.number, job.running.active.session.borrow().cost(), job.what.clone());
    list.iter().map(of).collect()
}
