//! Goldens: expected texts in goldens/NAME.txt. SKEP_BLESS=1 writes them; one that is missing fails.

use crate::machine::here;

/// Fails if `text` is not what goldens/`name`.txt holds.
pub fn golden(name: &str, text: &str) {
    if let Some(difference) = compare(name, text) {
        panic!("{difference}");
    }
}

/// What is wrong, for tests that compare many and report all.
pub fn compare(name: &str, text: &str) -> Option<String> {
    let path = here("goldens").join(format!("{name}.txt"));
    if std::env::var_os("SKEP_BLESS").is_some_and(|value| value == "1") {
        let folder = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text)).unwrap_or_else(|error| {
            panic!("failed to write {}: {error}", path.display());
        });
        return None;
    }
    let path = path.display();
    match std::fs::read_to_string(path.to_string()) {
        Ok(wanted) if wanted == text => None,
        Ok(wanted) => Some(format!("{path} differs (SKEP_BLESS=1 rewrites it)\n{}", difference(&wanted, text))),
        Err(error) => Some(format!("{path}: {error} (SKEP_BLESS=1 writes it)\n{text}")),
    }
}

/// The lines between the equal beginning and the equal end, wanted ones with `-`, found ones with `+`.
fn difference(wanted: &str, found: &str) -> String {
    const AROUND: usize = 3;
    let (wanted, found): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), found.lines().collect());
    let same = wanted.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let shorter = wanted.len().min(found.len());
    let same_end = wanted.iter().rev().zip(found.iter().rev()).take(shorter - same).take_while(|(a, b)| a == b).count();
    let part = |mark: char, lines: &[&str]| lines.iter().map(|line| format!("{mark} {line}\n")).collect::<String>();
    let (wanted_end, found_end) = (wanted.len() - same_end, found.len() - same_end);
    [
        format!("line {}:\n", same + 1),
        part(' ', &wanted[same.saturating_sub(AROUND)..same]),
        part('-', &wanted[same..wanted_end]),
        part('+', &found[same..found_end]),
        part(' ', &wanted[wanted_end..(wanted_end + AROUND).min(wanted.len())]),
    ]
    .concat()
}
