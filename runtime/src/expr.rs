//! Expressions as scripts write them: names, numbers, operators. What a name means is known once an attach point is.
//! Pure data; no privilege.

use crate::diagnostic::Position;
use std::fmt;
use std::rc::Rc;

/// An expression with the place it was written at.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub node: Rc<Node>,
    /// How deeply it is nested.
    pub depth: u32,
    /// How many nodes it has, those that it has several times each time: as it is compiled, and printed.
    pub size: u32,
    pub position: Option<Position>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Fits 64 bits, signed or unsigned.
    Int(i128),
    Text(String),
    /// `pid`, `comm`, `retval`, `arg0`, a template's field, `args`.
    Name(String),
    /// `args.filename`
    Member(Expr, String),
    /// `args.vec[0]`
    Index(Expr, i64),
    /// `cast(arg0, "struct sock")`
    Cast(Expr, String),
    /// `first_of(args.task.__state, args.task.state)`: the first that this kernel has.
    FirstOf(Vec<Expr>),
    Negate(Expr),
    Not(Expr),
    Binary(Operator, Expr, Expr),
    Call(Function, Vec<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    BitAnd,
    BitOr,
    BitXor,
    ShiftLeft,
    ShiftRight,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
}

impl Operator {
    /// As scripts write it.
    pub fn symbol(self) -> &'static str {
        use Operator::*;
        match self {
            Add => "+",
            Subtract => "-",
            Multiply => "*",
            Divide => "/",
            Remainder => "%",
            BitAnd => "&",
            BitOr => "|",
            BitXor => "^",
            ShiftLeft => "<<",
            ShiftRight => ">>",
            Equal => "==",
            NotEqual => "!=",
            Less => "<",
            LessOrEqual => "<=",
            Greater => ">",
            GreaterOrEqual => ">=",
            And => "and",
            Or => "or",
        }
    }

    /// Binds the tighter the higher.
    fn precedence(self) -> u8 {
        use Operator::*;
        match self {
            Or => 1,
            And => 2,
            BitOr | BitXor => 3,
            BitAnd => 4,
            Equal | NotEqual => 5,
            Less | LessOrEqual | Greater | GreaterOrEqual => 6,
            Add | Subtract => 7,
            Multiply | Divide | Remainder => 8,
            ShiftLeft | ShiftRight => 9,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// A text behind an address: `str(args.filename)`, `str(arg0, 200)`.
    Str,
    /// Bytes behind an address: `buf(arg1, 16)`.
    Buf,
    /// The path of a file: `path(args.file)`, `path(args.file, 256)`.
    Path,
    /// An IP address from its 4 or 16 bytes: `ntop(args.daddr)`.
    Ntop,
    /// Parts of the kernel's socket, packet, or of a `struct sockaddr`: `sock(args.sk).dport`.
    Sock,
    Skb,
    Sockaddr,
    /// `in_cidr(sock(args.sk).daddr, "10.0.0.0/8")`
    InCidr,
    /// A filter of tcpdump, of the frame: `tcpdump("tcp port 80")`.
    Tcpdump,
    /// `starts_with(comm, "ba")`
    StartsWith,
    /// Bytes of 16, 32 or 64 bits turned round: network order to the machine's.
    Ntohs,
    Ntohl,
    Ntohll,
    /// An address is of the process, or of the kernel, whatever its type says.
    UserPointer,
    KernelPointer,
    /// A number shown by name.
    Strerror,
    SignalName,
    SyscallName,
    CgroupPath,
    UserName,
    TcpState,
    /// An address shown as a symbol: the kernel's, or that of the process that the event was in.
    Ksym,
    /// A call chain of at most so many functions: `kstack(5)`.
    Kstack,
    Ustack,
    Usym,
}

impl Function {
    /// Does it stand for what its members say?
    pub fn decodes(self) -> bool {
        matches!(self, Function::Sock | Function::Skb | Function::Sockaddr)
    }

    pub fn name(self) -> &'static str {
        match self {
            Function::Str => "str",
            Function::Kstack => "kstack",
            Function::Ustack => "ustack",
            Function::Buf => "buf",
            Function::Path => "path",
            Function::Ntop => "ntop",
            Function::Sock => "sock",
            Function::Skb => "skb",
            Function::Sockaddr => "sockaddr",
            Function::InCidr => "in_cidr",
            Function::Tcpdump => "tcpdump",
            Function::StartsWith => "starts_with",
            Function::Ntohs => "ntohs",
            Function::Ntohl => "ntohl",
            Function::Ntohll => "ntohll",
            Function::UserPointer => "uptr",
            Function::KernelPointer => "kptr",
            Function::Strerror => "strerror",
            Function::SignalName => "signal_name",
            Function::SyscallName => "syscall_name",
            Function::CgroupPath => "cgroup_path",
            Function::UserName => "user_name",
            Function::TcpState => "tcp_state",
            Function::Ksym => "ksym",
            Function::Usym => "usym",
        }
    }
}

