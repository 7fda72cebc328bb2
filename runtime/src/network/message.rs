//! Messages: structures that are JSON as protobuf spells it, written and read by one declaration. Pure; no privilege.
//!
//! Zero values are left out, 64-bit integers are texts, enumerations go by name, keys stand in the order of declaration.
//! Source: Protocol Buffers, "ProtoJSON format".

use crate::diagnostic::Diagnostic;
use crate::network::time::Time;
use serde_json::{Map, Value as Json};
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

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

/// Where reading has got to, and the keys that nobody knows.
#[derive(Debug, Default)]
pub struct Reader {
    path: Vec<&'static str>,
    /// `flow.l4.QUIC`
    pub unknown: Vec<String>,
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

/// Reads a message from JSON; `unknown` gets the keys that it does not have.
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
                let member = json.as_str().map_or_else(number, $name::named);
                member.ok_or_else(|| {
                    let near = json.as_str().and_then(|text| {
                        $crate::diagnostic::nearest(text, [$zero_text, $($text),+])
                    });
                    let wrong = reader.wants(concat!("a name of ", stringify!($name)), &json);
                    match near {
                        Some(near) => wrong.help(near),
                        None => wrong,
                    }
                })
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

pub(crate) use {message, names, one_of};

/// A value that is written even if it is zero; absent is another thing. Protobuf's `BoolValue` and its like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wrapped<T>(pub Option<T>);

impl<T: Value> Value for Wrapped<T> {
    fn is_zero(&self) -> bool {
        self.0.is_none()
    }

    fn json(&self) -> Json {
        self.0.as_ref().map_or(Json::Null, Value::json)
    }

    fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic> {
        T::read(json, reader).map(|value| Wrapped(Some(value)))
    }
}

impl Value for bool {
    fn is_zero(&self) -> bool {
        !self
    }

    fn json(&self) -> Json {
        (*self).into()
    }

    fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic> {
        json.as_bool().ok_or_else(|| reader.wants("true or false", &json))
    }
}

impl Value for u64 {
    fn is_zero(&self) -> bool {
        *self == 0
    }

    fn json(&self) -> Json {
        self.to_string().into()
    }

    fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic> {
        json.as_u64().map_or_else(|| reader.text("a number of 64 bits", &json), Ok)
    }
}

macro_rules! numbers {
    ($($kind:ty)+) => {$(
        impl Value for $kind {
            fn is_zero(&self) -> bool {
                *self == 0
            }

            fn json(&self) -> Json {
                (*self).into()
            }

            fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic> {
                let number = json.as_i64().and_then(|number| number.try_into().ok());
                number.map_or_else(|| reader.text("a number that fits", &json), Ok)
            }
        }
    )+};
}

numbers!(u8 u16 u32 i32);

impl Value for String {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn json(&self) -> Json {
        self.as_str().into()
    }

    fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic> {
        match json {
            Json::String(text) => Ok(text),
            other => Err(reader.wants("a text", &other)),
        }
    }
}

impl<T: Value> Value for Vec<T> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn json(&self) -> Json {
        self.iter().map(Value::json).collect()
    }

    fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic> {
        match json {
            Json::Array(elements) => elements.into_iter().map(|element| T::read(element, reader)).collect(),
            other => Err(reader.wants("a list", &other)),
        }
    }
}

/// A [`message!`]: as a member it is there or not.
pub trait Message: Value {}

impl<T: Message> Message for Box<T> {}

impl<T: Message> Message for Arc<T> {}

macro_rules! behind {
    ($($pointer:ident)+) => {$(
        impl<T: Message> Value for $pointer<T> {
            fn is_zero(&self) -> bool {
                false
            }

            fn json(&self) -> Json {
                (**self).json()
            }

            fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic> {
                T::read(json, reader).map($pointer::new)
            }

            fn has(path: &[&str]) -> bool {
                T::has(path)
            }
        }
    )+};
}

behind!(Box Arc);

impl<T: Message> Value for Option<T> {
    fn is_zero(&self) -> bool {
        self.is_none()
    }

    fn json(&self) -> Json {
        self.as_ref().map_or(Json::Null, Value::json)
    }

    fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic> {
        T::read(json, reader).map(Some)
    }

    fn has(path: &[&str]) -> bool {
        T::has(path)
    }
}

/// Anything, kept as it came.
impl Value for Json {
    fn is_zero(&self) -> bool {
        self.is_null()
    }

    fn json(&self) -> Json {
        self.clone()
    }

    fn read(json: Json, _: &mut Reader) -> Result<Self, Diagnostic> {
        Ok(json)
    }
}

/// A value that is a text in JSON, and absent where that is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<T>(pub Option<T>);

impl<T> Default for Text<T> {
    fn default() -> Self {
        Text(None)
    }
}

/// What can be such a text, and what to call it in an error.
pub trait Spelled: Display + FromStr {
    const WHAT: &str;
}

impl<T: Spelled> Value for Text<T> {
    fn is_zero(&self) -> bool {
        self.0.is_none()
    }

    fn json(&self) -> Json {
        self.0.as_ref().map_or(Json::Null, |value| value.to_string().into())
    }

    fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic> {
        if json.as_str() == Some("") {
            Ok(Text(None))
        } else {
            reader.text(T::WHAT, &json).map(|value| Text(Some(value)))
        }
    }
}

impl Spelled for IpAddr {
    const WHAT: &str = "an address";
}

impl Spelled for Time {
    const WHAT: &str = "a time by RFC 3339";
}

impl FromStr for Time {
    type Err = ();

    fn from_str(text: &str) -> Result<Time, ()> {
        Time::rfc3339(text).ok_or(())
    }
}
