//! Kinds of parameters: what text a script gives, and the value that it becomes.

use crate::kernel::cgroup;
use crate::network::cidr::Cidr;
use crate::report::units;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

/// The number that a text of this kind stands for; `None`: the kind takes no text.
///
/// # Errors
/// What is wrong with the text.
pub fn number(kind: &str, text: &str) -> Option<Result<i128, String>> {
    Some(match kind {
        "disk" | "cgroup" | "netns" if text.is_empty() => Ok(0),
        "disk" => disk(text),
        "ns" => {
            units::parse_duration(text).map(Into::into).ok_or_else(|| format!("`{text}` is no duration such as 10ms"))
        }
        "cgroup" => cgroup::find(text)
            .map(|group| group.id.into())
            .map_err(|error| format!("no control group `{text}`: {}", crate::kernel::load::text(&error))),
        "netns" => namespace(text),
        _ => return None,
    })
}

/// A block device's number, as the kernel packs it, from its name.
fn disk(name: &str) -> Result<i128, String> {
    let name = name.strip_prefix("/dev/").unwrap_or(name);
    let unknown = || format!("no block device `{name}`");
    if name.contains('/') {
        return Err(unknown());
    }
    let text = std::fs::read_to_string(format!("/sys/class/block/{name}/dev")).map_err(|_| unknown())?;
    let (major, minor) = text.trim().split_once(':').ok_or_else(unknown)?;
    let part = |text: &str| text.parse::<i128>().map_err(|_| unknown());
    Ok(part(major)? << 20 | part(minor)?)
}

/// A namespace's number, from itself or from its file.
fn namespace(text: &str) -> Result<i128, String> {
    if let Ok(number) = text.parse::<u32>() {
        return Ok(number.into());
    }
    let found = std::fs::metadata(text).map(|file| file.ino().into());
    found.map_err(|error| format!("no network namespace `{text}`: {}", crate::kernel::load::text(&error)))
}

/// A prefix as `in_prefix()` of connection.bpf.h takes it: a mask, and what the address must be under it, 16 bytes each.
///
/// # Errors
/// What is wrong with the text.
pub fn prefix(text: &str) -> Result<Vec<u8>, String> {
    if text.is_empty() {
        return Ok(vec![0; 32]);
    }
    let prefix: Cidr = text.parse().map_err(|error: crate::diagnostic::Diagnostic| match &error.help {
        Some(help) => format!("{} (try {help})", error.message),
        None => error.message.clone(),
    })?;
    let (address, length) = match prefix.address() {
        IpAddr::V4(address) => (address.to_ipv6_mapped(), 96 + u32::from(prefix.length())),
        IpAddr::V6(address) => (address, prefix.length().into()),
    };
    if length == 0 {
        return Err(format!("`{text}` holds every address: leave it out"));
    }
    let mask = u128::MAX << (128 - length);
    Ok(mask.to_be_bytes().into_iter().chain(address.octets()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_of_ipv4_is_mapped() {
        let bytes = prefix("10.0.0.0/8").expect("it is right");
        assert_eq!(bytes[..16], [&[0xff; 13][..], &[0; 3]].concat());
        assert_eq!(bytes[16..], [&[0; 10][..], &[0xff, 0xff, 10, 0, 0, 0]].concat());
        assert_eq!(prefix("fd00::/8").map(|bytes| (bytes[0], bytes[1], bytes[16])), Ok((0xff, 0, 0xfd)));
    }

    #[test]
    fn prefix_that_is_wrong_says_what_is_right() {
        assert_eq!(prefix("10.1.0.0/8"), Err("`10.1.0.0/8` has bits set behind its prefix (try 10.0.0.0/8)".into()));
        assert_eq!(prefix("::/0"), Err("`::/0` holds every address: leave it out".into()));
        assert_eq!(prefix(""), Ok(vec![0; 32]));
    }

    #[test]
    fn namespace_is_a_number_or_a_file() {
        assert_eq!(number("netns", "4026531840"), Some(Ok(4_026_531_840)));
        assert!(number("netns", "/proc/self/ns/net").is_some_and(|found| found.is_ok_and(|number| number > 1 << 31)));
        assert!(number("netns", "/no/such/file").is_some_and(|found| found.is_err()));
    }
}
