//! Types as C declares them: prototypes for `skep list -v`, structures for `skep list struct:NAME`.

use super::{Room, Type};
use skep_templates::btf::Kind;

impl Type {
    /// The declaration of `name` with this type: `char name[16]`, `int (*name)(void)`.
    pub fn declare(&self, name: &str) -> String {
        self.declare_within(name, 16, &Room::new())
    }

    fn declare_within(&self, name: &str, depth: usize, room: &Room) -> String {
        let joined = |left: &str| match name {
            "" => left.to_owned(),
            name if left.ends_with('*') => format!("{left}{name}"),
            name => format!("{left} {name}"),
        };
        if depth == 0 || !room.take(1) {
            return joined("…");
        }
        let own = self.btf.name(self.id);
        let target = || self.with(self.btf.target(self.id));
        let tagged = |word: &str| match own {
            "" => joined(&format!("{word} {{…}}")),
            own => joined(&format!("{word} {own}")),
        };
        match self.btf.kind(self.id) {
            Kind::Void => joined("void"),
            Kind::Struct => tagged("struct"),
            Kind::Union => tagged("union"),
            Kind::Enum | Kind::Enum64 => tagged("enum"),
            Kind::Forward => tagged(if self.btf.forward_is_union(self.id) { "union" } else { "struct" }),
            Kind::Pointer => {
                let target = target();
                match target.btf.kind(target.id) {
                    Kind::Prototype | Kind::Array => target.declare_within(&format!("(*{name})"), depth - 1, room),
                    _ => target.declare_within(&format!("*{name}"), depth - 1, room),
                }
            }
            Kind::Array => {
                let length = self.btf.array_length(self.id).unwrap_or(0);
                target().declare_within(&format!("{name}[{length}]"), depth - 1, room)
            }
            Kind::Const => self.qualified("const", name, depth, room),
            Kind::Volatile => self.qualified("volatile", name, depth, room),
            Kind::Restrict | Kind::TypeTag => target().declare_within(name, depth - 1, room),
            Kind::Prototype => {
                let arguments = self.arguments(depth - 1, room);
                target().declare_within(&format!("{name}({arguments})"), depth - 1, room)
            }
            Kind::Function => target().declare_within(own, depth - 1, room),
            _ => joined(own),
        }
    }

    /// A qualifier stands before what it qualifies, of a pointer behind the star.
    fn qualified(&self, word: &str, name: &str, depth: usize, room: &Room) -> String {
        let target = self.with(self.btf.target(self.id));
        match (self.btf.kind(target.id), name) {
            (Kind::Pointer, "") => target.declare_within(word, depth - 1, room),
            (Kind::Pointer, name) => target.declare_within(&format!("{word} {name}"), depth - 1, room),
            _ => format!("{word} {}", target.declare_within(name, depth - 1, room)),
        }
    }

    fn arguments(&self, depth: usize, room: &Room) -> String {
        let arguments = self.btf.arguments(self.id);
        if arguments.is_empty() {
            return "void".to_owned();
        }
        let one = |(name, id): (&str, u32)| match (name, id) {
            // A variable number of arguments ends in one without a name or a type.
            ("", 0) => "...".to_owned(),
            (name, id) => self.with(id).declare_within(name, depth, room),
        };
        arguments.into_iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// A structure, union or enumeration with all its members, offsets as comments.
    pub fn definition(&self) -> String {
        let plain = self.with(self.btf.plain(self.id));
        let mut text = String::new();
        match plain.kind() {
            Kind::Enum | Kind::Enum64 => {
                text += &format!("enum {} {{\n", plain.name());
                for (name, value) in plain.enumerators() {
                    text += &format!("\t{name} = {value},\n");
                }
            }
            _ => {
                text += &format!("{} {{\n", plain.declare(""));
                plain.write_members(&mut text, 1, 0, &Room::new());
            }
        }
        text += &plain.size().map_or_else(|| "};\n".to_owned(), |size| format!("}}; /* {size} bytes */\n"));
        text
    }

    fn write_members(&self, text: &mut String, level: usize, base: u64, room: &Room) {
        let indent = "\t".repeat(level);
        let members = self.btf.members(self.btf.plain(self.id));
        if !room.take(members.len()) {
            *text += &format!("{indent}…\n");
            return;
        }
        for member in members {
            let of = self.with(member.id);
            let bits = base + u64::from(member.bit_offset);
            let unnamed_type = of.is_struct() && of.name().is_empty();
            if unnamed_type && level < 16 {
                let word = if of.kind() == Kind::Union { "union" } else { "struct" };
                *text += &format!("{indent}{word} {{\n");
                of.write_members(text, level + 1, bits, room);
                let name = if member.name.is_empty() { String::new() } else { format!(" {}", member.name) };
                *text += &format!("{indent}}}{name};\n");
                continue;
            }
            let declared = of.declare_within(member.name, 16, room);
            let (width, at) = match member.bit_width {
                0 => (String::new(), format!("{}", bits / 8)),
                width => (format!(" : {width}"), format!("{}:{}", bits / 8, bits % 8)),
            };
            *text += &format!("{indent}{declared}{width}; /* {at} */\n");
        }
    }
}
