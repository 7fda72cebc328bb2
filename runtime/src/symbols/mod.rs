//! Symbols: names for addresses.

use crate::kernel::symbols::Symbols;
use skep_flamegraphs::profile::{Frame, Origin};
use std::cell::OnceCell;
use std::sync::Arc;

#[derive(Default)]
pub struct Resolver {
    kernel: OnceCell<Symbols>,
}

impl Resolver {
    pub fn kernel(&mut self, addresses: &[u64]) -> Vec<Arc<Frame>> {
        let symbols = self.kernel.get_or_init(Symbols::read);
        addresses
            .iter()
            .map(|a| {
                Arc::new(Frame::named(
                    symbols.name(*a).unwrap_or_default().split('+').next().unwrap_or_default(),
                    Origin::Kernel,
                ))
            })
            .collect()
    }
    pub fn user(&mut self, _tgid: u32, addresses: &[u64]) -> Vec<Arc<Frame>> {
        addresses.iter().map(|a| Arc::new(Frame::named(&format!("{a:#x}"), Origin::User))).collect()
    }
}
