//! Globs as attach points use them: `*`, `?`, `[a-c]`, `[!a-c]`. Pure text; no privilege.

/// Whether `text` is to be matched as a glob, or compared.
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether the whole of `text` matches `pattern`. Linear in practice: only the last `*` is ever widened again.
/// A `[` that is never closed stands for itself.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None; // behind the last `*`: in the pattern, and where its match ends
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
        } else if let Some(next) = one(pattern, p, text[t]) {
            (p, t) = (next, t + 1);
        } else if let Some((behind, end)) = star {
            star = Some((behind, end + 1));
            (p, t) = (behind, end + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Where the pattern goes on if its element at `p` matches the byte.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match *pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => match set(pattern, p + 1) {
            Some((negated, from, to)) => (negated != holds(&pattern[from..to], byte)).then_some(to + 1),
            None => (byte == b'[').then_some(p + 1),
        },
        c => (c == byte).then_some(p + 1),
    }
}

/// A set's negation, start and end (its `]`), from behind the `[`. A `]` in first place is a member.
fn set(pattern: &[u8], at: usize) -> Option<(bool, usize, usize)> {
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    let from = at + usize::from(negated);
    let close = pattern.get(from + 1..)?.iter().position(|c| *c == b']')?;
    Some((negated, from, from + 1 + close))
}

fn holds(mut members: &[u8], byte: u8) -> bool {
    loop {
        match members {
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                members = rest;
            }
            [member, rest @ ..] => {
                if *member == byte {
                    return true;
                }
                members = rest;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_matches_any_run_and_none() {
        assert!(matches("vfs_*", "vfs_read") && matches("vfs_*", "vfs_") && matches("*", ""));
        assert!(matches("*_read*", "vfs_read_iter") && matches("a*b*c", "a_b_b_c"));
        assert!(!matches("vfs_*", "xvfs_read") && !matches("a*b*c", "a_b_b_"));
    }

    #[test]
    fn question_mark_matches_exactly_one() {
        assert!(matches("read?", "readv") && !matches("read?", "read") && !matches("read?", "readvv"));
    }

    #[test]
    fn sets_know_ranges_and_negation() {
        assert!(matches("p[rw]ite", "pwite") && matches("x[0-9a-f]", "xe") && !matches("x[0-9a-f]", "xg"));
        assert!(matches("x[!0-9]", "xa") && !matches("x[^0-9]", "x7") && !matches("x[!0-9]", "x"));
        assert!(matches("[]]", "]") && matches("[a-]", "-"));
    }

    #[test]
    fn unclosed_bracket_stands_for_itself() {
        assert!(matches("a[b", "a[b") && !matches("a[b", "ab") && !matches("[", "]"));
    }

    #[test]
    fn many_stars_end_soon() {
        assert!(!matches(&format!("{}c", "a*".repeat(30)), &"a".repeat(200)));
    }

    #[test]
    fn plain_names_are_no_globs() {
        assert!(!is_glob("vfs_read") && is_glob("vfs_*") && is_glob("vfs_rea?") && is_glob("vfs_[rw]*"));
    }
}
