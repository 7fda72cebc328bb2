//! Paths of files: from what a script has of a file to where the kernel keeps its name, its folders and its mounts.

use super::members::{address, behind, member_place};
use super::operators::binary;
use super::resolve;
use super::scope::{Arguments, Scope, Typed, Walk};
use crate::aggregate::path::{LONGEST, SHORTEST};
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node};
use crate::slot::ir::{Arithmetic, Int, Names, Path, Place, Size, Top};
use crate::types::{KernelTypes, Type};
use skep_templates::btf::Kind;

const FILES: &str =
    "path() takes a `struct file *`, a `struct path *` or a `struct dentry *`: path(curtask.mm.exe_file)";

/// `path(args.file)`
pub fn path(file: &Expr, size: Option<&Expr>, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let size = match size.map(|size| &*size.node) {
        None => SHORTEST,
        Some(Node::Int(size)) if (SHORTEST.into()..=LONGEST.into()).contains(size) => (*size as u16) & !7,
        Some(_) => {
            let message = format!("the length in `{expr}` must be a number from {SHORTEST} to {LONGEST}");
            return Err(Diagnostic::script(message).help(format!("path({file}, 256)")).at(expr.position));
        }
    };
    let resolved = resolve(file, scope)?;
    let Some(types) = scope.types.as_ref().filter(|_| scope.arguments != Arguments::Unchecked) else {
        // Plans only: nobody knows what it is.
        return Ok(Typed::Path { path: Walk::Kept(0), size });
    };
    let (place, of) = match resolved {
        Typed::Pointer { int, to, stars: 1, memory } => (behind(int, memory), to),
        Typed::Object { place, of } => (place, of),
        other => {
            let error = Diagnostic::script(format!("`{file}` is {}, no file", other.what())).at(expr.position);
            return Err(match &*file.node {
                Node::Name(_) if matches!(other, Typed::Int { .. }) => {
                    error.help(format!("path(cast({file}, \"struct file\"))"))
                }
                _ => error.help(FILES),
            });
        }
    };
    let start = start(place, &of).ok_or_else(|| {
        let message = format!("`{file}` leads to a `{of}`, which has no path");
        Diagnostic::script(message).help(FILES).at(expr.position)
    })?;
    let walk = walk(start, types).map_err(|missing| {
        Diagnostic::machine(format!("this kernel's types do not say where {missing} is: no path can be found"))
            .at(expr.position)
    })?;
    Ok(Typed::Path { path: Walk::Now(Box::new(walk)), size })
}

/// A path is put together when it is read: no condition can be made of it.
pub fn no_condition(path: &Expr) -> Diagnostic {
    let name = path.column_name();
    Diagnostic::script(format!("`{path}` is known here only: the kernel cannot compare it"))
        .help(format!("test each event here: .fields({path}).each(|e| if e.{name} == \"/etc/passwd\" {{ … }})"))
}

/// Addresses of the `struct dentry` and of the `struct vfsmount`, if there is one.
fn start(place: Place, of: &Type) -> Option<(Int, Option<Int>)> {
    let pointer = |place: &Place, of: &Type, name| {
        let place = member_place(place.clone(), &of.member(name)?);
        Some(Int::Load { place, size: Size::B8, signed: false })
    };
    match of.name() {
        _ if of.kind() != Kind::Struct => None,
        "dentry" => Some((address(place)?, None)),
        "path" => Some((pointer(&place, of, "dentry")?, Some(pointer(&place, of, "mnt")?))),
        "file" => {
            let path = of.member("f_path")?;
            start(member_place(place, &path), &path.of)
        }
        _ => None,
    }
}

/// # Errors
/// The member that this kernel has not.
fn walk((dentry, mount): (Int, Option<Int>), types: &KernelTypes) -> Result<Path, String> {
    let at = |of: &str, members: &str| offset(types, of, members);
    let names = Names {
        unhashed: at("dentry", "d_hash.pprev")?,
        parent: at("dentry", "d_parent")?,
        length: at("dentry", "d_name.len")?,
        text: at("dentry", "d_name.name")?,
    };
    let number = [at("dentry", "d_inode")?, at("inode", "i_ino")?];
    let file_system = [at("dentry", "d_sb")?, at("super_block", "s_type")?, at("file_system_type", "name")?];
    let top = match mount {
        None => Top::Root([at("dentry", "d_sb")?, at("super_block", "s_root")?]),
        Some(mount) => {
            let inside = Int::Constant(at("mount", "mnt")? as u64);
            Top::Mounts {
                mount: binary(Arithmetic::Subtract, false, mount, inside),
                above: at("mount", "mnt_parent")?,
                point: at("mount", "mnt_mountpoint")?,
                root: at("mount", "mnt.mnt_root")?,
            }
        }
    };
    Ok(Path { dentry, names, top, number, file_system })
}

fn offset(types: &KernelTypes, of: &str, members: &str) -> Result<i32, String> {
    let missing = || format!("`struct {of}`'s `{members}`");
    let mut bits = 0;
    let mut inner = types.spelled(&format!("struct {of}")).ok_or_else(missing)?;
    for name in members.split('.') {
        let found = inner.member(name).ok_or_else(missing)?;
        bits += found.bit_offset;
        inner = found.of;
    }
    i32::try_from(bits / 8).map_err(|_| missing())
}
