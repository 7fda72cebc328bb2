//! Protobuf's wire format, as far as pprof needs it: varints and messages that hold more.

use crate::error::Error;

/// A message being written. Zeros and empty messages of no meaning are left out by whoever calls.
#[derive(Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// A number; zero is what a reader takes where there is none.
    pub fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key(field, 0);
            self.varint(value);
        }
    }

    /// Many numbers in one field, zeros too.
    pub fn numbers(&mut self, field: u32, values: &[u64]) {
        if !values.is_empty() {
            let mut packed = Message::default();
            values.iter().for_each(|value| packed.varint(*value));
            self.bytes(field, &packed.0);
        }
    }

    pub fn message(&mut self, field: u32, message: &Message) {
        self.bytes(field, &message.0);
    }

    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn key(&mut self, field: u32, kind: u64) {
        self.varint(u64::from(field) << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field's value as it lies there.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The number; 0 where a message lies, which no reader of ours asks for.
    pub fn number(self) -> u64 {
        match self {
            Value::Number(value) => value,
            Value::Bytes(_) => 0,
        }
    }

    /// The message or text; empty where a number lies.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Value::Number(_) => &[],
            Value::Bytes(bytes) => bytes,
        }
    }

    /// Numbers of a repeated field, which may come packed or one by one.
    pub fn add_to(self, values: &mut Vec<u64>) -> Result<(), Error> {
        match self {
            Value::Number(value) => values.push(value),
            Value::Bytes(mut bytes) => {
                while !bytes.is_empty() {
                    values.push(varint(&mut bytes)?);
                }
            }
        }
        Ok(())
    }
}

/// Calls `each` with every field of a message, unknown ones too.
pub fn fields<'a>(mut bytes: &'a [u8], mut each: impl FnMut(u64, Value<'a>) -> Result<(), Error>) -> Result<(), Error> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => Value::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = varint(&mut bytes)?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => Value::Bytes(take(&mut bytes, 4)?),
            _ => return Err(cut()),
        };
        each(key >> 3, value)?;
    }
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], Error> {
    let (taken, rest) = usize::try_from(length).ok().and_then(|at| bytes.split_at_checked(at)).ok_or_else(cut)?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or_else(cut)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(cut())
}

fn cut() -> Error {
    Error::new("not a pprof profile: its protobuf is cut short or damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_back() {
        let mut inner = Message::default();
        inner.number(1, 300);
        let mut message = Message::default();
        message.number(1, 0);
        message.number(2, u64::MAX);
        message.numbers(3, &[0, 1, 128]);
        message.message(4, &inner);
        let bytes = message.into_bytes();
        let mut seen = Vec::new();
        fields(&bytes, |field, value| {
            let mut numbers = Vec::new();
            if field == 3 {
                value.add_to(&mut numbers)?;
            }
            seen.push((field, value.number(), value.bytes().len(), numbers));
            Ok(())
        })
        .expect("just written");
        assert_eq!(seen, [(2, u64::MAX, 0, vec![]), (3, 0, 4, vec![0, 1, 128]), (4, 0, 3, vec![])]);
        for end in 1..bytes.len() {
            // Whatever is cut: an error or fewer fields, no panic.
            let _ = fields(&bytes[..end], |_, _| Ok(()));
        }
    }
}
