//! Manifests: what a template says of itself through its ELF and BTF: programs, parameters, event fields, maps, help.

use crate::btf::{Btf, Id, Kind};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use std::borrow::Cow;
use std::fmt;

/// Why an object is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotATemplate(String);

impl fmt::Display for NotATemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotATemplate {}

/// One program: `SEC("tp_btf/sys_enter") int enter_arguments(…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: String,
    /// How it attaches, as its section says: `tracepoint`, `raw_tp`, `tp_btf`, `uprobe`, `perf_event`, …
    pub attach: String,
    /// What it attaches to; `None`: whatever the plan names (a generic template).
    pub target: Option<String>,
    /// For the twin of another program on the same target: how many arguments the kernel's prototype must have.
    pub arguments: Option<usize>,
}

/// Shape of a number or a text in a parameter or a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Int {
        size: usize,
        signed: bool,
    },
    Bool,
    /// `char[size]`
    Text {
        size: usize,
    },
    /// `u8[size]`
    Bytes {
        size: usize,
    },
}

impl Shape {
    pub fn size(self) -> usize {
        match self {
            Shape::Int { size, .. } | Shape::Text { size } | Shape::Bytes { size } => size,
            Shape::Bool => 1,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Int { size, signed } => write!(f, "{}{}", if *signed { "s" } else { "u" }, size * 8),
            Shape::Bool => f.write_str("bool"),
            Shape::Text { size } => write!(f, "char[{size}]"),
            Shape::Bytes { size } => write!(f, "u8[{size}]"),
        }
    }
}

/// A value that a script may set before the template is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub shape: Shape,
    /// How a text becomes the value: `disk`, `ns`, `bytes`, …
    pub kind: Option<String>,
    pub help: String,
    /// As it stands in the object, `shape.size()` bytes.
    pub preset: Vec<u8>,
}

/// A column of the template's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub shape: Shape,
    /// From the event's start, in bytes.
    pub offset: usize,
    pub unit: Option<String>,
    pub help: String,
}

/// A map as the object declares it; the plan may size it otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    pub name: String,
    pub map_type: u32,
    pub key_size: usize,
    pub value_size: usize,
    pub max_entries: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The template's first line of help: the doc tag on its license, or empty.
    pub help: String,
    /// Its events are about another task than the current one.
    pub about_others: bool,
    pub programs: Vec<Program>,
    pub parameters: Vec<Parameter>,
    /// Empty for generic templates.
    pub fields: Vec<Field>,
    pub maps: Vec<Map>,
}

impl Manifest {
    /// Reads a BPF object. No part of it is run or loaded.
    ///
    /// # Errors
    /// The bytes are no ELF object, lack BTF, or a parameter or field has a type that scripts cannot handle.
    pub fn read(bytes: &[u8]) -> Result<Manifest, NotATemplate> {
        let fail = |what: &dyn fmt::Display| NotATemplate(what.to_string());
        let file = object::File::parse(bytes).map_err(|error| fail(&format!("no ELF object: {error}")))?;
        let section =
            file.section_by_name(".BTF").ok_or_else(|| fail(&"the object has no BTF (compile it with -g)"))?;
        let section = section.data().map_err(|error| fail(&error))?;
        let btf = Btf::parse(Cow::Borrowed(section)).map_err(|error| fail(&error))?;
        let reader = Reader { file, btf };
        let license = reader.btf.find(Kind::Variable, "LICENSE");
        Ok(Manifest {
            help: reader.text_on(license, None, "doc:").unwrap_or_default(),
            about_others: reader.text_on(license, None, "about:").is_some_and(|who| who == "others"),
            programs: reader.programs()?,
            parameters: reader.parameters()?,
            fields: reader.fields()?,
            maps: reader.maps(),
        })
    }

    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Does it serve `probe(…)`, rather than a question of its own? Such templates have no event: slots read the context.
    pub fn is_generic(&self) -> bool {
        self.fields.is_empty()
    }
}

struct Reader<'a> {
    file: object::File<'a>,
    btf: Btf<'a>,
}

