//! What differs between processors: where `pt_regs` keeps arguments, and how system calls number theirs.

/// Offsets into `pt_regs`, in bytes. Source: arch/*/include/uapi/asm/ptrace.h.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// Integer arguments of a C function, in order.
    pub arguments: &'static [i16],
    pub return_value: i16,
    /// Arguments of a system call, in order.
    pub syscall_arguments: [i16; 6],
    pub instruction_pointer: i16,
    pub stack_pointer: i16,
    /// What a return takes off the stack: the address that a call put there.
    pub return_address: u64,
    /// The register that a call leaves the return address in; without one it is on the stack.
    pub link: Option<i16>,
}

#[cfg(target_arch = "x86_64")]
pub const REGISTERS: Registers = Registers {
    arguments: &[14 * 8, 13 * 8, 12 * 8, 11 * 8, 9 * 8, 8 * 8],
    return_value: 10 * 8,
    syscall_arguments: [14 * 8, 13 * 8, 12 * 8, 7 * 8, 9 * 8, 8 * 8],
    instruction_pointer: 16 * 8,
    stack_pointer: 19 * 8,
    return_address: 8,
    link: None,
};

#[cfg(target_arch = "aarch64")]
pub const REGISTERS: Registers = Registers {
    arguments: &[0, 8, 16, 24, 32, 40, 48, 56],
    return_value: 0,
    // The first argument's register is overwritten by the result: orig_x0 keeps it.
    syscall_arguments: [34 * 8, 8, 16, 24, 32, 40],
    instruction_pointer: 32 * 8,
    stack_pointer: 31 * 8,
    return_address: 0,
    link: Some(30 * 8),
};

/// The number of the system call whose tracepoints are called `sys_enter_NAME`; `None` where no table knows it.
pub fn syscall_number(name: &str) -> Option<u32> {
    // The kernel's functions that are called otherwise than their system calls.
    let name = match name {
        "newstat" => "stat",
        "newfstat" => "fstat",
        "newlstat" => "lstat",
        "newuname" => "uname",
        "sendfile64" => "sendfile",
        "umount" => "umount2",
        other => other,
    };
    name.parse::<syscalls::Sysno>().ok().map(|number| number.id() as u32)
}

/// What a system call is called in tracepoints and manuals.
pub fn syscall_name(number: u64) -> Option<&'static str> {
    syscalls::Sysno::new(usize::try_from(number).ok()?).map(|number| number.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syscall_numbers_are_those_of_libc() {
        assert_eq!(syscall_number("openat"), Some(libc::SYS_openat as u32));
        assert_eq!(syscall_number("newuname"), Some(libc::SYS_uname as u32));
        assert_eq!(syscall_number("no_such_call"), None);
        assert_eq!(syscall_name(libc::SYS_getpgid as u64), Some("getpgid"));
    }
}
