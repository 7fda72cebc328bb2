//! The saved script: what a session's lines were for, in an order in which a script does the same.

/// Lines that changed something, in their order.
#[derive(Default)]
pub struct Saved {
    lines: Vec<Line>,
}

struct Line {
    text: String,
    /// It looked at values of chains that ran then.
    reads: bool,
}

impl Saved {
    pub fn add(&mut self, text: &str, reads: bool) {
        self.lines.push(Line { text: text.to_owned(), reads });
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// As a file called `name`. `restrict` is how the session was started, as options.
    pub fn script(&self, name: &str, restrict: &str) -> String {
        let mut out = format!(
            "//! {name} - saved from a session of skep.\n//!\n//! Usage:    skep run {name}.rhai [--for 10s]{restrict}\n\n"
        );
        // In a session chains run at once; in a script they do at its end, or where it says so.
        let mut waiting = false;
        for line in &self.lines {
            if line.reads && waiting {
                out += "run(param(\"time\", #{ value: \"10s\", help: \"how long to watch\" }));\n";
                waiting = false;
            }
            waiting |= !line.reads;
            out += &ended(&line.text.replace("//!", "//"));
        }
        out
    }
}

/// A statement with its end.
fn ended(text: &str) -> String {
    let last = text.lines().next_back().unwrap_or_default();
    match () {
        () if text.ends_with(';') || text.starts_with("fn ") => format!("{text}\n"),
        // It may be a comment.
        () if last.contains("//") => format!("{text}\n;\n"),
        () => format!("{text};\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_read_values_come_after_a_run() {
        let mut saved = Saved::default();
        saved.add("let t = probe(\"t:a:b\").count()", false);
        saved.add("print(t.value())", true);
        saved.add("print(t.value() + 1);", true);
        let text = saved.script("opens", " -p PID");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "//! Usage:    skep run opens.rhai [--for 10s] -p PID");
        assert_eq!(lines[4], "let t = probe(\"t:a:b\").count();");
        assert!(lines[5].starts_with("run(param(\"time\""));
        assert_eq!(&lines[6..], ["print(t.value());", "print(t.value() + 1);"]);
    }

    #[test]
    fn statement_behind_a_comment_is_ended() {
        assert_eq!(ended("let a = 1 // one"), "let a = 1 // one\n;\n");
        assert_eq!(ended("fn f() { 1 }"), "fn f() { 1 }\n");
    }
}
