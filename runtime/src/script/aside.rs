//! Asides: what a called script prints, kept for the script that called it.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

/// Bytes that are kept; a script that prints more is to be run by itself.
const MOST: usize = 1 << 20;

/// Lines that are not printed.
#[derive(Clone, Default)]
pub struct Aside(Rc<RefCell<Kept>>);

#[derive(Default)]
struct Kept {
    text: Vec<u8>,
    /// Something found no room.
    more: bool,
}

impl Aside {
    /// The lines so far; the last one says so where there were more than are kept.
    pub fn lines(&self) -> Vec<String> {
        let kept = self.0.borrow();
        let text = String::from_utf8_lossy(&kept.text);
        let more = kept.more.then(|| "…".to_owned());
        text.lines().map(str::to_owned).chain(more).collect()
    }
}

impl Write for Aside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.borrow_mut();
        match kept.text.len() + bytes.len() > MOST {
            true => kept.more = true,
            false => kept.text.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_said() {
        let mut aside = Aside::default();
        assert!(writeln!(aside, "one\ntwo").is_ok());
        assert_eq!(aside.lines(), ["one", "two"]);
        assert!(aside.write_all(&vec![b'x'; MOST]).is_ok());
        assert_eq!(aside.lines(), ["one", "two", "…"]);
    }
}
