//! What members of messages are made of: numbers, texts, lists, and messages that may be there or not.

use super::{Message, Reader, Value};
use crate::diagnostic::Diagnostic;
use crate::network::time::Time;
use serde_json::Value as Json;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

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
