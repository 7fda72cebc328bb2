//! Colours: a family of hues for where code comes from, a shade of it for the name. The same function has the same colour
//! in every graph.

use crate::profile::{Frame, Origin};

/// Where a frame's code comes from, as the legend tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Group,
    User,
    Kernel,
    Inlined,
    Jit,
    Unresolved,
}

impl Family {
    pub(crate) fn of(frame: &Frame) -> Family {
        match frame.origin {
            Origin::Group => Family::Group,
            _ if frame.unresolved.is_some() => Family::Unresolved,
            _ if frame.inlined => Family::Inlined,
            Origin::User => Family::User,
            Origin::Kernel => Family::Kernel,
            Origin::Jit => Family::Jit,
        }
    }

    /// In the legend; a group is none of what it tells apart.
    pub(crate) fn label(self) -> Option<&'static str> {
        match self {
            Family::Group => None,
            Family::User => Some("user"),
            Family::Kernel => Some("kernel"),
            Family::Inlined => Some("inlined"),
            Family::Jit => Some("JIT"),
            Family::Unresolved => Some("not resolved"),
        }
    }

    /// Hue in degrees, saturation and lightness, each from and to.
    fn range(self) -> [(f64, f64); 3] {
        match self {
            Family::Group => [(220.0, 220.0), (0.14, 0.14), (0.84, 0.84)],
            Family::User => [(12.0, 36.0), (0.86, 0.94), (0.62, 0.72)],
            Family::Kernel => [(204.0, 226.0), (0.62, 0.78), (0.70, 0.79)],
            Family::Inlined => [(46.0, 54.0), (0.80, 0.90), (0.66, 0.76)],
            Family::Jit => [(96.0, 136.0), (0.45, 0.58), (0.62, 0.72)],
            Family::Unresolved => [(0.0, 0.0), (0.0, 0.0), (0.74, 0.82)],
        }
    }

    /// The colour of a name, as red, green and blue.
    pub(crate) fn shade(self, name: &str) -> [u8; 3] {
        let mut hash = fnv(name);
        let part = |(from, to): (f64, f64)| {
            let share = (hash & 0xff) as f64 / 255.0;
            hash >>= 8;
            from + (to - from) * share
        };
        let [hue, saturation, lightness] = self.range().map(part);
        rgb(hue, saturation, lightness)
    }

    /// The colour in the middle of the family.
    pub(crate) fn middle(self) -> [u8; 3] {
        let [hue, saturation, lightness] = self.range().map(|(from, to)| (from + to) / 2.0);
        rgb(hue, saturation, lightness)
    }
}

/// FNV-1a, its halves folded: the standard library's hash may change with its version.
fn fnv(name: &str) -> u64 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash ^ (hash >> 32)
}

fn rgb(hue: f64, saturation: f64, lightness: f64) -> [u8; 3] {
    let reach = saturation * lightness.min(1.0 - lightness);
    [0.0, 8.0, 4.0].map(|offset| {
        let at = (offset + hue / 30.0) % 12.0;
        let value = lightness - reach * (at - 3.0).min(9.0 - at).clamp(-1.0, 1.0);
        (value * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_colour() {
        assert_eq!(Family::User.shade("main"), Family::User.shade("main"));
        assert_ne!(Family::User.shade("main"), Family::User.shade("read"));
        assert_ne!(Family::User.shade("main"), Family::Kernel.shade("main"));
        assert_eq!(rgb(0.0, 1.0, 0.5), [255, 0, 0]);
        assert_eq!(rgb(240.0, 1.0, 0.5), [0, 0, 255]);
    }
}
