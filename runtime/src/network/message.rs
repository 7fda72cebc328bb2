//! Messages: structures that are JSON as protobuf spells it, written and read by one declaration. Pure; no privilege.
//!
//! Zero values are left out, 64-bit integers are texts, enumerations go by name, keys stand in the order of declaration.
//! Source: Protocol Buffers, "ProtoJSON format".

mod values;

use crate::diagnostic::{Diagnostic, nearest};
use serde_json::{Map, Value as Json};
use std::str::FromStr;

/// What a member of a message can be.
pub trait Value: Sized {
    /// Is it left out?
    fn is_zero(&self) -> bool;

    fn json(&self) -> Json;

    /// # Errors
    /// A script diagnostic that names the member.
    fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic>;

    /// Is there a member at this path below it? The empty path is itself.
    fn has(path: &[&str]) -> bool {
        path.is_empty()
    }
}

/// A [`message!`]: as a member it is there or not.
pub trait Message: Value {}

/// Where reading has got to, and the keys and names that nobody knows.
#[derive(Debug, Default)]
pub struct Reader {
    path: Vec<&'static str>,
    /// Is what nobody knows an error? Else newer messages than ours are read as far as they are known.
    strict: bool,
    /// `flow.l4.QUIC`
    unknown: Vec<String>,
}

impl Reader {
    pub fn inside<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Reader) -> T) -> T {
        self.path.push(key);
        let result = read(self);
        self.path.pop();
        result
    }

    pub fn object(&self, json: Json) -> Result<Map<String, Json>, Diagnostic> {
        match json {
            Json::Object(object) => Ok(object),
            other => Err(self.wants("an object", &other)),
        }
    }

    pub fn unknown(&mut self, key: &str) {
        self.unknown.push([self.path.as_slice(), &[key]].concat().join("."));
    }

    /// A name that an enumeration does not have.
    ///
    /// # Errors
    /// If it has to be known, with the nearest one.
    pub fn name<'a>(
        &mut self,
        what: &str,
        got: &Json,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Diagnostic> {
        match got.as_str() {
            Some(name) if !self.strict => {
                self.unknown(name);
                Ok(())
            }
            name => {
                let wrong = self.wants(what, got);
                Err(match nearest(name.unwrap_or_default(), known) {
                    Some(near) => wrong.help(near),
                    None => wrong,
                })
            }
        }
    }

    pub fn wants(&self, what: &str, got: &Json) -> Diagnostic {
        let mut got = got.to_string();
        if got.len() > 60 {
            got.truncate(got.floor_char_boundary(57));
            got += "...";
        }
        match self.path.join(".") {
            place if place.is_empty() => Diagnostic::script(format!("wanted {what}, got `{got}`")),
            place => Diagnostic::script(format!("`{place}` wants {what}, got `{got}`")),
        }
    }

    fn text<T: FromStr>(&self, what: &str, json: &Json) -> Result<T, Diagnostic> {
        json.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| self.wants(what, json))
    }
}

/// Reads a message from JSON; `unknown` gets the keys and names that it does not have.
///
/// # Errors
/// A script diagnostic: no JSON, or a member of another type.
pub fn read<T: Value>(text: &str, unknown: &mut Vec<String>) -> Result<T, Diagnostic> {
    let json = serde_json::from_str(text).map_err(|error| {
        // Its position counts lines of a text that is one.
        let error = error.to_string();
        let (what, _) = error.rsplit_once(" at line").unwrap_or((&error, ""));
        Diagnostic::script(format!("this is no JSON: {}", what.to_lowercase()))
    })?;
    let mut reader = Reader::default();
    let message = T::read(json, &mut reader);
    unknown.append(&mut reader.unknown);
    message
}

/// Reads a message that has nothing but what we know.
///
/// # Errors
/// A script diagnostic: a member of another type, a key or a name that is not known.
pub fn read_strictly<T: Value>(json: Json, what: &str) -> Result<T, Diagnostic> {
    let mut reader = Reader { strict: true, ..Reader::default() };
    let message = T::read(json, &mut reader)?;
    match reader.unknown.first() {
        Some(member) => Err(Diagnostic::script(format!("{what} has no member `{member}`"))),
        None => Ok(message),
    }
}

