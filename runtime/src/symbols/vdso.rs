//! The vdso: the library that the kernel maps into every process. Ours is everybody's, so it is read from our own memory.

use super::mappings::{self, Backing};
use super::reason;
use crate::unwind::frame::Row;
use crate::unwind::tables::Tables;
use blazesym::Pid;
use blazesym::symbolize::source::{Process, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};
use skep_flamegraphs::profile::{Frame, Module, Origin};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

pub struct Vdso {
    own: Range<u64>,
    symbolizer: Symbolizer,
    module: Arc<Module>,
    /// As [`super::image::Image`] has them; its addresses are its offsets.
    tables: Option<Tables>,
}

impl Vdso {
    pub fn find() -> Vdso {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let own = mappings::lines(&maps).find(|line| mappings::without_file(&line.path) == Some(Backing::Vdso));
        let module = Arc::new(Module { path: "[vdso]".into(), build_id: None });
        let own = own.map_or(0..0, |line| line.range);
        let mut bytes = vec![0; (own.end - own.start) as usize];
        let read = File::open("/proc/self/mem").and_then(|memory| memory.read_exact_at(&mut bytes, own.start));
        let tables = read.ok().and_then(|()| Tables::read(&*bytes));
        Vdso { own, symbolizer: Symbolizer::new(), module, tables }
    }

    /// What its unwind tables say of the code so many bytes into it.
    pub fn unwind(&mut self, offset: u64) -> Option<Rc<Row>> {
        self.tables.as_mut()?.row(offset)
    }

    /// What lies so many bytes into it, and how far into that.
    pub fn at(&self, offset: u64) -> (Arc<Frame>, u64) {
        let address = self.own.start.saturating_add(offset);
        let source = Source::Process(Process::new(Pid::Slf));
        let found = match self.symbolizer.symbolize_single(&source, Input::AbsAddr(address)) {
            Ok(Symbolized::Sym(symbol)) if self.own.contains(&address) => Some(symbol),
            _ => None,
        };
        let (name, inside, unresolved) = match found {
            Some(symbol) => (symbol.name.into_owned(), symbol.offset as u64, None),
            None => (format!("[vdso]+{offset:#x}"), 0, Some(reason::NO_SYMBOL_THERE)),
        };
        let module = Some(self.module.clone());
        (Arc::new(Frame { address: offset, unresolved, module, ..Frame::named(&name, Origin::User) }), inside)
    }
}