impl Expr {
    pub fn new(node: Node, position: Option<Position>) -> Expr {
        let inner: &[&Expr] = match &node {
            Node::Int(_) | Node::Text(_) | Node::Name(_) => &[],
            Node::Member(inner, _)
            | Node::Index(inner, _)
            | Node::Cast(inner, _)
            | Node::Negate(inner)
            | Node::Not(inner) => &[inner],
            Node::Binary(_, left, right) => &[left, right],
            Node::Call(_, arguments) | Node::FirstOf(arguments) => &arguments.iter().collect::<Vec<_>>(),
        };
        let depth = inner.iter().map(|one| one.depth).max().unwrap_or(0);
        let size = inner.iter().map(|one| one.size).fold(1, u32::saturating_add);
        Expr { node: Rc::new(node), depth: depth + 1, size, position }
    }

    pub fn name(name: &str) -> Expr {
        Expr::new(Node::Name(name.to_owned()), None)
    }

    pub fn int(value: i128) -> Expr {
        Expr::new(Node::Int(value), None)
    }

    pub fn binary(operator: Operator, left: Expr, right: Expr) -> Expr {
        Expr::new(Node::Binary(operator, left, right), None)
    }

    /// `left and right`; either may be missing.
    pub fn and(left: Option<Expr>, right: Expr) -> Expr {
        match left {
            Some(left) => Expr::binary(Operator::And, left, right),
            None => right,
        }
    }

    /// What a column of it is called: the last word of the expression, else its text.
    pub fn column_name(&self) -> String {
        match &*self.node {
            Node::Name(name) | Node::Member(_, name) => name.clone(),
            Node::Call(function @ (Function::Kstack | Function::Ustack), _) => function.name().to_owned(),
            Node::Call(_, arguments) | Node::FirstOf(arguments) if !arguments.is_empty() => arguments[0].column_name(),
            Node::Index(inner, _) | Node::Cast(inner, _) => inner.column_name(),
            Node::Binary(_, left, right) => match (&*left.node, &*right.node) {
                (Node::Int(_), _) => right.column_name(),
                (_, Node::Int(_)) => left.column_name(),
                _ => self.to_string(),
            },
            _ => self.to_string(),
        }
    }

    /// Does any part of it satisfy the test?
    pub fn any(&self, test: &dyn Fn(&Node) -> bool) -> bool {
        test(&self.node)
            || match &*self.node {
                Node::Int(_) | Node::Text(_) | Node::Name(_) => false,
                Node::Member(inner, _)
                | Node::Index(inner, _)
                | Node::Cast(inner, _)
                | Node::Negate(inner)
                | Node::Not(inner) => inner.any(test),
                Node::Binary(_, left, right) => left.any(test) || right.any(test),
                Node::Call(_, arguments) | Node::FirstOf(arguments) => {
                    arguments.iter().any(|argument| argument.any(test))
                }
            }
    }

