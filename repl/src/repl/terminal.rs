//! The terminal: rustyline in a thread of its own, so that what runs in the background is served while somebody types.

use super::helper::Helper;
use super::history;
use crate::run::size;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Behavior, ColorMode, CompletionType, Config, EditMode, Editor, ExternalPrinter};
use skep_runtime::interactive::complete::Sources;
use skep_runtime::interactive::knowledge::Known;
use skep_runtime::interactive::request::{Answer, Request};
use skep_runtime::interactive::screen::{Front, Keys};
use skep_runtime::machine::Machine;
use skep_templates::catalog::Catalog;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::UnboundedSender;

const PROMPT: &str = "skep> ";
/// Texts above the prompt that may wait for the terminal's thread; more are left out, and counted.
const QUEUE: usize = 4;

/// What the terminal's thread is given.
pub struct Typing {
    pub sender: UnboundedSender<Request>,
    pub known: Arc<Mutex<Known>>,
    pub catalog: Catalog,
    pub vi: bool,
    /// Texts that go above the prompt.
    pub printer: Receiver<String>,
}

/// The front end for the script's thread, and what comes out of it above the prompt.
pub fn front() -> (Box<dyn Front>, Receiver<String>) {
    let (above, printer) = sync_channel(QUEUE);
    (Box::new(Terminal { above }), printer)
}

struct Terminal {
    above: SyncSender<String>,
}

/// A terminal that goes away ends the session by SIGHUP; until then nobody reads.
fn put(text: &str) {
    let mut out = io::stdout().lock();
    let _nobody = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

impl Front for Terminal {
    fn answer(&mut self, text: &str) {
        put(text);
    }

    fn above(&mut self, text: &str) -> bool {
        self.above.try_send(text.to_owned()).is_ok()
    }

    fn redraw(&mut self, text: &str, over: usize) {
        // Up to the first line of what is there, and everything from there on anew.
        let up = if over > 0 { format!("\x1b[{over}A\r\x1b[J") } else { String::new() };
        put(&format!("{up}{text}"));
    }

    fn size(&self) -> Option<(usize, usize)> {
        size()
    }

    fn keys(&mut self) -> Option<Box<dyn Keys>> {
        let before = Mode::get()?;
        let mut now = before.0;
        now.c_lflag &= !(libc::ICANON | libc::ECHO);
        Mode(now).set();
        Some(Box::new(Keyboard { before }))
    }
}

/// How the terminal treats what is typed.
struct Mode(libc::termios);

impl Mode {
    fn get() -> Option<Mode> {
        // SAFETY: plain data, filled by the call.
        let mut mode: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: the call writes one `termios`.
        (unsafe { libc::tcgetattr(libc::STDIN_FILENO, &mut mode) } == 0).then_some(Mode(mode))
    }

    fn set(&self) {
        // A terminal that is gone has no mode.
        // SAFETY: the call reads one `termios`.
        let _gone = unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSADRAIN, &self.0) };
    }
}

struct Keyboard {
    before: Mode,
}

impl Keys for Keyboard {
    fn pressed(&self) -> bool {
        let mut ready = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, which the call fills in.
        unsafe { libc::poll(&mut ready, 1, 0) > 0 }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // The key that ended it is not typed into the next line.
        // SAFETY: no memory is involved.
        unsafe { libc::tcflush(libc::STDIN_FILENO, libc::TCIFLUSH) };
        self.before.set();
    }
}

/// The terminal as it was found.
pub struct Kept(Option<Mode>);

pub fn keep() -> Kept {
    Kept(Mode::get())
}

impl Kept {
    /// For the shell that comes next, whatever the thread that reads was doing.
    pub fn restore(self) {
        if let Some(mode) = self.0 {
            mode.set();
        }
    }
}

/// Reads lines until the terminal's end.
pub fn read(typing: Typing) {
    let builder = std::thread::Builder::new().name("skep-terminal".into());
    let sender = typing.sender.clone();
    if builder.spawn(move || lines(typing)).is_err() {
        let _left = sender.send(Request::Leave);
    }
}

fn lines(typing: Typing) {
    let Typing { sender, known, catalog, vi, printer } = typing;
    // Keys come before events, however many those are. Without the privilege they take turns.
    // SAFETY: no memory is involved; 0 is this thread.
    let _unprivileged = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -10) };
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let config = Config::builder()
        .max_history_size(history::LENGTH)
        .unwrap_or_default()
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .completion_prompt_limit(200)
        .edit_mode(if vi { EditMode::Vi } else { EditMode::Emacs })
        .color_mode(if colour { ColorMode::Enabled } else { ColorMode::Disabled })
        .behavior(Behavior::Stdio)
        .build();
    let Ok(mut editor) = Editor::<Helper, FileHistory>::with_config(config) else {
        let _left = sender.send(Request::Leave);
        return;
    };
    editor.set_helper(Some(Helper::new(known, Sources::new(Machine::live(), catalog), colour)));
    let file = history::file();
    if let Some(file) = &file {
        // One that cannot be read is as none.
        let _none = editor.load_history(file);
    }
    print_above(&mut editor, printer);
    let mut warned = false;
    loop {
        let text = match editor.readline(PROMPT) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            // Bytes that are no text: the line is gone, the session is not.
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => continue,
            // Ctrl-D, or a terminal that went away.
            Err(_) => break,
        };
        if !text.trim().is_empty() && text.len() <= 64 << 10 {
            let _same = editor.add_history_entry(text.as_str());
            let kept = file.as_ref().map(|file| editor.append_history(file));
            if let (Some(Err(error)), false) = (kept, warned) {
                put(&format!("the history is not kept: {error}\n"));
                warned = true;
            }
        }
        let (reply, answer) = sync_channel::<Answer>(1);
        let reply = Box::new(move |answer| drop(reply.send(answer)));
        if sender.send(Request::Line { text, reply }).is_err() {
            return;
        }
        match answer.recv() {
            Ok(Answer { left: None, .. }) => {}
            _ => return,
        }
    }
    let _left = sender.send(Request::Leave);
}

/// Prints what comes by itself above the prompt, from a thread of its own: the terminal's may be slow.
fn print_above(editor: &mut Editor<Helper, FileHistory>, printer: Receiver<String>) {
    let rich = editor.create_external_printer().ok();
    let spawned = std::thread::Builder::new().name("skep-printer".into()).spawn(move || {
        let mut rich = rich;
        for text in printer {
            match &mut rich {
                Some(rich) => drop(rich.print(text)),
                // A dumb terminal has no line to go above.
                None => put(&text),
            }
        }
    });
    if spawned.is_err() {
        put("nothing will be shown above the prompt: no thread is left\n");
    }
}
