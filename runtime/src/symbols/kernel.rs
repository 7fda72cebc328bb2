//! Addresses of the kernel -> frames.

use super::reason;
use crate::kernel::symbols::{Symbol, Symbols};
use skep_flamegraphs::profile::{Frame, Module, Origin};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Programs and modules come and go: after this long, an address that is not known is worth another reading.
const STALE: Duration = Duration::from_secs(1);

/// The kernel's symbols, read when first asked for.
#[derive(Default)]
pub struct Kernel {
    read: Option<(Symbols, Instant)>,
    frames: HashMap<u64, Arc<Frame>>,
    modules: HashMap<String, Arc<Module>>,
}

impl Kernel {
    /// Reads the symbols, if that was not done yet.
    pub fn read(&mut self) {
        self.read.get_or_insert_with(|| (Symbols::read(), Instant::now()));
    }

    /// The symbol of an address: `vfs_read+0x1c`.
    pub fn name(&mut self, address: u64) -> Option<String> {
        self.symbols(address).name(address)
    }

    /// One frame for an address.
    pub fn frame(&mut self, address: u64) -> Arc<Frame> {
        if let Some(frame) = self.frames.get(&address) {
            return frame.clone();
        }
        let symbols = self.symbols(address);
        let (name, module, unresolved) = match symbols.find(address) {
            Some(Symbol { name, module, .. }) => (name.to_owned(), module.unwrap_or("kernel").to_owned(), None),
            None if symbols.hidden() => (format!("{address:#x}"), "kernel".into(), Some(reason::KERNEL_HIDDEN)),
            None => (format!("{address:#x}"), "kernel".into(), Some(reason::KERNEL_UNKNOWN)),
        };
        let module = self
            .modules
            .entry(module)
            .or_insert_with_key(|name| Arc::new(Module { path: format!("[{name}]"), build_id: None }));
        let module = Some(module.clone());
        let frame = Arc::new(Frame { unresolved, address, module, ..Frame::named(&name, Origin::Kernel) });
        if unresolved.is_none() {
            self.frames.insert(address, frame.clone());
        }
        frame
    }

    fn symbols(&mut self, address: u64) -> &Symbols {
        if self.read.as_ref().is_some_and(|(symbols, at)| symbols.find(address).is_none() && at.elapsed() > STALE) {
            self.read = None;
        }
        &self.read.get_or_insert_with(|| (Symbols::read(), Instant::now())).0
    }
}
