//! Output: everything that a script shows, as text, JSON lines or CSV. A reader that goes away ends the run, quietly.

use super::aside::Aside;
use super::names::Names;
use super::verdicts::Verdicts;
use crate::aggregate::column::{ColumnType, Value};
use crate::aggregate::table::Table;
use crate::diagnostic::Diagnostic;
use crate::interactive::screen::{Lines, Screen};
use crate::kernel::load;
use crate::report::finding::Finding;
use crate::report::units;
use crate::report::{self, text::Style};
use crate::trust::Trust;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::rc::Rc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
    Csv,
}

/// Lines of CSV that have the same columns.
#[derive(Default)]
struct Block {
    heading: String,
    /// The stream that they are of: its columns need not be compared for each event.
    stream: Option<usize>,
}

/// A result in CSV.
enum Csv {
    /// Whether these lines may stand below others with the same heading.
    Rows { heading: String, rows: String, may_follow: bool },
    /// None of its rows: a line of text.
    Line,
}

/// Where a script's results go; what is about the run itself goes to standard error.
pub struct Output {
    out: BufWriter<Box<dyn Write>>,
    pub format: Format,
    style: Style,
    /// Nothing can be written any more.
    closed: bool,
    /// Why, where it is not that nobody reads any more.
    broken: Option<String>,
    /// Say on standard error what was attached, and the trust line.
    pub talk: bool,
    /// A line of progress stands there.
    progressing: bool,
    line: String,
    /// What names the columns of the lines that are written, in CSV.
    block: Block,
    /// There was one before.
    in_intervals: bool,
    /// Where somebody types: both streams in one place.
    screen: Option<Rc<Screen>>,
    /// A called script speaks.
    aside: Option<Aside>,
    /// What was printed, for a report.
    kept: Option<Aside>,
}

impl Output {
    pub fn new(out: Box<dyn Write>, format: Format, style: Style) -> Output {
        Output {
            out: BufWriter::with_capacity(64 << 10, out),
            format,
            style,
            closed: false,
            broken: None,
            talk: true,
            progressing: false,
            line: String::new(),
            block: Block::default(),
            in_intervals: false,
            screen: None,
            aside: None,
            kept: None,
        }
    }

    /// Both streams on a screen, on which somebody types.
    pub fn on_screen(screen: &Rc<Screen>, format: Format, style: Style) -> Output {
        Output { screen: Some(screen.clone()), ..Output::new(Box::new(Lines(screen.clone())), format, style) }
    }

    /// Columns of the terminal, which may have changed; it means nothing where nothing is shortened.
    pub fn set_width(&mut self, columns: usize) {
        self.style.width = self.style.width.map(|_| columns);
    }

    /// A text for a line that a script makes up: at most so many columns of it where lines have a width.
    pub fn fit(&self, text: &str, columns: usize) -> String {
        match self.format == Format::Text && self.aside.is_none() && self.style.width.is_some() {
            true => report::columns::shortened(text, columns),
            false => text.to_owned(),
        }
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
        if let Err(error) = result {
            self.closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe && self.broken.is_none() {
                self.broken = Some(load::text(&error));
            }
        }
    }

