//! The kernel's symbols: which function or variable an address belongs to.

use std::fs;

/// Sorted by address. Empty where the kernel hides its addresses from this process (kptr_restrict).
pub struct Symbols {
    all: Vec<(u64, String)>,
}

impl Symbols {
    /// Reads /proc/kallsyms, some 10 MB of text.
    pub fn read() -> Symbols {
        Symbols::parse(&fs::read_to_string("/proc/kallsyms").unwrap_or_default())
    }

    fn parse(text: &str) -> Symbols {
        let symbol = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok().filter(|address| *address != 0)?;
            // What the linker calls `A` is no address; per-CPU variables are told by theirs, which are low.
            let kind = words.next()?;
            (kind != "A" && kind != "a").then_some((address, words.next()?.to_owned()))
        };
        let mut all: Vec<(u64, String)> = text.lines().filter_map(symbol).collect();
        // Of several names for one address the first stays.
        all.sort_by_key(|(address, _)| *address);
        all.dedup_by_key(|(address, _)| *address);
        Symbols { all }
    }

    /// `vfs_read`, or `vfs_read+0x1c` inside of it; `None` in front of all symbols or far behind one.
    pub fn name(&self, address: u64) -> Option<String> {
        let behind = self.all.partition_point(|(start, _)| *start <= address);
        let (start, name) = self.all.get(behind.checked_sub(1)?)?;
        match address - start {
            0 => Some(name.clone()),
            // No function is longer: the address belongs to something without a name.
            far if far > 1 << 20 => None,
            near => Some(format!("{name}+{near:#x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_inside_a_function_is_named_with_its_offset() {
        let text = "0000000000000000 A fixed_percpu_data\nffffffff81000100 T second\nffffffff81000000 T first\n";
        let symbols = Symbols::parse(text);
        assert_eq!(symbols.name(0xffff_ffff_8100_0000).as_deref(), Some("first"));
        assert_eq!(symbols.name(0xffff_ffff_8100_0104).as_deref(), Some("second+0x4"));
        assert_eq!(symbols.name(0x10), None);
        assert_eq!(symbols.name(0xffff_ffff_9000_0000), None);
    }
}
