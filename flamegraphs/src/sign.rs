//! Signs of texts that others chose.

/// Does a terminal act on it, or does it turn or hide what stands beside it? Controls of ASCII and of C1 (U+009B is ESC [),
/// marks of direction, what has no width, notes between lines, tags. Source: Unicode's categories Cc, Zl, Zp, Cf.
pub fn may_act(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
