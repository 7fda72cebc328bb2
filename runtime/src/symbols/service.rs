//! The thread that resolves: it keeps up with processes that start, and answers everybody else.

use super::reason;
use super::resolver::Resolver;
use super::watch::Watch;
use crate::confine::capabilities;
use crate::kernel::sys;
use crate::unwind::sample::Sample;
use crate::unwind::walk::Walked;
use skep_flamegraphs::profile::{Frame, Origin};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;

/// Whose code is looked at while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Everybody,
    /// A process, and those that it starts.
    Process(u32),
}

/// A stack of addresses, the innermost first, as programs take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stack {
    User { pid: u32, addresses: Vec<u64> },
    Kernel { addresses: Vec<u64> },
}

/// A resolver on a thread of its own, which ends with this value.
pub struct Symbols {
    questions: Option<Sender<Question>>,
    wake: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

type Question = Box<dyn FnOnce(&mut Worker) + Send>;

struct Worker {
    resolver: Resolver,
    watch: Option<Watch>,
}

impl Symbols {
    /// Starts the thread. With `inlines`, debug information is read: inlined functions, files and lines, at the price of
    /// a hundred milliseconds and as many megabytes for a large program.
    ///
    /// # Errors
    /// The kernel's: no thread or file is left.
    pub fn start(inlines: bool) -> io::Result<Symbols> {
        let (questions, asked) = mpsc::channel();
        let (woken, wake) = io::pipe()?;
        let run = move || {
            capabilities::lower(capabilities::of_symbols(), true);
            Worker { resolver: Resolver::new(inlines), watch: None }.run(&asked, woken);
        };
        let thread = std::thread::Builder::new().name("symbols".into()).spawn(run)?;
        Ok(Symbols { questions: Some(questions), wake: Some(wake), thread: Some(thread) })
    }

    /// Notes processes and their code from now on, until the end of this value; those that run are read at once. Returns
    /// when nothing that starts later can be missed.
    ///
    /// # Errors
    /// The kernel's: no privilege. Processes that run when they are asked for are resolved all the same.
    pub fn watch(&self, scope: Scope) -> io::Result<()> {
        let started = self.ask(move |worker| {
            worker.watch = Some(Watch::start()?);
            worker.resolver.processes.only_known = scope != Scope::Everybody;
            if let Scope::Process(pid) = scope {
                worker.resolver.read(pid);
            }
            Ok(())
        });
        if scope == Scope::Everybody {
            self.tell(|worker| worker.resolver.read_all());
        }
        started.unwrap_or_else(|| Err(io::Error::other("the thread of symbols ended")))
    }

    /// Reads the kernel's symbols beforehand, beside whatever else happens.
    pub fn expect_kernel(&self) {
        self.tell(|worker| worker.resolver.kernel.read());
    }

    /// The frames of stacks, the root first; inlined functions stand behind the one that holds their code.
    pub fn resolve(&self, stacks: Vec<Stack>) -> Vec<Vec<Arc<Frame>>> {
        let bare = stacks.iter().map(Stack::bare).collect();
        self.ask(move |worker| stacks.iter().map(|stack| worker.resolver.stack(stack)).collect()).unwrap_or(bare)
    }

    /// The call chains of samples.
    pub fn unwind(&self, samples: Vec<Sample>) -> Vec<Walked> {
        let nobody = samples.len();
        self.ask(move |worker| samples.iter().map(|sample| worker.resolver.unwind(sample)).collect())
            .unwrap_or_else(|| vec![Walked { end: Some(reason::NOT_ASKED), ..Walked::default() }; nobody])
    }

    /// An address of a process as text: `main+0x1c`.
    pub fn user_name(&self, pid: u32, address: u64) -> String {
        self.ask(move |worker| worker.resolver.user_name(pid, address)).unwrap_or_else(|| format!("{address:#x}"))
    }

    /// An address of the kernel as text; `None` where it belongs to no symbol.
    pub fn kernel_name(&self, address: u64) -> Option<String> {
        self.ask(move |worker| worker.resolver.kernel.name(address)).flatten()
    }

    /// How many records about processes were lost: some of their code may not be known.
    pub fn lost(&self) -> u64 {
        self.ask(|worker| worker.watch.as_ref().map_or(0, Watch::lost)).unwrap_or(0)
    }

    fn ask<T: Send + 'static>(&self, question: impl FnOnce(&mut Worker) -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.tell(move |worker| {
            let _nobody_waits = answer.send(question(worker));
        });
        answered.recv().ok()
    }

    fn tell(&self, question: impl FnOnce(&mut Worker) + Send + 'static) {
        if let (Some(questions), Some(mut wake)) = (&self.questions, self.wake.as_ref())
            && questions.send(Box::new(question)).is_ok()
        {
            let _full = wake.write(&[0]);
        }
    }
}

impl Drop for Symbols {
    fn drop(&mut self) {
        (self.questions, self.wake) = (None, None);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

impl Worker {
    fn run(mut self, asked: &Receiver<Question>, mut woken: PipeReader) {
        loop {
            sys::wait_readable(&self.fds(&woken));
            let question = asked.try_recv();
            // First what happened before it was asked.
            if let Some(watch) = &mut self.watch {
                watch.catch_up(&mut self.resolver.processes, &mut self.resolver.files);
            }
            match question {
                Ok(question) => {
                    // As many bytes as questions.
                    let _byte = woken.read(&mut [0]);
                    question(&mut self);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    fn fds<'a>(&'a self, woken: &'a PipeReader) -> Vec<std::os::fd::BorrowedFd<'a>> {
        std::iter::once(woken.as_fd()).chain(self.watch.iter().flat_map(Watch::fds)).collect()
    }
}

impl Stack {
    /// Addresses as they are.
    fn bare(&self) -> Vec<Arc<Frame>> {
        let (addresses, origin) = match self {
            Stack::User { addresses, .. } => (addresses, Origin::User),
            Stack::Kernel { addresses } => (addresses, Origin::Kernel),
        };
        let frame = |address: &u64| {
            let frame = Frame::named(&format!("{address:#x}"), origin);
            Arc::new(Frame { unresolved: Some(reason::NOT_ASKED), address: *address, ..frame })
        };
        addresses.iter().rev().map(frame).collect()
    }
}
