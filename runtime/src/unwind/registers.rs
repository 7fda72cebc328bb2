//! What a thread's registers held, in the order of `struct registers` in registers.bpf.h.

/// How many there are, and the places of those that every architecture has.
#[cfg(target_arch = "x86_64")]
mod order {
    pub const COUNT: usize = 21;
    pub const IP: usize = 16;
    pub const SP: usize = 19;
    pub const FRAME: usize = 4;
    /// By the numbers of unwind tables: rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15, the return address.
    pub const NUMBERED: [usize; 17] = [10, 12, 11, 5, 13, 14, FRAME, SP, 9, 8, 7, 6, 3, 2, 1, 0, IP];
    /// Code and addresses of 32 bits: __USER32_CS.
    pub fn is_narrow(all: &[u64; COUNT]) -> bool {
        all[17] & 0xffff == 0x23
    }
    pub const ADDRESS: u64 = u64::MAX;
}

#[cfg(target_arch = "aarch64")]
mod order {
    pub const COUNT: usize = 34;
    pub const IP: usize = 32;
    pub const SP: usize = 31;
    pub const FRAME: usize = 29;
    /// By the numbers of unwind tables: x0 to x30, and sp.
    pub const NUMBERED: [usize; 32] = {
        let mut numbered = [0; 32];
        let mut n = 0;
        while n < numbered.len() {
            numbered[n] = n;
            n += 1;
        }
        numbered
    };
    /// PSR_MODE32_BIT.
    pub fn is_narrow(all: &[u64; COUNT]) -> bool {
        all[33] & 0x10 != 0
    }
    /// Above these bits, return addresses may be signed (pointer authentication).
    pub const ADDRESS: u64 = (1 << 48) - 1;
}

pub use order::COUNT;

/// All of them, of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers(pub [u64; COUNT]);

impl Registers {
    /// The place of the register that unwind tables call by a number.
    pub fn place(number: u16) -> Option<usize> {
        order::NUMBERED.get(usize::from(number)).copied()
    }

    pub fn ip(&self) -> u64 {
        self.0[order::IP]
    }

    pub fn sp(&self) -> u64 {
        self.0[order::SP]
    }

    pub fn frame(&self) -> u64 {
        self.0[order::FRAME]
    }

    /// Of the caller: where it goes on, and its stack.
    pub fn returned(mut self, ip: u64, sp: u64) -> Registers {
        (self.0[order::IP], self.0[order::SP]) = (ip & order::ADDRESS, sp);
        self
    }

    pub fn with_frame(mut self, frame: u64) -> Registers {
        self.0[order::FRAME] = frame;
        self
    }

    /// Of a 32-bit program.
    pub fn is_narrow(&self) -> bool {
        order::is_narrow(&self.0)
    }
}
