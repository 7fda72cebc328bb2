//! The kernel's symbols: which function or variable an address belongs to.

use std::fs::File;
use std::io::{BufRead, BufReader};

/// Sorted by address.
#[derive(Debug, Default)]
pub struct Symbols {
    all: Vec<Entry>,
    /// All names, one behind the other: a hundred thousand texts of their own would take twice the memory.
    names: String,
    modules: Vec<String>,
    hidden: bool,
}

#[derive(Debug)]
struct Entry {
    address: u64,
    name: u32,
    length: u16,
    /// From 1; 0 for the kernel itself.
    module: u16,
}

/// What an address belongs to.
#[derive(Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    pub name: &'a str,
    /// The loadable module that it is part of: `ext4`, `bpf`.
    pub module: Option<&'a str>,
    /// From its start.
    pub offset: u64,
}

impl Symbols {
    /// Reads /proc/kallsyms, which takes the kernel some 0.3 µs a symbol. Empty where it cannot be read.
    pub fn read() -> Symbols {
        File::open("/proc/kallsyms")
            .map_or_else(|_| Symbols::default(), |file| Symbols::parse(BufReader::with_capacity(64 << 10, file)))
    }

    pub(crate) fn parse(mut text: impl BufRead) -> Symbols {
        let mut symbols = Symbols::default();
        let (mut line, mut zero) = (String::new(), false);
        while let Ok(1..) = text.read_line(&mut line) {
            zero |= symbols.add(&line) == Some(0);
            line.clear();
        }
        symbols.hidden = zero && symbols.all.is_empty();
        // Of several names for one address the first stays. A stable sort would do it too, with memory of its own.
        symbols.all.sort_unstable_by_key(|entry| (entry.address, entry.name));
        symbols.all.dedup_by_key(|entry| entry.address);
        symbols.all.shrink_to_fit();
        symbols.names.shrink_to_fit();
        symbols
    }

    /// Takes `ffffffff81000100 T name [module]`; gives its address.
    fn add(&mut self, line: &str) -> Option<u64> {
        let mut words = line.split_ascii_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let (kind, name) = (words.next()?, words.next()?);
        // What the linker calls `A` is no address; per-CPU variables are told by theirs, which are low.
        if kind == "A" || kind == "a" {
            return None;
        }
        if address != 0 {
            let module = words.next().map_or(0, |module| self.module(module.trim_matches(['[', ']'])));
            let (start, length) = (self.names.len() as u32, name.len() as u16);
            self.names.push_str(name);
            self.all.push(Entry { address, name: start, length, module });
        }
        Some(address)
    }

    fn module(&mut self, name: &str) -> u16 {
        // Symbols of one module stand together.
        if self.modules.last().is_none_or(|last| last != name) {
            self.modules.push(name.to_owned());
        }
        self.modules.len() as u16
    }

    /// The kernel shows its symbols, but not where they are: to processes without privilege, or to all
    /// (`kernel.kptr_restrict`).
    pub fn hidden(&self) -> bool {
        self.hidden
    }

    /// The symbol that an address lies in; `None` in front of all symbols or far behind one.
    pub fn find(&self, address: u64) -> Option<Symbol<'_>> {
        let behind = self.all.partition_point(|entry| entry.address <= address);
        let entry = self.all.get(behind.checked_sub(1)?)?;
        let offset = address - entry.address;
        // No function is longer: the address belongs to something without a name.
        if offset > 1 << 20 {
            return None;
        }
        let name = self.names.get(entry.name as usize..)?.get(..entry.length.into())?;
        let module = usize::from(entry.module).checked_sub(1).and_then(|module| self.modules.get(module));
        Some(Symbol { name, module: module.map(String::as_str), offset })
    }

    /// `vfs_read`, or `vfs_read+0x1c` inside of it; `None` as [`Symbols::find`].
    pub fn name(&self, address: u64) -> Option<String> {
        let Symbol { name, offset, .. } = self.find(address)?;
        Some(if offset == 0 { name.to_owned() } else { format!("{name}+{offset:#x}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_inside_a_function_is_named_with_its_offset() {
        let text = "0000000000000000 A fixed_percpu_data\nffffffff81000100 T second\nffffffff81000000 T first\n";
        let symbols = Symbols::parse(text.as_bytes());
        assert_eq!(symbols.name(0xffff_ffff_8100_0000).as_deref(), Some("first"));
        assert_eq!(symbols.name(0xffff_ffff_8100_0104).as_deref(), Some("second+0x4"));
        assert_eq!(symbols.name(0x10), None);
        assert_eq!(symbols.name(0xffff_ffff_9000_0000), None);
        assert!(!symbols.hidden());
    }

    #[test]
    fn symbols_of_modules_name_theirs() {
        let text = "ffffffff81000000 T vfs_read\nffffffffc0000000 t read\t[ext4]\nffffffffc0000010 t prog\t[bpf]\n";
        let symbols = Symbols::parse(text.as_bytes());
        let module = |address| symbols.find(address).and_then(|symbol| symbol.module);
        assert_eq!(module(0xffff_ffff_8100_0000), None);
        assert_eq!([module(0xffff_ffff_c000_0000), module(0xffff_ffff_c000_0012)], [Some("ext4"), Some("bpf")]);
    }

    #[test]
    fn addresses_that_are_all_zero_are_hidden() {
        let symbols = Symbols::parse("0000000000000000 T first\n0000000000000000 t second\n".as_bytes());
        assert!(symbols.hidden() && symbols.find(0).is_none());
        assert!(!Symbols::default().hidden());
    }
}
