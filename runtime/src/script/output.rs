//! Output: everything that a script shows, as text or as JSON lines. A reader that goes away ends the run, quietly.

use super::names::Names;
use super::verdicts::Verdicts;
use crate::aggregate::column::{ColumnType, Value};
use crate::aggregate::table::Table;
use crate::interactive::screen::{Lines, Screen};
use crate::report::{self, text::Style};
use crate::trust::Trust;
use std::io::{self, BufWriter, Write};
use std::rc::Rc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Where a script's results go; what is about the run itself goes to standard error.
pub struct Output {
    out: BufWriter<Box<dyn Write>>,
    pub format: Format,
    style: Style,
    /// Nothing can be written any more.
    closed: bool,
    /// Say on standard error what was attached, and the trust line.
    pub talk: bool,
    /// A line of progress stands there.
    progressing: bool,
    line: String,
    /// Where somebody types: both streams in one place.
    screen: Option<Rc<Screen>>,
}

impl Output {
    pub fn new(out: Box<dyn Write>, format: Format, style: Style) -> Output {
        Output {
            out: BufWriter::with_capacity(64 << 10, out),
            format,
            style,
            closed: false,
            talk: true,
            progressing: false,
            line: String::new(),
            screen: None,
        }
    }

    /// Both streams on a screen, on which somebody types.
    pub fn on_screen(screen: &Rc<Screen>, format: Format, style: Style) -> Output {
        Output { screen: Some(screen.clone()), ..Output::new(Box::new(Lines(screen.clone())), format, style) }
    }

    /// Columns of the terminal, which may have changed.
    pub fn set_width(&mut self, width: Option<usize>) {
        self.style.width = width;
    }

    pub fn style(&self) -> Style {
        self.style
    }

    /// More is streamed than anybody reads: the next line would not be shown, and is counted here.
    pub fn skips(&self) -> bool {
        self.screen.as_ref().is_some_and(|screen| screen.skips())
    }

    /// From now on nothing is written: for plans, and for runs that only their values matter of.
    pub fn mute(&mut self) {
        self.out = BufWriter::new(Box::new(io::sink()));
        self.talk = false;
    }

    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Standard output broke: remember it, so that the run ends.
    fn done(&mut self, result: io::Result<()>) {
        if result.is_err() {
            self.closed = true;
        }
    }

    /// Lines that are whole already.
    pub fn lines(&mut self, lines: &str) {
        let result = self.out.write_all(lines.as_bytes());
        self.done(result);
    }

    /// Whoever read what the run writes has gone.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// What the script printed.
    pub fn print(&mut self, text: &str) {
        let result = match self.format {
            Format::Text => writeln!(self.out, "{text}"),
            Format::Json => report::json::line(&mut self.out, &report::json::text(text)),
        };
        self.done(result);
    }

    pub fn table(&mut self, table: &Table, names: &Names) {
        let result = match self.format {
            Format::Text => report::text::table(&mut self.out, table, names, &self.style),
            Format::Json => report::json::line(&mut self.out, &report::json::table(table, names)),
        };
        self.done(result);
    }

    /// What policies have done.
    pub fn verdicts(&mut self, verdicts: &Verdicts) {
        let result = match self.format {
            Format::Text => self.out.write_all(verdicts.text().as_bytes()),
            Format::Json => report::json::line(&mut self.out, &verdicts.json()),
        };
        self.done(result);
    }

    /// An empty line between two results.
    pub fn gap(&mut self) {
        if self.format == Format::Text {
            let result = writeln!(self.out);
            self.done(result);
        }
    }

