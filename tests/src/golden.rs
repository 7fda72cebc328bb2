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
        Ok(wanted) => {
            Some(format!("{path} differs (SKEP_BLESS=1 rewrites it)\n--- wanted\n{wanted}--- got\n{text}---\n"))
        }
        Err(error) => Some(format!("{path}: {error} (SKEP_BLESS=1 writes it)\n--- got\n{text}---\n")),
    }
}
