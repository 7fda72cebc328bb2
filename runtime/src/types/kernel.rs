//! All types of a kernel: its own and its modules', each read when it is first asked for.

use super::Type;
use skep_templates::btf::{Btf, Id, Kind};
use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The types of one kernel, running or not.
pub struct KernelTypes {
    folder: PathBuf,
    /// Of the folder, or the one file that stands for all of it.
    vmlinux: OnceCell<Option<Arc<Btf<'static>>>>,
    modules: RefCell<HashMap<String, Option<Arc<Btf<'static>>>>>,
}

/// How a kernel function is declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Prototype {
    pub name: String,
    /// The function itself: what a tracing program attaches to.
    pub function: Type,
    /// Empty: the kernel proper.
    pub module: String,
    pub arguments: Vec<(String, Type)>,
    pub returns: Type,
}

impl fmt::Debug for KernelTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelTypes({})", self.folder.display())
    }
}

/// Types are looked up in the one kernel that a plan is made for.
impl PartialEq for KernelTypes {
    fn eq(&self, other: &KernelTypes) -> bool {
        std::ptr::eq(self, other)
    }
}

impl KernelTypes {
    /// A folder that holds `vmlinux` and a file for every module, such as /sys/kernel/btf; empty: there is none.
    pub fn folder(folder: &Path) -> KernelTypes {
        KernelTypes { folder: folder.to_owned(), vmlinux: OnceCell::new(), modules: RefCell::default() }
    }

    /// Of one file, from a kernel that need not be at hand: raw BTF, or an ELF file with a `.BTF` section (a `vmlinux`).
    ///
    /// # Errors
    /// The file cannot be read, or holds no type information.
    pub fn file(path: &Path) -> io::Result<KernelTypes> {
        let btf = Btf::parse(Cow::Owned(section(fs::read(path)?)?)).map_err(io::Error::other)?;
        let types = KernelTypes::folder(Path::new(""));
        types.vmlinux.get_or_init(|| Some(Arc::new(btf)));
        Ok(types)
    }

    /// The kernel's own; `None`: it has none.
    pub fn vmlinux(&self) -> Option<&Arc<Btf<'static>>> {
        let read = || {
            if self.folder.as_os_str().is_empty() {
                return None;
            }
            let bytes = fs::read(self.folder.join("vmlinux")).ok()?;
            Btf::parse(Cow::Owned(bytes)).ok().map(Arc::new)
        };
        self.vmlinux.get_or_init(read).as_ref()
    }

    /// Are there any? Reads none of them.
    pub fn exist(&self) -> bool {
        match self.vmlinux.get() {
            Some(read) => read.is_some(),
            None => !self.folder.as_os_str().is_empty() && self.folder.join("vmlinux").exists(),
        }
    }

    /// Names of the modules that have types.
    pub fn module_names(&self) -> Vec<String> {
        if self.folder.as_os_str().is_empty() {
            return Vec::new();
        }
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| name != "vmlinux");
        names.sort();
        names
    }

    /// Has this module types of its own?
    pub fn has_module(&self, name: &str) -> bool {
        self.module(name).is_some()
    }

    fn module(&self, name: &str) -> Option<Arc<Btf<'static>>> {
        let base = self.vmlinux()?.clone();
        let read = || {
            if self.folder.as_os_str().is_empty() {
                return None;
            }
            let bytes = fs::read(self.folder.join(name)).ok()?;
            Btf::parse_split(Cow::Owned(bytes), base).ok().map(Arc::new)
        };
        self.modules.borrow_mut().entry(name.to_owned()).or_insert_with(read).clone()
    }

    /// The first type of this kind with this name: the kernel's, else a module's.
    pub fn find(&self, kind: Kind, name: &str) -> Option<Type> {
        let vmlinux = self.vmlinux()?;
        if let Some(id) = vmlinux.find(kind, name) {
            return Some(Type::new(vmlinux, id));
        }
        self.module_names().iter().find_map(|module| self.find_in_module(module, kind, name))
    }

    fn find_in_module(&self, module: &str, kind: Kind, name: &str) -> Option<Type> {
        let btf = self.module(module)?;
        let id = btf.find_own(kind, name)?;
        Some(Type::new(&btf, id))
    }

    /// A type as C spells it, stars left out: `struct sock`, `union u`, `enum tcp_state`, `u32`, `unsigned int`.
    pub fn spelled(&self, text: &str) -> Option<Type> {
        let words: Vec<&str> = text.split_whitespace().filter(|word| !matches!(*word, "const" | "volatile")).collect();
        let any = |kinds: &[Kind], name: &str| kinds.iter().find_map(|kind| self.find(*kind, name));
        match words.as_slice() {
            ["struct", name] => self.find(Kind::Struct, name),
            ["union", name] => self.find(Kind::Union, name),
            ["enum", name] => any(&[Kind::Enum, Kind::Enum64], name),
            words => {
                let name = words.join(" ");
                let name = match name.as_str() {
                    "unsigned" => "unsigned int",
                    "unsigned long" => "long unsigned int",
                    "long" => "long int",
                    "short" => "short int",
                    "unsigned short" => "short unsigned int",
                    "long long" => "long long int",
                    "unsigned long long" => "long long unsigned int",
                    other => other,
                };
                any(&[Kind::Typedef, Kind::Int, Kind::Struct, Kind::Union, Kind::Enum, Kind::Enum64], name)
            }
        }
    }

    /// Names of all structures, unions and enumerations of the kernel proper, for did-you-mean and listings.
    pub fn names(&self, kinds: &[Kind]) -> Vec<&str> {
        let Some(btf) = self.vmlinux() else { return Vec::new() };
        let named = btf.ids().filter(|id| kinds.contains(&btf.kind(*id))).map(|id| btf.name(id));
        let mut names: Vec<&str> = named.filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How a function is declared; `module` empty: anywhere, `vmlinux`: in the kernel proper.
    pub fn function(&self, module: &str, name: &str) -> Option<Prototype> {
        let vmlinux = self.vmlinux()?;
        let (module, function) = match module {
            "vmlinux" => (String::new(), Type::new(vmlinux, vmlinux.find(Kind::Function, name)?)),
            "" => match vmlinux.find(Kind::Function, name) {
                Some(id) => (String::new(), Type::new(vmlinux, id)),
                None => self.module_names().into_iter().find_map(|module| {
                    let found = self.find_in_module(&module, Kind::Function, name)?;
                    Some((module, found))
                })?,
            },
            module => (module.to_owned(), self.find_in_module(module, Kind::Function, name)?),
        };
        Some(Prototype { module, ..Prototype::of_function(function) })
    }

    /// How those functions of a module, or with `""` of the kernel proper, are declared whose names are `wanted`: one pass
    /// over all of them.
    pub fn functions(&self, module: &str, wanted: impl Fn(&str) -> bool) -> Vec<Prototype> {
        let btf = if module.is_empty() { self.vmlinux().cloned() } else { self.module(module) };
        let Some(btf) = btf else { return Vec::new() };
        let chosen = btf.ids().filter(|id| btf.kind(*id) == Kind::Function && wanted(btf.name(*id)));
        let own = |id| Prototype { module: module.to_owned(), ..Prototype::of_function(Type::new(&btf, id)) };
        chosen.map(own).collect()
    }

    /// What a tracepoint hands to its programs; the kernel's own first argument is left out.
    pub fn tracepoint(&self, name: &str) -> Option<Prototype> {
        let typedef = self.find(Kind::Typedef, &format!("btf_trace_{name}"))?;
        let pointer = typedef.btf.target(typedef.id);
        let prototype = typedef.with(typedef.btf.target(pointer));
        // A typedef keeps no names of arguments; the function that calls the probes has them.
        let named = self.function("", &format!("__traceiter_{name}"));
        let mut found = Prototype { name: name.to_owned(), ..Prototype::of(typedef, prototype, 1) };
        if let Some(named) = named {
            let names = named.arguments.into_iter().skip(1).map(|(name, _)| name);
            found.arguments.iter_mut().zip(names).for_each(|((own, _), name)| *own = name);
        }
        Some(found)
    }
}

