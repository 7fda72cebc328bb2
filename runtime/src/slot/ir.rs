//! What a slot computes: typed trees whose every leaf says where it is read. Pure data; no privilege.
//!
//! [`crate::resolve`] builds them from a script's expressions once an attach point is known; [`super::compile`]
//! turns them into BPF. All integers are 64 bits wide here: a load sign- or zero-extends on the way in.

/// Width of a load or store, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    B1,
    B2,
    B4,
    B8,
}

impl Size {
    pub fn bytes(self) -> u16 {
        match self {
            Size::B1 => 1,
            Size::B2 => 2,
            Size::B4 => 4,
            Size::B8 => 8,
        }
    }

    /// The size of a field of `bytes` bytes; `None` where it is no integer's size.
    pub fn of(bytes: usize) -> Option<Size> {
        match bytes {
            1 => Some(Size::B1),
            2 => Some(Size::B2),
            4 => Some(Size::B4),
            8 => Some(Size::B8),
            _ => None,
        }
    }
}

/// Which address space a pointer leads to, hence how it may be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    /// A pointer that the verifier knows by BTF: a plain load, faults read as zero.
    Trusted,
    /// A kernel address: `bpf_probe_read_kernel`, faults read as zero.
    Kernel,
    /// An address of the current process: `bpf_probe_read_user`, faults read as zero.
    User,
}

/// How a program has the packets that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packets {
    /// At tc: `struct __sk_buff`.
    Buffers,
    /// At XDP: `struct xdp_md`.
    Frames,
}

/// Where an integer lies. Offsets in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the program's context: a tracepoint's record, `pt_regs`, a raw tracepoint's arguments.
    Context(i16),
    /// In the event that a dedicated template filled.
    Event(i16),
    /// Behind a pointer.
    Behind { pointer: Box<Int>, offset: i32, memory: Memory },
}

/// A pid namespace other than the first: what `stat` says of its file in /proc/PID/ns, the device as the kernel packs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PidNamespace {
    pub device: u64,
    pub inode: u32,
}

/// What the kernel knows of the moment, without an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Current {
    Pid,
    Tid,
    /// The numbers that the task has in its namespace if that is this one, else 0.
    PidIn(PidNamespace),
    TidIn(PidNamespace),
    Uid,
    Gid,
    Cpu,
    /// Id (inode number) of the task's cgroup v2.
    Cgroup,
    /// Id of the ancestor of the task's cgroup v2 at this depth; the root is 0.
    CgroupAncestor(u32),
    /// Its `struct task_struct`: a kernel address.
    Task,
    /// Nanoseconds since boot, monotonic clock.
    Nsecs,
    /// The value given when this attach point was attached.
    Cookie,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    /// Division by zero gives 0, as in the kernel's BPF.
    Divide,
    /// The remainder of a division by zero is the left operand, as in the kernel's BPF.
    Remainder,
    And,
    Or,
    Xor,
    /// Shifts use the low six bits of the right operand.
    ShiftLeft,
    ShiftRight,
}

/// Whose call chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StackOf {
    Kernel,
    User,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Int {
    /// Two's complement.
    Constant(u64),
    Load {
        place: Place,
        size: Size,
        signed: bool,
    },
    Current(Current),
    /// `signed` matters to division, remainder and the right shift only.
    Binary {
        op: Arithmetic,
        signed: bool,
        left: Box<Int>,
        right: Box<Int>,
    },
    /// The low bytes turned round, zeros before them: what came over a network, or goes there.
    Swap {
        size: Size,
        inner: Box<Int>,
    },
    /// 1 where the test holds, else 0.
    Truth(Box<Test>),
    /// One of two values; the other one is not computed.
    Choose {
        test: Box<Test>,
        yes: Box<Int>,
        no: Box<Int>,
    },
    /// A value that `body` uses more than once, as `Bound`.
    Let {
        value: Box<Int>,
        body: Box<Int>,
    },
    /// The value of the `Let` around it: 0 is the innermost one.
    Bound(usize),
    /// Bytes of the packet, in its order; within a [`Test::Within`] only.
    Packet {
        at: Box<Int>,
        size: Size,
        packets: Packets,
    },
    /// The number under which the kernel keeps the current call chain: see [`super::stack`].
    Stack(StackOf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// How the two sides of a comparison are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    Signed,
    Unsigned,
    /// The left side is signed, the right side an unsigned 64-bit value; the comparison is the mathematical one.
    SignedWithUnsigned,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    Constant(bool),
    Compare {
        op: Comparison,
        reading: Reading,
        left: Int,
        right: Int,
    },
    /// The text is exactly `literal`, or begins with it. `literal` has no NUL and may be empty.
    TextIs {
        text: Text,
        literal: Vec<u8>,
        prefix: bool,
    },
    /// Two texts are equal in their first `size` bytes (up to a NUL).
    TextsEqual {
        left: Text,
        right: Text,
        size: u16,
    },
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    /// A test of a packet's bytes: false, whatever is turned around inside, where one of them is not there.
    Within(Box<Test>),
}

/// Where a NUL-terminated text lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Text {
    /// The current task's name, 16 bytes.
    Comm,
    /// `size` bytes at a constant offset of the context.
    Context {
        offset: i16,
        size: u16,
    },
    /// A tracepoint's dynamic string: the `u32` at this offset of the record holds length << 16 | offset; the offset
    /// counts from the record's start, or (`relative`, `__rel_loc`) from behind that `u32`.
    DataLocation {
        offset: i16,
        relative: bool,
    },
    Event {
        offset: i16,
        size: u16,
    },
    At {
        pointer: Int,
        memory: Memory,
    },
}

/// Where the walk along a file's path begins and ends. Members are given by their offsets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// Address of the `struct dentry` that is the file's name.
    pub dentry: Int,
    pub names: Names,
    pub top: Top,
    /// From the dentry to the number of its inode, and to the name of its file system's type.
    pub number: [i32; 2],
    pub file_system: [i32; 3],
}

/// Members of `struct dentry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Names {
    /// Zero where it can no longer be found by its name.
    pub unhashed: i32,
    pub parent: i32,
    pub length: i32,
    pub text: i32,
}

/// What a path ends at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Top {
    /// The root of the file system: from the dentry to it.
    Root([i32; 2]),
    /// The mount that is mounted on none but itself.
    Mounts {
        /// Address of the file's `struct mount`.
        mount: Int,
        /// Its members: the mount that it is mounted on, where, and the root of what is mounted.
        above: i32,
        point: i32,
        root: i32,
    },
}

/// One column of a key or a record, written at `offset` of the slot's output.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    pub offset: u16,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    Int {
        value: Int,
        size: Size,
    },
    /// At most `size` bytes, cut to fit with a NUL at the end; the column is rounded up to a multiple of 8. Everything
    /// behind the NUL is zero if the slot is told so (keys compare bytewise).
    Text {
        text: Text,
        size: u16,
    },
    /// Exactly `size` bytes as they are, no NUL; the column is rounded up to a multiple of 8 with zeros.
    /// Only `Context`, `Event` and `At` are read this way; `DataLocation` reads at most `size` bytes.
    Bytes {
        bytes: Text,
        size: u16,
    },
    /// The path of a file, as [`crate::aggregate::path`] reads it; `size` is a multiple of 8.
    Path {
        path: Box<Path>,
        size: u16,
    },
}
