//! What the command line adds to every entry.

use crate::attach_point::AttachPoint;
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node, Operator};
use crate::machine::Machine;
use crate::membership;
use crate::resolve::{self, Scope};
use crate::slot::ir::Test;
use crate::unwind::way::Way;

/// What the command line adds to every entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restrict {
    pub pid: Option<u32>,
    /// With the processes that it starts: see [`crate::following`].
    pub follow: bool,
    /// What that process will execute, while it is held before its start.
    pub program: Option<String>,
    pub comm: Option<String>,
    /// Id and depth of a cgroup; its descendants belong to it.
    pub cgroup: Option<(u64, u32)>,
    /// How the command line spells it.
    pub cgroup_path: Option<String>,
    /// Only processes that are this user's, and nobody else's in part: not those that run as another one for them.
    pub owner: Option<u32>,
    /// By what user stacks find their callers.
    pub unwind: Way,
}

impl Restrict {
    /// What they come to at one attach point: at an iterator `pid` is the task's that is looked at.
    ///
    /// # Errors
    /// A machine diagnostic: this kernel cannot tell.
    pub fn tests(&self, scope: &Scope, machine: &Machine) -> Result<Vec<Test>, Diagnostic> {
        let equal = |name: &str, node| {
            let (left, right) = (Expr::name(name), Expr::new(node, None));
            resolve::test(&Expr::binary(Operator::Equal, left, right), scope)
        };
        let mut tests = Vec::new();
        if let Some(pid) = self.pid.filter(|_| !self.follows(scope)) {
            tests.push(equal("pid", Node::Int(pid.into()))?);
        }
        if let Some(owner) = self.owner {
            tests.push(equal("uid", Node::Int(owner.into()))?);
            for user in ["euid", "suid"] {
                let member = |of, name: &str| Expr::new(Node::Member(of, name.into()), None);
                let value = ["cred", user, "val"].into_iter().fold(Expr::name("curtask"), member);
                tests.push(resolve::test(&Expr::binary(Operator::Equal, value, Expr::int(owner.into())), scope)?);
            }
        }
        if let Some((id, level)) = self.cgroup {
            tests.push(membership::test(id, level, machine)?);
        }
        if let Some(comm) = &self.comm {
            // The kernel keeps 15 bytes of a name.
            let end = comm.floor_char_boundary(15);
            tests.push(equal("comm", Node::Text(comm[..end].to_owned()))?);
        }
        Ok(tests)
    }

    /// Where nothing is about a process, they would pass the wrong events.
    ///
    /// # Errors
    /// A script diagnostic that names the first that was asked for.
    pub fn to_no_task(&self, place: &str) -> Result<(), Diagnostic> {
        let asked =
            [("--pid", self.pid.is_some()), ("--comm", self.comm.is_some()), ("--cgroup", self.cgroup.is_some())];
        match asked.iter().find(|(_, asked)| *asked) {
            None => Ok(()),
            Some((flag, _)) => Err(Diagnostic::script(format!("`{place}` meets packets, which are of no process"))
                .label(format!("{flag} cannot pass the right ones"))
                .help(
                    ".filter(saddr == \"10.0.0.1\"), or the packets of a control group: probe(\"cgroup_skb:/PATH\")",
                )),
        }
    }

    /// Does the template itself ask whether the current process is followed? Not where `pid` is another task's.
    pub fn follows(&self, scope: &Scope) -> bool {
        self.follow && scope.fields.iter().all(|field| field.name != "pid")
    }
}

/// A function without a binary is one of the command's program, which its held process does not run yet.
pub fn own_program(point: &AttachPoint, restrict: &Restrict) -> AttachPoint {
    match (point, &restrict.program) {
        (AttachPoint::Uprobe { target, function, returns }, Some(program)) if target.is_empty() => {
            AttachPoint::Uprobe { target: program.clone(), function: function.clone(), returns: *returns }
        }
        (AttachPoint::FirstOf(list), Some(_)) => {
            let own = list.iter().map(|(text, point)| (text.clone(), own_program(point, restrict)));
            AttachPoint::FirstOf(own.collect())
        }
        (AttachPoint::Usdt { target, provider, name }, Some(program)) if target.is_empty() => {
            AttachPoint::Usdt { target: program.clone(), provider: provider.clone(), name: name.clone() }
        }
        _ => point.clone(),
    }
}
