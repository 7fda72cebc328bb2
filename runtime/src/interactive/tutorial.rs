//! The tutorial: twelve lessons. Each says one thing, and is over when a line that does it was run here.

use super::console::{Console, Done};
use crate::plan::{Entry, Output, Source};

pub struct Lesson {
    pub title: &'static str,
    pub text: &'static str,
    /// A line that is right.
    pub example: &'static str,
    is_done: fn(&Seen) -> bool,
}

/// What a line was and did.
struct Seen<'a> {
    text: &'a str,
    chains: Vec<Entry>,
    showed: bool,
}

impl Seen<'_> {
    fn any(&self, check: impl Fn(&Entry) -> bool) -> bool {
        self.chains.iter().any(check)
    }
}

fn aggregates(entry: &Entry, wanted: &[&str]) -> bool {
    matches!(&entry.output, Output::Aggregate { kind, .. } if wanted.contains(&kind.name()))
}

pub const LESSONS: &[Lesson] = &[
    Lesson {
        title: "What can be watched",
        text: "An attach point is a place in the kernel or a program: `tracepoint:CATEGORY:NAME` is one that the kernel's\n\
               authors put there. `:list` finds them by a glob; Tab completes them, with counts.",
        example: ":list tracepoint:syscalls:sys_enter_open*",
        is_done: |seen| seen.text.starts_with(":list") && seen.text.contains(':') && seen.text.len() > 6,
    },
    Lesson {
        title: "Counting in the kernel",
        text: "`probe(…)` names an attach point, `.by(…)` the key, `.count()` what is kept for each key. That runs in the\n\
               kernel, from now on, while you go on typing. `let t = …` gives it a name.",
        example: "let t = probe(\"tracepoint:raw_syscalls:sys_enter\").by(comm).count()",
        is_done: |seen| seen.any(|entry| !entry.key.is_empty() && aggregates(entry, &["count"])),
    },
    Lesson {
        title: "A look at it",
        text: "The name alone shows the table as it is now: which threads made how many system calls since you attached.",
        example: "t",
        is_done: |seen| seen.showed && seen.chains.is_empty() && !seen.text.starts_with(':'),
    },
    Lesson {
        title: "Watching it",
        text: "`watch(t)` draws the table anew every second, in place. Any key ends it; the counting goes on.",
        example: "watch(t)",
        is_done: |seen| seen.text.starts_with("watch("),
    },
    Lesson {
        title: "What an event carries",
        text: "Every event has `pid`, `comm`, `cpu`, `nsecs` and others; a tracepoint has fields of its own, `args.NAME`.\n\
               `:fields` lists them with their types.",
        example: ":fields tracepoint:syscalls:sys_exit_read",
        is_done: |seen| seen.text.starts_with(":fields "),
    },
    Lesson {
        title: "Filters and histograms",
        text: "`.filter(…)` lets only some events pass: join conditions with `and` and `or`. `.hist(…)` keeps a histogram of\n\
               powers of two. Both run in the kernel: however many events there are, only the result comes here.",
        example: "let r = probe(\"tracepoint:syscalls:sys_exit_read\").filter(args.ret > 0).hist(args.ret).named(\"bytes\")",
        is_done: |seen| seen.any(|entry| entry.filter.is_some() && aggregates(entry, &["hist", "lhist", "quantiles"])),
    },
    Lesson {
        title: "A line for each event",
        text: "`.fields(…)` streams events as lines, above what you type. `str(…)` reads the text at an address. When there\n\
               are more than anybody reads, some are shown, and the others counted.",
        example: "let o = probe(\"tracepoint:syscalls:sys_enter_openat\").fields(comm, str(args.filename))",
        is_done: |seen| seen.any(|entry| matches!(entry.output, Output::Stream { .. })),
    },
    Lesson {
        title: "What runs, and ending it",
        text: "`:jobs` lists what runs in the background, `:cost` what share of a CPU it takes. `:stop N` or `o.stop()` ends\n\
               one, `:stop all` everything; leaving does so too, and half an hour without a line.",
        example: ":stop all",
        is_done: |seen| seen.text.starts_with(":stop") || seen.text.contains(".stop()"),
    },
    Lesson {
        title: "Time between two events",
        text: "`span(start, end)` makes one event of two of the same thread; `elapsed` is the time between, in nanoseconds.\n\
               `.run(\"2s\")` does it now, for two seconds, and gives the result. Ctrl-C ends it sooner.",
        example: "span(\"tracepoint:syscalls:sys_enter_read\", \"tracepoint:syscalls:sys_exit_read\").by(comm).quantiles(elapsed).run(\"2s\")",
        is_done: |seen| seen.any(|entry| matches!(entry.source, Source::Span(_))),
    },
    Lesson {
        title: "Where time goes",
        text: "`profile:hz:99` looks 99 times a second at what each CPU does; `kstack` and `ustack` are call chains. `flame(s)`\n\
               then draws a flame graph.",
        example: "let s = probe(\"profile:hz:99\").by(comm, kstack).count()",
        is_done: |seen| seen.any(|entry| entry.key.iter().any(|column| column.expr.to_string().contains("stack"))),
    },
    Lesson {
        title: "A language",
        text: "Results are values of a real language: loops, functions, floats. `t.value()` is the table as it is now; `.top(3)`\n\
               its greatest rows. No closure: it runs in the kernel. A closure or a loop: it runs here.",
        example: "for row in t.value().top(3) { print(`${row.comm}: ${row.value} calls`); }",
        is_done: |seen| seen.text.contains("value()") || seen.text.contains("|e|"),
    },
    Lesson {
        title: "Walking away with a script",
        text: "`:save` writes the lines that made something as a script: `skep run FILE` does the same without you.",
        example: ":save lesson.rhai",
        is_done: |seen| seen.text.starts_with(":save "),
    },
];

/// Where somebody is in it.
pub struct Tutorial {
    /// From 0.
    lesson: usize,
}

impl Tutorial {
    /// `number` counts from 1.
    pub fn from(number: usize) -> Tutorial {
        Tutorial { lesson: number.saturating_sub(1) }
    }

    pub fn show(&self, console: &Console) {
        if let Some(lesson) = LESSONS.get(self.lesson) {
            let number = self.lesson + 1;
            let count = LESSONS.len();
            console.print(&format!(
                "\nLesson {number} of {count}: {}\n{}\n\n    {}\n",
                lesson.title, lesson.text, lesson.example
            ));
        }
    }

    /// Looks at what a line did; `false`: that was the last lesson.
    pub fn look(&mut self, console: &Console, text: &str, done: &Done) -> bool {
        let Some(lesson) = LESSONS.get(self.lesson) else { return false };
        let chains = console.host().chains.borrow();
        let entries = done.chains.iter().filter_map(|n| chains.get(*n)).map(|chain| chain.entry.clone()).collect();
        drop(chains);
        if !(lesson.is_done)(&Seen { text, chains: entries, showed: done.showed }) {
            // Whoever tries something else in between may; a command is no attempt.
            if !text.starts_with(':') {
                console.tell(&format!("lesson {} waits for a line such as: {}", self.lesson + 1, lesson.example));
            }
            return true;
        }
        self.lesson += 1;
        if self.lesson == LESSONS.len() {
            console.tell("that was the last lesson: `:help` and `:doc functions` have the rest");
            return false;
        }
        self.show(console);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_twelve_lessons_that_fit_a_terminal() {
        assert_eq!(LESSONS.len(), 12);
        for lesson in LESSONS {
            assert!(lesson.text.lines().all(|line| line.len() <= 120), "{}", lesson.title);
        }
    }
}
