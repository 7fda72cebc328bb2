//! Code of others that may fail on a damaged file in ways it does not say.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives; `None` if it panics, about which nothing is printed. What it used may not be used again.
pub fn careful<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // While fuzzing, what is our own is a finding.
            let own = |place: &Location<'_>| cfg!(feature = "fuzz") && place.file().contains("runtime/src/");
            if !QUIET.get() || info.location().is_some_and(own) {
                loud(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::careful;

    #[test]
    fn panic_is_an_answer() {
        assert_eq!((careful(|| 7), careful(|| [0u8; 4][std::hint::black_box(4)])), (Some(7), None));
    }
}