/// A structure whose members have keys, in the order of its `.proto`.
macro_rules! message {
    ($($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$about:meta])* $field:ident: $kind:ty = $key:literal),+ $(,)?
    })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $($(#[$about])* pub $field: $kind,)+
        }

        impl $crate::network::message::Value for $name {
            fn is_zero(&self) -> bool {
                false
            }

            fn json(&self) -> serde_json::Value {
                let mut object = serde_json::Map::new();
                $(if !$crate::network::message::Value::is_zero(&self.$field) {
                    object.insert($key.to_owned(), $crate::network::message::Value::json(&self.$field));
                })+
                object.into()
            }

            fn read(
                json: serde_json::Value,
                reader: &mut $crate::network::message::Reader,
            ) -> Result<Self, $crate::diagnostic::Diagnostic> {
                let mut message = <$name>::default();
                for (key, value) in reader.object(json)? {
                    match key.as_str() {
                        _ if value.is_null() => {}
                        $($key => {
                            message.$field = reader.inside($key, |reader| {
                                <$kind as $crate::network::message::Value>::read(value, reader)
                            })?;
                        })+
                        _ => reader.unknown(&key),
                    }
                }
                Ok(message)
            }

            fn has(path: &[&str]) -> bool {
                match path {
                    [] => true,
                    $([$key, rest @ ..] => <$kind as $crate::network::message::Value>::has(rest),)+
                    _ => false,
                }
            }
        }

        impl $crate::network::message::Message for $name {}
    )+};
}

/// An enumeration by name; its first member is the zero value.
macro_rules! names {
    ($($(#[$meta:meta])* pub enum $name:ident {
        $first:ident = $zero:literal $zero_text:literal,
        $($(#[$about:meta])* $member:ident = $number:literal $text:literal),+ $(,)?
    })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            #[default]
            $first = $zero,
            $($(#[$about])* $member = $number,)+
        }

        impl $name {
            pub const ALL: &[$name] = &[$name::$first, $($name::$member),+];

            pub fn name(self) -> &'static str {
                match self {
                    $name::$first => $zero_text,
                    $($name::$member => $text,)+
                }
            }

            pub fn named(name: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|member| member.name() == name)
            }

            pub fn number(self) -> u32 {
                self as u32
            }

            pub fn numbered(number: u32) -> Option<$name> {
                $name::ALL.iter().copied().find(|member| member.number() == number)
            }
        }

        impl $crate::network::message::Value for $name {
            fn is_zero(&self) -> bool {
                *self == $name::$first
            }

            fn json(&self) -> serde_json::Value {
                self.name().into()
            }

            fn read(
                json: serde_json::Value,
                reader: &mut $crate::network::message::Reader,
            ) -> Result<Self, $crate::diagnostic::Diagnostic> {
                let number = || json.as_u64().and_then(|number| $name::numbered(u32::try_from(number).ok()?));
                match json.as_str().map_or_else(number, $name::named) {
                    Some(member) => Ok(member),
                    None => {
                        let what = concat!("a name of ", stringify!($name));
                        reader.name(what, &json, [$zero_text, $($text),+]).map(|()| $name::$first)
                    }
                }
            }
        }
    )+};
}

/// Exactly one of several members.
macro_rules! one_of {
    ($(#[$meta:meta])* pub enum $name:ident { $($member:ident($kind:ty) = $key:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $($member($kind),)+
        }

        impl $crate::network::message::Value for Option<$name> {
            fn is_zero(&self) -> bool {
                self.is_none()
            }

            fn json(&self) -> serde_json::Value {
                match self {
                    None => serde_json::Value::Null,
                    $(Some($name::$member(value)) => serde_json::Map::from_iter([
                        ($key.to_owned(), $crate::network::message::Value::json(value)),
                    ]).into(),)+
                }
            }

            fn read(
                json: serde_json::Value,
                reader: &mut $crate::network::message::Reader,
            ) -> Result<Self, $crate::diagnostic::Diagnostic> {
                let mut found = None;
                for (key, value) in reader.object(json)? {
                    match key.as_str() {
                        _ if value.is_null() => {}
                        $($key => {
                            found = Some($name::$member(reader.inside($key, |reader| {
                                <$kind as $crate::network::message::Value>::read(value, reader)
                            })?));
                        })+
                        _ => reader.unknown(&key),
                    }
                }
                Ok(found)
            }

            fn has(path: &[&str]) -> bool {
                match path {
                    [] => true,
                    $([$key, rest @ ..] => <$kind as $crate::network::message::Value>::has(rest),)+
                    _ => false,
                }
            }
        }
    };
}

pub use values::{Spelled, Text, Wrapped};
pub(crate) use {message, names, one_of};
