//! Why a frame has no name. Each reads behind the frame: `libc.so.6+0x2a1b4 (no symbols)`.

pub const NO_SYMBOLS: &str = "no symbols";
pub const NO_SYMBOL_THERE: &str = "no symbol covers it";
pub const DAMAGED: &str = "damaged file";
pub const NO_ELF: &str = "no ELF file";
pub const GONE: &str = "file is gone";
pub const REPLACED: &str = "file was replaced";
pub const UNREADABLE: &str = "file cannot be read";
pub const TOO_MANY_FILES: &str = "too many files to keep open";
pub const NOT_CODE: &str = "not in the code of its file";
pub const NOT_MAPPED: &str = "not mapped when looked at";
pub const PROCESS_ENDED: &str = "process ended before its mappings were read";
pub const JIT: &str = "written at run time, and no perf map names it";
pub const KERNELS_PAGE: &str = "a page that the kernel lends";
pub const KERNEL_HIDDEN: &str = "kernel addresses are hidden (kernel.kptr_restrict)";
pub const KERNEL_UNKNOWN: &str = "no kernel symbol covers it";
pub const NOT_ASKED: &str = "the thread of symbols ended";

/// Why a stack that was copied ends before its root.
pub const STACK_CUT: &str = "the stack is deeper than its copy: --unwind dwarf,BYTES";
pub const STACK_UNREADABLE: &str = "the stack could not be read there";
pub const TABLES_DAMAGED: &str = "unwind information leads nowhere";
pub const NO_TABLES: &str = "neither unwind information nor a frame pointer";
pub const TOO_DEEP: &str = "too many functions";
pub const NARROW: &str = "a 32-bit program";

/// Of a frame that a recording does not have.
pub const NOT_RECORDED: &str = "not in the recording";

/// The reason with this text, which a recording has; what a later skep wrote there is no more than that there is none.
pub fn known(text: &str) -> &'static str {
    const ALL: [&str; 23] = [
        NO_SYMBOLS,
        NO_SYMBOL_THERE,
        DAMAGED,
        NO_ELF,
        GONE,
        REPLACED,
        UNREADABLE,
        TOO_MANY_FILES,
        NOT_CODE,
        NOT_MAPPED,
        PROCESS_ENDED,
        JIT,
        KERNELS_PAGE,
        KERNEL_HIDDEN,
        KERNEL_UNKNOWN,
        NOT_ASKED,
        STACK_CUT,
        STACK_UNREADABLE,
        TABLES_DAMAGED,
        NO_TABLES,
        TOO_DEEP,
        NARROW,
        NOT_RECORDED,
    ];
    ALL.into_iter().find(|one| *one == text).unwrap_or("no name")
}
