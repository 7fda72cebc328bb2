//! The ELF `vmlinux` inside a bzImage: booted by PVH, it saves the guest a second of unpacking itself.
//!
//! Source: Documentation/arch/x86/boot.rst. KASLR is off this way.

use super::tool;
use std::process::Command;

/// First bytes of a payload, and the program that unpacks it.
const PACKERS: [(&[u8], &str); 4] =
    [(b"\x28\xb5\x2f\xfd", "zstd"), (b"\x02\x21\x4c\x18", "lz4"), (b"\xfd7zXZ", "xz"), (b"\x1f\x8b", "gzip")];

/// # Errors
/// It is no bzImage, or packed in a way that is not known.
pub fn vmlinux(image: &[u8]) -> Result<Vec<u8>, String> {
    let payload = payload(image).ok_or("vm: the kernel is no bzImage")?;
    let packer = PACKERS.iter().find(|(start, _)| payload.starts_with(start));
    let (_, packer) = packer.ok_or_else(|| format!("vm: a kernel packed with {:02x?}", payload.get(..4)))?;
    let elf = tool::filter(Command::new(packer).arg("-dc"), payload)?;
    if elf.starts_with(b"\x7fELF") { Ok(elf) } else { Err(format!("vm: {packer} found no ELF file in the kernel")) }
}

/// `payload_offset` counts from the end of the setup sectors; the last four bytes are the unpacked length.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + word(0x248)?;
    image.get(start..start + word(0x24c)?.checked_sub(4)?)
}

#[cfg(test)]
mod tests {
    use super::payload;

    #[test]
    fn payload_lies_behind_the_setup_sectors_without_its_trailer() {
        let mut image = vec![0u8; 2048];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248] = 16;
        image[0x24c] = 9;
        image[1040..1049].copy_from_slice(b"inner\x05\0\0\0");
        assert_eq!(payload(&image), Some(b"inner".as_slice()));
        assert_eq!(payload(&image[..1000]), None);
    }
}
