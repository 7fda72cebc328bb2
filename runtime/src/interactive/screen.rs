//! The screen: where a session shows things. In answer to a line all is shown. What comes by itself while somebody types is
//! sampled when it comes faster than anybody reads, with the count of what was left out.

use crate::report::units;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Lines a second that are shown above the line that is being typed.
const READABLE: u64 = 40;
/// How long lines that came by themselves wait for others, so that the line being typed is drawn anew less often.
pub const PATIENCE: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

/// What shows things to somebody: a terminal, or lines of JSON.
pub trait Front {
    /// In answer to a line; nobody types meanwhile.
    fn answer(&mut self, text: &str);
    /// Above the line that is being typed. `false`: there is no room for it now.
    fn above(&mut self, text: &str) -> bool;
    /// In place of the text that was redrawn before, of so many lines.
    fn redraw(&mut self, text: &str, over: usize);
    /// Columns and rows of the terminal.
    fn size(&self) -> Option<(usize, usize)>;
    /// From now on any key ends what is watched; `None` where there are no keys.
    fn keys(&mut self) -> Option<Box<dyn Keys>>;
}

/// A keyboard that is listened to. Dropping it gives the keys back.
pub trait Keys {
    /// Was a key pressed?
    fn pressed(&self) -> bool;
}

pub struct Screen {
    front: RefCell<Box<dyn Front>>,
    /// Somebody types, and nobody waits for an answer.
    typing: Cell<bool>,
    /// What came by itself and is not shown yet.
    waiting: RefCell<Vec<u8>>,
    since: Cell<Instant>,
    shown: Cell<u64>,
    left_out: Cell<u64>,
}

impl Screen {
    pub fn new(front: Box<dyn Front>) -> Rc<Screen> {
        Rc::new(Screen {
            front: RefCell::new(front),
            typing: Cell::new(false),
            waiting: RefCell::default(),
            since: Cell::new(Instant::now()),
            shown: Cell::new(0),
            left_out: Cell::new(0),
        })
    }

    /// From now on somebody types (`true`), or waits for an answer.
    pub fn set_typing(&self, typing: bool) {
        if !typing {
            self.show_waiting();
        }
        self.typing.set(typing);
    }

    pub fn size(&self) -> Option<(usize, usize)> {
        self.front.borrow().size()
    }

    pub fn keys(&self) -> Option<Box<dyn Keys>> {
        self.front.borrow_mut().keys()
    }

    pub fn redraw(&self, text: &str, over: usize) {
        self.front.borrow_mut().redraw(text, over);
    }

    /// As many lines were shown in this second as anybody reads: the next one is only counted, here.
    pub fn skips(&self) -> bool {
        let over = self.typing.get() && self.shown.get() >= READABLE && self.since.get().elapsed() < SECOND;
        self.left_out.set(self.left_out.get() + u64::from(over));
        over
    }

    /// Does something wait for [`Screen::tick`]?
    pub fn waits(&self) -> bool {
        !self.waiting.borrow().is_empty() || self.left_out.get() > 0
    }

    /// Shows what came by itself since the last tick, and after a second what was left out of it.
    pub fn tick(&self) {
        self.show_waiting();
        let passed = self.since.get().elapsed();
        if passed < SECOND {
            return;
        }
        let left_out = self.left_out.take();
        if left_out > 0 {
            let time = units::duration(passed.as_nanos() as i128);
            let line =
                format!("… {} more lines in {time} (.filter(…) them, or .count() them)\n", units::grouped(left_out));
            if self.typing.get() {
                self.front.borrow_mut().above(&line);
            } else {
                self.front.borrow_mut().answer(&line);
            }
        }
        self.since.set(Instant::now());
        self.shown.set(0);
    }

    fn show_waiting(&self) {
        let waiting = self.waiting.take();
        if waiting.is_empty() {
            return;
        }
        let mut text = String::from_utf8_lossy(&waiting).into_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        if !self.front.borrow_mut().above(&text) {
            self.left_out.set(self.left_out.get() + text.lines().count() as u64);
        }
    }

    fn put(&self, bytes: &[u8]) {
        if !self.typing.get() {
            return self.front.borrow_mut().answer(&String::from_utf8_lossy(bytes));
        }
        // A new second begins where a tick is late.
        if self.since.get().elapsed() >= SECOND {
            self.tick();
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.shown.get() >= READABLE {
                self.left_out.set(self.left_out.get() + u64::from(line.ends_with(b"\n")));
                continue;
            }
            self.shown.set(self.shown.get() + u64::from(line.ends_with(b"\n")));
            self.waiting.borrow_mut().extend_from_slice(line);
        }
    }
}

/// What is written to a screen.
pub struct Lines(pub Rc<Screen>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::io::Write;

    /// A front end that keeps what it is given.
    #[derive(Clone, Default)]
    pub struct Paper(pub Rc<RefCell<String>>);

    impl Front for Paper {
        fn answer(&mut self, text: &str) {
            self.0.borrow_mut().push_str(text);
        }

        fn above(&mut self, text: &str) -> bool {
            self.0.borrow_mut().push_str(text);
            true
        }

        fn redraw(&mut self, text: &str, _: usize) {
            self.answer(text);
        }

        fn size(&self) -> Option<(usize, usize)> {
            None
        }

        fn keys(&mut self) -> Option<Box<dyn Keys>> {
            None
        }
    }

    #[test]
    fn flood_is_sampled_with_the_count_of_what_was_left_out() {
        let paper = Paper::default();
        let screen = Screen::new(Box::new(paper.clone()));
        screen.set_typing(true);
        let mut lines = Lines(screen.clone());
        for n in 0..1000 {
            writeln!(lines, "line {n}").unwrap();
        }
        screen.since.set(Instant::now() - SECOND);
        screen.tick();
        let shown = paper.0.borrow().clone();
        assert_eq!(shown.lines().filter(|line| line.starts_with("line ")).count() as u64, READABLE);
        assert!(shown.contains(&format!("… {} more lines in 1.00s", 1000 - READABLE)), "{shown}");
    }

    #[test]
    fn answer_is_shown_whole() {
        let paper = Paper::default();
        let screen = Screen::new(Box::new(paper.clone()));
        let mut lines = Lines(screen);
        (0..1000).for_each(|n| writeln!(lines, "line {n}").unwrap());
        assert_eq!(paper.0.borrow().lines().count(), 1000);
    }
}
