//! flame SECONDS: CPU time in heavy, medium and light, about 5 : 3 : 2; prints what each took, in nanoseconds.

use std::hint::black_box;

/// Compiled into its callers; debug information tells.
#[inline(always)]
fn mix(sum: u64, n: u64) -> u64 {
    black_box(sum ^ n).rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline(never)]
fn heavy(turns: u64) -> u64 {
    (0..turns * 5).fold(1, mix)
}

#[inline(never)]
fn medium(turns: u64) -> u64 {
    (0..turns * 3).fold(3, mix)
}

#[inline(never)]
fn light(turns: u64) -> u64 {
    (0..turns * 2).fold(5, mix)
}

/// Nanoseconds that the process has used.
fn used() -> u64 {
    #[repr(C)]
    struct Timespec(i64, i64);
    unsafe extern "C" {
        fn clock_gettime(clock: i32, at: *mut Timespec) -> i32;
    }
    const PROCESS_CPU: i32 = 2;
    let mut at = Timespec(0, 0);
    // SAFETY: the call fills what it is given; 64-bit machines have this layout.
    unsafe { clock_gettime(PROCESS_CPU, &mut at) };
    at.0 as u64 * 1_000_000_000 + at.1 as u64
}

fn main() {
    let seconds: f64 = std::env::args().nth(1).and_then(|word| word.parse().ok()).expect("a number of seconds");
    let parts: [(&str, fn(u64) -> u64); 3] = [("heavy", heavy), ("medium", medium), ("light", light)];
    let (mut took, mut random) = ([0; 3], 1u32);
    while used() < (seconds * 1e9) as u64 {
        for ((_, run), took) in parts.iter().zip(&mut took) {
            let since = used();
            // Of many lengths: work of one would keep step with the samples.
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            black_box(run(10_000 + u64::from(random >> 16) % 20_000));
            *took += used() - since;
        }
    }
    for ((name, _), took) in parts.iter().zip(took) {
        println!("{name} {took}");
    }
    println!("total {}", used());
}