impl Prototype {
    fn of_function(function: Type) -> Prototype {
        let name = function.btf.name(function.id).to_owned();
        let prototype = function.with(function.btf.target(function.id));
        Prototype { name, ..Prototype::of(function, prototype, 0) }
    }

    fn of(function: Type, prototype: Type, skip: usize) -> Prototype {
        let own = |(name, id): (&str, Id)| (name.to_owned(), prototype.with(id));
        let arguments = prototype.btf.arguments(prototype.id).into_iter().skip(skip).map(own).collect();
        let returns = prototype.with(prototype.btf.target(prototype.id));
        Prototype { name: String::new(), module: String::new(), function, arguments, returns }
    }
}

/// `.BTF` of an ELF file, or the bytes as they are.
fn section(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    use object::{Object, ObjectSection};
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(bytes);
    }
    let file = object::File::parse(&*bytes).map_err(io::Error::other)?;
    let section = file.section_by_name(".BTF").ok_or_else(|| io::Error::other("it has no .BTF section"))?;
    Ok(section.data().map_err(io::Error::other)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Option<KernelTypes> {
        let types = KernelTypes::folder(Path::new(crate::kernel::btf::FOLDER));
        if types.vmlinux().is_none() {
            println!("skipped: this kernel has no BTF");
            return None;
        }
        Some(types)
    }

    #[test]
    fn members_of_anonymous_structures_are_their_owners() {
        let Some(types) = live() else { return };
        let sock = types.spelled("struct sock_common").unwrap();
        let found = sock.member("skc_dport").unwrap();
        assert_eq!((found.of.size(), found.bit_width), (Some(2), 0));
        assert!(found.bit_offset > 0);
        assert_eq!(sock.near("skc_dports").as_deref(), Some("skc_dport"));
    }

    #[test]
    fn functions_are_declared_as_in_the_source() {
        let Some(types) = live() else { return };
        let read = types.function("", "vfs_read").unwrap();
        assert_eq!(
            read.function.declare(""),
            "ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos)"
        );
        assert_eq!(read.arguments[0].0, "file");
    }

    #[test]
    fn arguments_of_a_tracepoint_have_names() {
        let Some(types) = live() else { return };
        let exec = types.tracepoint("sched_process_exec").unwrap();
        let names: Vec<String> = exec.arguments.iter().map(|(name, of)| of.declare(name)).collect();
        assert_eq!(names, ["struct task_struct *p", "pid_t old_pid", "struct linux_binprm *bprm"]);
    }
}
