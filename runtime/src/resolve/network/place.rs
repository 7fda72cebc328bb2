//! Where a socket or a packet lies, and what is found from there by the names of its members.

use crate::diagnostic::Diagnostic;
use crate::expr::Expr;
use crate::resolve::members::{behind, member_place};
use crate::resolve::resolve;
use crate::resolve::scope::{Scope, Typed};
use crate::slot::ir::{Int, Memory, Place, Size};
use crate::types::{KernelTypes, Type};
use skep_templates::btf::Kind;
use std::rc::Rc;

/// Structures that begin with a `struct sock`, or with the part of it that has the addresses.
const SOCKETS: [&str; 16] = [
    "sock",
    "sock_common",
    "inet_sock",
    "inet_connection_sock",
    "tcp_sock",
    "tcp6_sock",
    "udp_sock",
    "udp6_sock",
    "raw_sock",
    "raw6_sock",
    "unix_sock",
    "request_sock",
    "inet_request_sock",
    "tcp_request_sock",
    "inet_timewait_sock",
    "tcp_timewait_sock",
];

/// A structure of the kernel at an address.
pub struct Start {
    pub address: Int,
    pub of: Type,
    types: Rc<KernelTypes>,
}

/// The member that this kernel's types do not have.
pub type Missing = String;

impl Start {
    pub fn new(address: Int, of: &str, types: &Rc<KernelTypes>) -> Result<Start, Missing> {
        let name = of;
        let of = types.find(Kind::Struct, of).ok_or_else(|| format!("struct {name}"))?;
        Ok(Start { address, of, types: types.clone() })
    }

    /// What `sock()` is given.
    pub fn socket(of: &Expr, scope: &Scope) -> Result<Start, Diagnostic> {
        let (address, name, types) = Start::given(of, scope)?;
        let error = |missing: Missing| no_types(of, &missing);
        match name.as_deref() {
            None => Start::new(address, "sock", &types).map_err(error),
            Some("socket") => {
                let socket = Start::new(address, "socket", &types).map_err(error)?;
                Start::new(socket.number("sk").map_err(error)?, "sock", &types).map_err(error)
            }
            Some(known) if SOCKETS.contains(&known) => Start::new(address, "sock", &types).map_err(error),
            Some(other) => Err(Diagnostic::script(format!("`{of}` leads to a `struct {other}`, which is no socket"))
                .help("sock() takes a `struct sock *`, a `struct socket *`, or an address: sock(args.skaddr).dport")
                .at(of.position)),
        }
    }

    /// What `skb()` is given.
    pub fn packet(of: &Expr, scope: &Scope) -> Result<Start, Diagnostic> {
        let (address, name, types) = Start::given(of, scope)?;
        match name.as_deref() {
            None | Some("sk_buff") => Start::new(address, "sk_buff", &types).map_err(|missing| no_types(of, &missing)),
            Some(other) => Err(Diagnostic::script(format!("`{of}` leads to a `struct {other}`, which is no packet"))
                .help("skb() takes a `struct sk_buff *`, or an address: skb(args.skbaddr).dport")
                .at(of.position)),
        }
    }

    /// The address, and the name of the structure there if it is known.
    fn given(of: &Expr, scope: &Scope) -> Result<(Int, Option<String>, Rc<KernelTypes>), Diagnostic> {
        let types = scope.types.clone().ok_or_else(|| no_types(of, "sock"))?;
        match resolve(of, scope)? {
            Typed::Int { int, .. } => Ok((int, None, types)),
            Typed::Pointer { int, to, stars: 1, .. } => {
                let known = (to.kind() != Kind::Void).then(|| to.name().to_owned());
                Ok((int, known, types))
            }
            other => {
                Err(Diagnostic::script(format!("`{of}` is {}, and leads to nothing", other.what())).at(of.position))
            }
        }
    }

    /// Does this kernel have it?
    pub fn has(&self, members: &str) -> bool {
        self.find(members).is_ok()
    }

    /// The place of a member; pointers on the way are followed: `__sk_common.skc_net.net.ns.inum`.
    pub fn find(&self, members: &str) -> Result<(Place, Type), Missing> {
        let (mut place, mut of) = (behind(self.address.clone(), Memory::Kernel), self.of.clone());
        for name in members.split('.') {
            if of.is_pointer() {
                place = behind(Int::Load { place, size: Size::B8, signed: false }, Memory::Kernel);
                of = of.target();
            }
            let found = of.member(name).filter(|found| found.bit_width == 0);
            let found = found.ok_or_else(|| format!("{of}'s {name}"))?;
            place = member_place(place, &found);
            of = found.of;
        }
        Ok((place, of))
    }

    /// A member that is a number or a pointer.
    pub fn number(&self, members: &str) -> Result<Int, Missing> {
        let (place, of) = self.find(members)?;
        let size = of.size().and_then(Size::of).ok_or_else(|| members.to_owned())?;
        Ok(Int::Load { place, size, signed: of.signed() })
    }

    /// The same address as another structure.
    pub fn cast(&self, of: &str) -> Result<Start, Missing> {
        self.other(self.address.clone(), of)
    }

    /// Another structure of the same kernel.
    pub fn other(&self, address: Int, of: &str) -> Result<Start, Missing> {
        Start::new(address, of, &self.types)
    }
}

fn no_types(of: &Expr, missing: &str) -> Diagnostic {
    Diagnostic::machine(format!("`{of}` cannot be looked into: this kernel's types have no `{missing}`"))
        .help("it takes a kernel with CONFIG_DEBUG_INFO_BTF=y")
        .at(of.position)
}
