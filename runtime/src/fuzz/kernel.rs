//! What the kernel gives, and files that stand for it: types, symbols, formats, counters, records, compiled templates.

use crate::aggregate::path;
use crate::kernel::functions::Functions;
use crate::kernel::object::{CoreBy, Linker};
use crate::kernel::symbols::Symbols;
use crate::kernel::{netlink, tracefs};
use crate::node::{counters, disks, network, pressure, since};
use crate::types::Type;
use aya_obj::btf::BtfFeatures;
use skep_templates::btf::{Btf, Kind, find_in};
use skep_templates::manifest::Manifest;
use std::io;
use std::sync::Arc;

/// Types of so many numbers are looked at.
const TYPES: usize = 16;

/// Types of a kernel or a module: all that is asked of them.
pub fn btf(bytes: &[u8]) {
    let _found = find_in(bytes, Kind::Struct, "task_struct");
    let Ok(btf) = Btf::parse(bytes.to_vec().into()) else { return };
    let btf = Arc::new(btf);
    types(&btf);
    if let Ok(module) = Btf::parse_split(bytes.to_vec().into(), btf) {
        types(&Arc::new(module));
    }
}

fn types(btf: &Arc<Btf<'static>>) {
    let _found = (btf.find(Kind::Struct, "sock"), btf.find_own(Kind::Function, "vfs_read"));
    for id in btf.ids().take(TYPES) {
        let one = Type::new(btf, id);
        let _shown = (one.declare("x"), one.definition(), one.size(), one.enumerators().len(), one.signed());
        let _members = (one.member("a"), one.member_names(), one.near("b"));
        let _pointer = (one.is_char(), one.target().is_struct(), one.leads_to_user(), one.array_length());
        let _rest = (btf.arguments(id), btf.tags().count(), btf.enumerators(id));
    }
}

/// A compiled template from a folder of the user's, to the instructions that would be loaded.
pub fn template(bytes: &[u8]) {
    let manifest = Manifest::read(bytes);
    let features = BtfFeatures::new(true, true, true, true, true, true, true, true);
    let Ok(mut linker) = Linker::parse(bytes, CoreBy::Kernel, &features) else { return };
    let numbers = linker.maps().zip(1..).map(|(map, n)| (map.name.to_owned(), n)).collect();
    if let (Ok(manifest), Ok(())) = (manifest, linker.link_numbers(&numbers)) {
        for program in manifest.programs {
            let _linked = linker.program(&program.name);
        }
    }
}

/// A tracepoint's format file.
pub fn tracepoint_format(bytes: &[u8]) {
    let _format = tracefs::parse_format(&String::from_utf8_lossy(bytes));
}

/// /proc/kallsyms, and the same lines as the list of functions that can be traced.
pub fn kallsyms(bytes: &[u8]) {
    let symbols = Symbols::parse(bytes);
    for address in [0, 0xffff_ffff_8100_0004, u64::MAX] {
        let _name = symbols.name(address);
    }
    let text = String::from_utf8_lossy(bytes);
    let functions = Functions::of_texts(text.to_string(), text.to_string());
    for name in ["vfs_read", "read", "_"] {
        for module in ["", "ext4"] {
            let _standing = functions.standing(Err(io::ErrorKind::NotFound), module, name);
        }
    }
    let _all = functions.traceable(Err(io::ErrorKind::NotFound)).map(Iterator::count);
}

/// Files of /proc that count.
pub fn node_counters(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _read = (counters::stat(&text), network::protocols(&text), network::backlog(&text), pressure::parse(&text));
    let (before, now) = text.split_at(text.floor_char_boundary(text.len() / 2));
    since(&counters::words(before), &counters::words(now));
    since(&counters::meminfo(before), &disks::parse(now, |_| true));
}

/// A path as programs send it, and an answer of netlink.
pub fn record(bytes: &[u8]) {
    path::decode(bytes);
    let _attribute = netlink::find(bytes, 1).and_then(|inner| netlink::find(inner, 2));
}