    /// The names of a stream's columns.
    pub fn heading(&mut self, columns: &[ColumnType], widths: &[usize]) {
        if self.format == Format::Json {
            return;
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        for (n, (column, width)) in columns.iter().zip(widths).enumerate() {
            pad(&mut line, &column.name, if n + 1 == columns.len() { 0 } else { *width });
        }
        let (on, off) = if self.style.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let result = writeln!(self.out, "{on}{}{off}", line.trim_end());
        self.line = line;
        self.done(result);
    }

    /// One event as a line of aligned columns.
    pub fn event(&mut self, columns: &[ColumnType], values: &[Value], widths: &[usize], names: &Names) {
        if self.format == Format::Json {
            let result = report::json::line(&mut self.out, &report::json::event(None, columns, values, names));
            return self.done(result);
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        for (n, ((value, column), width)) in values.iter().zip(columns).zip(widths).enumerate() {
            let shown = report::text::value(value, column, names);
            pad(&mut line, &shown, if n + 1 == columns.len() { 0 } else { *width });
        }
        let result = writeln!(self.out, "{}", line.trim_end());
        self.line = line;
        self.done(result);
    }

    /// One event after a format of the script; the format brings its own line end.
    pub fn formatted(
        &mut self,
        format: &report::printf::Format,
        columns: &[ColumnType],
        values: &[Value],
        names: &Names,
    ) {
        if self.format == Format::Json {
            let result = report::json::line(&mut self.out, &report::json::event(None, columns, values, names));
            return self.done(result);
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        format.render_into(&mut line, values, columns, names);
        let result = self.out.write_all(line.as_bytes());
        self.line = line;
        self.done(result);
    }

    /// The trust line to standard error; in JSON also as the last object.
    pub fn trust(&mut self, trust: &Trust) {
        self.trust_of("", trust);
    }

    /// The same, of one of several that run.
    pub fn trust_of(&mut self, which: &str, trust: &Trust) {
        if self.format == Format::Json {
            let counts = [
                ("seen", trust.seen),
                ("filtered", trust.filtered),
                ("limited", trust.limited),
                ("counted", trust.counted),
                ("delivered", trust.delivered),
                ("lost", trust.lost()),
                ("lost_ring", trust.lost_ring),
                ("lost_map", trust.lost_map),
                ("unmatched", trust.unmatched),
                ("nested", trust.nested),
                ("open", trust.open),
                ("lost_stacks", trust.lost_stacks),
                ("frames", trust.frames),
                ("unresolved", trust.unresolved),
                ("stacks", trust.stacks),
                ("incomplete", trust.incomplete),
                ("left_out", trust.left_out),
                ("missed", trust.missed),
            ];
            let result = report::json::line(&mut self.out, &report::json::trust(counts));
            self.done(result);
        }
        self.flush();
        self.tell(&format!("{which}{}", trust.line()));
    }

    /// What a graph was made of.
    pub fn found(&mut self, found: &report::summary::Found<'_>) {
        let result = match self.format {
            Format::Text => found.text(&mut self.out),
            Format::Json => report::json::line(&mut self.out, &found.json()),
        };
        self.done(result);
    }

    /// A line that the next one replaces; an empty text removes it.
    pub fn progress(&mut self, text: &str) {
        if self.talk && (self.progressing || !text.is_empty()) {
            self.progressing = !text.is_empty();
            // As for `tell`.
            let _nobody = write!(io::stderr(), "\r\x1b[K{text}");
        }
    }

    /// A line about the run, to standard error.
    pub fn tell(&mut self, text: &str) {
        if !self.talk {
            return;
        }
        if self.screen.is_some() {
            let result = match self.format {
                Format::Text => writeln!(self.out, "{text}"),
                Format::Json => report::json::line(&mut self.out, &report::json::note(text)),
            };
            self.done(result);
            return self.flush();
        }
        // Standard error may be closed; then nobody wants to know.
        let _nobody = writeln!(io::stderr(), "{text}");
    }

    pub fn flush(&mut self) {
        let result = self.out.flush();
        self.done(result);
    }
}

fn pad(line: &mut String, text: &str, width: usize) {
    line.push_str(text);
    let have = text.chars().count();
    for _ in have..width {
        line.push(' ');
    }
    if width > 0 {
        line.push(' ');
    }
}