    /// Was everything written that somebody reads?
    ///
    /// # Errors
    /// A machine diagnostic: why not.
    pub fn written(&self) -> Result<(), Diagnostic> {
        let failed = |why: &String| Diagnostic::machine(format!("failed to write standard output: {why}")).nowhere();
        self.broken.as_ref().map_or(Ok(()), |why| Err(failed(why)))
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

    /// What is printed from here on is what a called script prints; `None`: no more.
    pub fn aside(&mut self, aside: Option<Aside>) {
        self.aside = aside;
    }

    /// Keeps what is printed as text, for a report.
    pub fn keep(&mut self) {
        self.kept = Some(Aside::default());
    }

    /// The lines that were kept.
    pub fn kept(&self) -> Vec<String> {
        self.kept.as_ref().map(Aside::lines).unwrap_or_default()
    }

    /// One result, as text or as an object. That of a called script goes aside.
    fn put<J: Serialize>(
        &mut self,
        text: impl Fn(&mut dyn Write, &Style) -> io::Result<()>,
        json: impl FnOnce() -> J,
        csv: impl FnOnce() -> Csv,
    ) {
        // Memory takes whatever is written.
        if let Some(aside) = &mut self.aside {
            let _infallible = text(aside, &Style::default());
            return;
        }
        if let Some(kept) = &mut self.kept {
            let _infallible = text(kept, &Style::default());
        }
        let result = match self.format {
            Format::Text => text(&mut self.out, &self.style),
            Format::Json => report::json::line(&mut self.out, &json()),
            Format::Csv => match csv() {
                Csv::Rows { heading, rows, may_follow } => return self.rows(heading, &rows, may_follow),
                // A line among rows would be a row. Standard error may be closed; then nobody wants to know.
                Csv::Line => text(&mut io::stderr(), &Style::default()).or(Ok(())),
            },
        };
        self.done(result);
    }

    /// What the script printed: it may be a text of some process's, which must move no cursor.
    pub fn print(&mut self, line: &str) {
        self.put(|out, _| writeln!(out, "{}", units::lines(line)), || report::json::text(line), || Csv::Line);
    }

    /// A text in which whatever is of others was escaped before: its colours are meant.
    pub fn print_as_is(&mut self, line: &str) {
        self.put(|out, _| writeln!(out, "{line}"), || report::json::text(line), || Csv::Line);
    }

    pub fn table(&mut self, table: &Table, names: &Names) {
        self.table_at(table, names, None);
    }

    /// The same, of an interval that ended then.
    pub fn table_at(&mut self, table: &Table, names: &Names, at: Option<&str>) {
        let rows = || {
            let (heading, rows) = report::csv::table(table, names, at);
            // Where nothing in a line says what it is of, its place must.
            Csv::Rows { heading, rows, may_follow: at.is_some() || !table.spec.name.is_empty() }
        };
        self.put(
            |mut out, style| report::text::table(&mut out, table, names, style),
            || report::json::table_at(table, names, at),
            rows,
        );
    }

    /// What follows is of an interval that ended at this time of day.
    pub fn interval(&mut self, time: &str) {
        if self.format == Format::Text {
            let gap = if std::mem::replace(&mut self.in_intervals, true) { "\n" } else { "" };
            let result = writeln!(self.out, "{gap}{time}");
            self.done(result);
        }
    }

    /// Lines of CSV: under the names that stand there already, if they are the same and the lines may follow those, else
    /// behind an empty line under their own.
    fn rows(&mut self, heading: String, rows: &str, may_follow: bool) {
        let follows = may_follow && self.block.heading == heading;
        let mut result = Ok(());
        if !follows {
            let gap = if self.block.heading.is_empty() { "" } else { "\n" };
            result = write!(self.out, "{gap}{heading}");
        }
        let result = result.and_then(|()| self.out.write_all(rows.as_bytes()));
        self.block = Block { heading, stream: None };
        self.done(result);
    }

    /// Lines of CSV of a stream, under the names of its columns.
    fn streams(&mut self, stream: usize, columns: &[ColumnType]) {
        if self.block.stream != Some(stream) {
            self.rows(report::csv::heading(columns.iter().map(|column| column.name.as_str())), "", true);
            self.block.stream = Some(stream);
        }
    }

    /// What policies have done.
    pub fn verdicts(&mut self, verdicts: &Verdicts) {
        let rows = || {
            let (heading, rows) = verdicts.csv();
            Csv::Rows { heading, rows, may_follow: true }
        };
        self.put(|out, _| out.write_all(verdicts.text().as_bytes()), || verdicts.json(), rows);
    }

    /// What the script found; of a called script too.
    pub fn finding(&mut self, finding: &Finding) {
        let result = match self.format {
            Format::Text => finding.text(&mut self.out, &self.style),
            Format::Json => report::json::line(&mut self.out, &finding.json()),
            Format::Csv => finding.text(&mut io::stderr(), &Style::default()).or(Ok(())),
        };
        self.done(result);
        // Somebody waits for it.
        self.flush();
    }

    /// An empty line between two results.
    pub fn gap(&mut self) {
        if let Some(kept) = &mut self.kept {
            let _infallible = writeln!(kept);
        }
        if self.format == Format::Text {
            let result = writeln!(self.out);
            self.done(result);
        }
    }

    /// The names of the columns of stream number `stream`.
    pub fn heading(&mut self, stream: usize, columns: &[ColumnType], widths: &[usize]) {
        if self.format == Format::Csv && self.aside.is_none() {
            return self.streams(stream, columns);
        }
        let names = || columns.iter().map(|column| column.name.clone()).collect();
        if let (Some(own), _) | (None, Some(own)) = (&mut self.aside, &mut self.kept) {
            let _infallible = own.write_all(line(String::new(), names(), widths, None).as_bytes());
        }
        if self.aside.is_none() && self.format == Format::Text {
            let (on, off) = if self.style.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
            let line = line(String::new(), names(), widths, self.style.width);
            let result = writeln!(self.out, "{on}{}{off}", line.trim_end());
            self.done(result);
        }
    }

    /// One event of a stream as a line of aligned columns.
    pub fn event(&mut self, stream: usize, columns: &[ColumnType], values: &[Value], widths: &[usize], names: &Names) {
        if self.is_data() {
            return self.data(stream, columns, values, names);
        }
        let cells = values.iter().zip(columns).map(|(value, column)| report::text::value(value, column, names));
        let cells: Vec<String> = cells.collect();
        // A report has all of it.
        if let (Some(own), _) | (None, Some(own)) = (&mut self.aside, &mut self.kept) {
            let _infallible = own.write_all(line(String::new(), cells.clone(), widths, None).as_bytes());
        }
        if self.aside.is_none() {
            self.line = line(std::mem::take(&mut self.line), cells, widths, self.style.width);
            let result = self.out.write_all(self.line.as_bytes());
            self.done(result);
        }
    }

    /// One event after a format of the script; the format brings its own line end.
    pub fn formatted(
        &mut self,
        stream: usize,
        format: &report::printf::Format,
        columns: &[ColumnType],
        values: &[Value],
        names: &Names,
    ) {
        if self.is_data() {
            return self.data(stream, columns, values, names);
        }
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        format.render_into(&mut line, values, columns, names);
        self.streamed(line);
    }

    /// Events are for programs: nobody asks for their text.
    fn is_data(&self) -> bool {
        self.format != Format::Text && self.aside.is_none()
    }

    /// An event as text; its room is used again.
    fn streamed(&mut self, line: String) {
        if let (Some(own), _) | (None, Some(own)) = (&mut self.aside, &mut self.kept) {
            let _infallible = own.write_all(line.as_bytes());
        }
        if self.aside.is_none() {
            let result = self.out.write_all(line.as_bytes());
            self.done(result);
        }
        self.line = line;
    }

    /// Asks whoever sits there; anything but yes is no.
    pub fn ask(&mut self, question: &str) -> bool {
        self.flush();
        let mut answer = String::new();
        let asked =
            write!(io::stderr(), "{question} [y/N] ").and_then(|()| io::stdin().read_line(&mut answer).map(drop));
        asked.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    /// One event for programs.
    fn data(&mut self, stream: usize, columns: &[ColumnType], values: &[Value], names: &Names) {
        let result = match self.format {
            Format::Csv => {
                self.streams(stream, columns);
                self.out.write_all(report::csv::event(columns, values, names).as_bytes())
            }
            _ => report::json::line(&mut self.out, &report::json::event(None, columns, values, names)),
        };
        self.done(result);
    }

    /// The trust line to standard error; in JSON also as the last object.
    pub fn trust(&mut self, trust: &Trust) {
        self.trust_of("", trust);
    }

    /// The same, of one of several that run.
    pub fn trust_of(&mut self, which: &str, trust: &Trust) {
        if self.format == Format::Json {
            let result = report::json::line(&mut self.out, &report::json::trust(trust.counts()));
            self.done(result);
        }
        self.flush();
        self.tell(&format!("{which}{}", trust.line()));
    }

    /// What a graph was made of.
    pub fn found(&mut self, found: &report::summary::Found<'_>) {
        let result = match self.format {
            Format::Text => found.text(&mut self.out, &self.style),
            Format::Json => report::json::line(&mut self.out, &found.json()),
            Format::Csv => {
                let (heading, rows) = found.csv();
                return self.rows(heading, &rows, true);
            }
        };
        self.done(result);
    }

    /// A line that the next one replaces; an empty text removes it.
    pub fn progress(&mut self, text: &str) {
        if self.talk && (self.progressing || !text.is_empty()) {
            self.progressing = !text.is_empty();
            // As for `tell`.
            let _nobody = write!(io::stderr(), "\r\x1b[K{}", units::lines(text));
        }
    }

    /// A line about the run, to standard error.
    pub fn tell(&mut self, text: &str) {
        if !self.talk {
            return;
        }
        if self.screen.is_some() {
            let result = match self.format {
                Format::Json => report::json::line(&mut self.out, &report::json::note(text)),
                _ => writeln!(self.out, "{}", units::lines(text)),
            };
            self.done(result);
            return self.flush();
        }
        // Standard error may be closed; then nobody wants to know.
        let _nobody = writeln!(io::stderr(), "{}", units::lines(text));
    }

    pub fn flush(&mut self) {
        let result = self.out.flush();
        self.done(result);
    }
}

/// A line of a stream; the room of `line` is used again.
fn line(mut line: String, mut cells: Vec<String>, widths: &[usize], limit: Option<usize>) -> String {
    line.clear();
    report::columns::line(&mut line, &mut cells, widths, limit);
    line.push('\n');
    line
}
