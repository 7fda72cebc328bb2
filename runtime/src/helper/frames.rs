//! What the helper answers: frames of a kind, a length and bytes. Pure; no privilege.

use std::io::{self, Read, Write};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Output,
    Error,
    /// One byte: the exit status. Nothing comes behind it.
    Status,
}

/// Of one frame; a longer text is several.
const LONGEST: usize = 64 << 10;
const KINDS: [(u8, Kind); 3] = [(b'o', Kind::Output), (b'e', Kind::Error), (b's', Kind::Status)];

/// # Errors
/// Whoever reads is gone.
pub fn write(out: &mut impl Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let byte = KINDS.iter().find(|(_, known)| *known == kind).map_or(b'e', |(byte, _)| *byte);
    for part in bytes.chunks(LONGEST) {
        let mut frame = vec![byte];
        frame.extend((part.len() as u32).to_le_bytes());
        frame.extend(part);
        out.write_all(&frame)?;
    }
    Ok(())
}

/// The next frame; `None` at the end.
///
/// # Errors
/// It is no frame, or has no end.
pub fn read(from: &mut impl Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0; 5];
    if from.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..])?;
    let kind = KINDS.iter().find(|(byte, _)| *byte == head[0]).map(|(_, kind)| *kind);
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let (Some(kind), true) = (kind, length <= LONGEST) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "what answers is no helper"));
    };
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(Some((kind, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_are_written() {
        let long = vec![7u8; LONGEST + 1];
        let mut all = Vec::new();
        write(&mut all, Kind::Output, &long).unwrap();
        write(&mut all, Kind::Status, &[3]).unwrap();
        let mut from = all.as_slice();
        assert_eq!(read(&mut from).unwrap().map(|(_, bytes)| bytes.len()), Some(LONGEST));
        assert_eq!(read(&mut from).unwrap(), Some((Kind::Output, vec![7])));
        assert_eq!(read(&mut from).unwrap(), Some((Kind::Status, vec![3])));
        assert_eq!(read(&mut from).unwrap(), None);
        assert!(read(&mut &b"o\x05\0\0\0abc"[..]).is_err() && read(&mut &b"x\0\0\0\0"[..]).is_err());
    }
}