impl Reader<'_> {
    fn programs(&self) -> Result<Vec<Program>, NotATemplate> {
        let mut programs = Vec::new();
        for symbol in self.file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_global()) {
            let section = symbol.section_index().and_then(|index| self.file.section_by_index(index).ok());
            let Some(section) = section.filter(|section| section.kind() == SectionKind::Text) else { continue };
            let (Ok(name), Ok(section)) = (symbol.name(), section.name()) else { continue };
            if section == ".text" {
                continue;
            }
            let (attach, target) = match section.split_once('/') {
                Some((attach, target)) => (attach, Some(target.to_owned())),
                None => (section, None),
            };
            let id = self.btf.find(Kind::Function, name);
            let arguments = self.text_on(id, None, "arguments:").and_then(|text| text.parse().ok());
            programs.push(Program { name: name.to_owned(), attach: attach.to_owned(), target, arguments });
        }
        if programs.is_empty() {
            return Err(NotATemplate("the object has no program".into()));
        }
        Ok(programs)
    }

    fn parameters(&self) -> Result<Vec<Parameter>, NotATemplate> {
        let Some(section) = self.file.section_by_name(".rodata.params") else { return Ok(Vec::new()) };
        let data = section.data().map_err(|error| NotATemplate(error.to_string()))?;
        let mut parameters = Vec::new();
        for symbol in self.file.symbols().filter(|symbol| symbol.section_index() == Some(section.index())) {
            let (Ok(name), SymbolKind::Data) = (symbol.name(), symbol.kind()) else { continue };
            let id = self.btf.find(Kind::Variable, name);
            let shape = id.and_then(|id| self.shape(self.btf.target(id)));
            let shape =
                shape.ok_or_else(|| NotATemplate(format!("parameter `{name}` has a type that scripts cannot set")))?;
            let from = symbol.address() as usize;
            parameters.push((
                from,
                Parameter {
                    name: name.to_owned(),
                    shape,
                    kind: self.text_on(id, None, "kind:"),
                    help: self.text_on(id, None, "doc:").unwrap_or_default(),
                    preset: data.get(from..from + shape.size()).unwrap_or_default().to_vec(),
                },
            ));
        }
        parameters.sort_by_key(|(from, _)| *from);
        Ok(parameters.into_iter().map(|(_, parameter)| parameter).collect())
    }

    fn fields(&self) -> Result<Vec<Field>, NotATemplate> {
        let Some(event) = self.btf.find(Kind::Struct, "event") else { return Ok(Vec::new()) };
        let field = |(n, member): (usize, crate::btf::Member<'_>)| {
            let shape = self.shape(member.id).filter(|_| member.bit_width == 0);
            Ok(Field {
                name: member.name.to_owned(),
                shape: shape.ok_or_else(|| {
                    NotATemplate(format!("field `{}` has a type that scripts cannot read", member.name))
                })?,
                offset: member.bit_offset as usize / 8,
                unit: self.text_on(Some(event), Some(n as u32), "unit:").filter(|unit| !unit.is_empty()),
                help: self.text_on(Some(event), Some(n as u32), "doc:").unwrap_or_default(),
            })
        };
        // `_pad` and the like are no columns.
        let named = self.btf.members(event).into_iter().enumerate().filter(|(_, member)| !member.name.starts_with('_'));
        named.map(field).collect()
    }

    fn maps(&self) -> Vec<Map> {
        let Some(section) = self.btf.find(Kind::Section, ".maps") else { return Vec::new() };
        let map = |variable: Id| {
            let definition = self.btf.plain(self.btf.target(variable));
            let members = self.btf.members(definition);
            let pointee =
                |name: &str| members.iter().find(|member| member.name == name).map(|member| self.btf.target(member.id));
            let number = |name: &str| pointee(name).and_then(|array| self.btf.array_length(array)).unwrap_or(0);
            let size = |name: &str| pointee(name).and_then(|id| self.btf.size(id)).unwrap_or(0);
            Map {
                name: self.btf.name(variable).to_owned(),
                map_type: number("type") as u32,
                key_size: size("key"),
                value_size: size("value"),
                max_entries: number("max_entries"),
            }
        };
        self.btf.section_variables(section).into_iter().map(map).collect()
    }

    fn shape(&self, id: Id) -> Option<Shape> {
        let plain = self.btf.plain(id);
        let size = self.btf.size(plain)?;
        match self.btf.kind(plain) {
            Kind::Int if self.btf.boolean(plain) => Some(Shape::Bool),
            Kind::Int | Kind::Enum | Kind::Enum64 => Some(Shape::Int { size, signed: self.btf.signed(plain) }),
            Kind::Array => {
                let element = self.btf.plain(self.btf.target(plain));
                let text = self.btf.name(element) == "char";
                (self.btf.size(element) == Some(1)).then_some(if text {
                    Shape::Text { size }
                } else {
                    Shape::Bytes { size }
                })
            }
            _ => None,
        }
    }

    fn text_on(&self, id: Option<Id>, component: Option<u32>, prefix: &str) -> Option<String> {
        let id = id?;
        let on_it = self.btf.tags().filter(|tag| tag.target == id && tag.component == component);
        on_it.filter_map(|tag| tag.text.strip_prefix(prefix)).map(str::to_owned).next()
    }
}
