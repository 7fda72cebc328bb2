//! Call chains: of the kernel and of processes, as columns, keys and what a span's start keeps.

use skep_tests::{Skep, privileged};

/// Calls of one program: 23 times by `outer`, 7 times by `main` itself.
const PROGRAM: &str = r"
#include <unistd.h>
#include <sys/syscall.h>
__attribute__((noinline)) long inner(void) { long r = syscall(SYS_getpgid, 0); __asm__ volatile(""); return r; }
__attribute__((noinline)) long outer(void) { long r = inner(); __asm__ volatile(""); return r; }
int main(void) {
    long sum = 0;
    for (int i = 0; i < 23; i++) sum += outer();
    for (int i = 0; i < 7; i++) sum += inner();
    return sum == 1;
}
";

#[test]
fn chains_of_a_process_are_counted_by_who_calls() {
    privileged!();
    let program = skep_tests::c::program("chains", PROGRAM, &["-O1", "-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer"]);
    let script = "let t = probe(\"tracepoint:syscalls:sys_enter_getpgid\").by(ustack).count().run();
        for row in t { print(`${row.value} ${row.ustack.filter(|f| f in [\"main\", \"outer\", \"inner\"])}`); }";
    let output = Skep::new(&["-e", script, "-c", &program.display().to_string()]).run().ok();
    let expected = "23 [\"inner\", \"outer\", \"main\"]\n7 [\"inner\", \"main\"]\n";
    assert_eq!(output.out, expected, "{output}");
}