    /// The same expression with other parts: those that `other` gives, looked for from the outside in.
    pub fn replaced(&self, other: &dyn Fn(&Expr) -> Option<Expr>) -> Expr {
        if let Some(other) = other(self) {
            return other;
        }
        let node = match &*self.node {
            Node::Int(_) | Node::Text(_) | Node::Name(_) => return self.clone(),
            Node::Member(inner, name) => Node::Member(inner.replaced(other), name.clone()),
            Node::Index(inner, n) => Node::Index(inner.replaced(other), *n),
            Node::Cast(inner, to) => Node::Cast(inner.replaced(other), to.clone()),
            Node::FirstOf(list) => Node::FirstOf(list.iter().map(|one| one.replaced(other)).collect()),
            Node::Negate(inner) => Node::Negate(inner.replaced(other)),
            Node::Not(inner) => Node::Not(inner.replaced(other)),
            Node::Binary(operator, left, right) => Node::Binary(*operator, left.replaced(other), right.replaced(other)),
            Node::Call(function, arguments) => {
                Node::Call(*function, arguments.iter().map(|argument| argument.replaced(other)).collect())
            }
        };
        Expr::new(node, self.position)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, outer: u8) -> fmt::Result {
        match &*self.node {
            Node::Int(value) => write!(f, "{value}"),
            Node::Text(text) => write!(f, "{text:?}"),
            Node::Name(name) => f.write_str(name),
            Node::Member(inner, name) => {
                inner.write(f, 10)?;
                write!(f, ".{name}")
            }
            Node::Index(inner, n) => {
                inner.write(f, 10)?;
                write!(f, "[{n}]")
            }
            Node::Cast(inner, to) => {
                f.write_str("cast(")?;
                inner.write(f, 0)?;
                write!(f, ", {to:?})")
            }
            Node::FirstOf(list) => write_call(f, "first_of", list),
            Node::Negate(inner) => {
                f.write_str("-")?;
                inner.write(f, 10)
            }
            Node::Not(inner) => {
                f.write_str("not(")?;
                inner.write(f, 0)?;
                f.write_str(")")
            }
            Node::Binary(operator, left, right) => {
                let own = operator.precedence();
                if own < outer {
                    f.write_str("(")?;
                }
                left.write(f, own)?;
                write!(f, " {} ", operator.symbol())?;
                right.write(f, own + 1)?;
                if own < outer {
                    f.write_str(")")?;
                }
                Ok(())
            }
            Node::Call(function, arguments) => write_call(f, function.name(), arguments),
        }
    }
}

fn write_call(f: &mut fmt::Formatter<'_>, name: &str, arguments: &[Expr]) -> fmt::Result {
    write!(f, "{name}(")?;
    for (n, argument) in arguments.iter().enumerate() {
        if n > 0 {
            f.write_str(", ")?;
        }
        argument.write(f, 0)?;
    }
    f.write_str(")")
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expression_prints_as_it_was_written() {
        let member = |name: &str| Expr::new(Node::Member(Expr::name("args"), name.into()), None);
        let sum = Expr::binary(Operator::Add, Expr::name("pid"), Expr::int(1));
        let product = Expr::binary(Operator::Multiply, sum, Expr::int(2));
        let test = Expr::and(
            Some(Expr::binary(Operator::Equal, product, Expr::int(7))),
            Expr::binary(Operator::Greater, member("ret"), Expr::int(0)),
        );
        assert_eq!(test.to_string(), "(pid + 1) * 2 == 7 and args.ret > 0");
    }

    #[test]
    fn column_is_named_by_the_last_word() {
        let filename = Expr::new(Node::Member(Expr::name("args"), "filename".into()), None);
        assert_eq!(Expr::new(Node::Call(Function::Str, vec![filename]), None).column_name(), "filename");
        assert_eq!(Expr::binary(Operator::Divide, Expr::name("elapsed"), Expr::int(1000)).column_name(), "elapsed");
    }
}
