//! Expressions that stay out of the kernel's memory: what an attach point says of itself, and what is the process's own.

use crate::attach_point::AttachPoint;
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Function, Node};
use crate::plan::{Entry, Source};

/// # Errors
/// A script diagnostic at what reads memory of the kernel, or shows where it is.
pub fn stay_out(entry: &Entry) -> Result<(), Diagnostic> {
    let (points, others): (Vec<&AttachPoint>, Vec<&Expr>) = match &entry.source {
        Source::Probe(points) => (points.iter().map(|(_, point)| point).collect(), Vec::new()),
        Source::Span(span) => {
            let all = span.start.iter().chain(&span.end).map(|(_, point)| point).collect();
            let pairs = span.on.iter().flat_map(|(start, end)| start.iter().chain(end));
            (all, pairs.chain(span.when.iter().flat_map(|(start, end)| [start, end])).collect())
        }
        // What its programs read is what they are for; expressions may still go on from there.
        Source::Template { .. } => (Vec::new(), Vec::new()),
    };
    let of_processes = !points.is_empty() && points.iter().all(|point| is_of_a_process(point));
    entry.expressions().chain(others).try_for_each(|expr| check(expr, of_processes))
}

/// Are its arguments, and the addresses among them, those of the process?
fn is_of_a_process(point: &AttachPoint) -> bool {
    match point {
        AttachPoint::Tracepoint { category, .. } => category == "syscalls",
        AttachPoint::Uprobe { .. } | AttachPoint::Usdt { .. } => true,
        AttachPoint::FirstOf(list) => list.iter().all(|(_, point)| is_of_a_process(point)),
        _ => false,
    }
}

fn check(expr: &Expr, of_processes: bool) -> Result<(), Diagnostic> {
    let refused = || {
        Err(Diagnostic::script(format!(
            "`{expr}` is not permitted: it reads the kernel's memory, or shows where it is"
        ))
        .at(expr.position)
        .help("an administrator may permit it: kernel_memory = true"))
    };
    let all = |list: &[Expr]| list.iter().try_for_each(|one| check(one, of_processes));
    match &*expr.node {
        Node::Int(_) | Node::Text(_) => Ok(()),
        Node::Name(name) => {
            let number = name.strip_prefix("arg").unwrap_or_default();
            let argument = name == "retval" || !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            if name == "curtask" || argument && !of_processes { refused() } else { Ok(()) }
        }
        // A field of the record; of a pointer in it, no more.
        Node::Member(of, member) => match &*of.node {
            Node::Name(name) if name == "args" => Ok(()),
            Node::Name(name) if name == "start" => check(&Expr::name(member), of_processes),
            Node::Member(start, args)
                if args == "args" && matches!(&*start.node, Node::Name(name) if name == "start") =>
            {
                Ok(())
            }
            _ => refused(),
        },
        Node::Cast(..) => refused(),
        Node::Index(of, _) => {
            if of_processes {
                check(of, true)
            } else {
                refused()
            }
        }
        Node::FirstOf(list) => all(list),
        Node::Negate(inner) | Node::Not(inner) => check(inner, of_processes),
        Node::Binary(_, left, right) => check(left, of_processes).and_then(|()| check(right, of_processes)),
        Node::Call(function, arguments) => match function {
            Function::KernelPointer | Function::Ksym | Function::Path => refused(),
            Function::Sock | Function::Skb | Function::Sockaddr => refused(),
            Function::Str | Function::Buf if !of_processes => refused(),
            _ => all(arguments),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach_point;
    use crate::plan::Column;

    fn permitted(point: &str, expr: Expr) -> bool {
        let mut entry = Entry::new(Source::Probe(vec![(point.into(), attach_point::parse(point).unwrap())]), None);
        entry.key.push(Column { name: "x".into(), expr });
        stay_out(&entry).is_ok()
    }

    fn member(of: Expr, name: &str) -> Expr {
        Expr::new(Node::Member(of, name.into()), None)
    }

    fn call(function: Function, argument: Expr) -> Expr {
        Expr::new(Node::Call(function, vec![argument]), None)
    }

    #[test]
    fn expressions_of_templates_stay_out_too() {
        let parameters = Vec::new();
        let mut entry = Entry::new(Source::Template { name: "biolatency".into(), parameters }, None);
        entry.filter = Some(Expr::name("elapsed"));
        assert!(stay_out(&entry).is_ok());
        entry.filter = Some(call(Function::Str, call(Function::KernelPointer, Expr::int(-1))));
        assert!(stay_out(&entry).is_err());
    }

    const CALL: &str = "tracepoint:syscalls:sys_enter_openat";
    const SWITCH: &str = "tracepoint:sched:sched_switch";

    #[test]
    fn fields_of_records_and_memory_of_the_process_are_permitted() {
        let args = || Expr::name("args");
        assert!(permitted(CALL, call(Function::Str, member(args(), "filename"))));
        assert!(permitted(SWITCH, member(args(), "next_comm")));
        assert!(permitted("uprobe:/bin/sh:main", call(Function::Str, Expr::name("arg0"))));
        assert!(permitted(SWITCH, Expr::name("comm")) && permitted("kprobe:vfs_read", Expr::name("pid")));
    }

    #[test]
    fn memory_of_the_kernel_is_not() {
        let args = || Expr::name("args");
        let task = || member(Expr::name("curtask"), "cred");
        assert!(!permitted(CALL, task()));
        assert!(!permitted(CALL, Expr::name("curtask")));
        assert!(!permitted(CALL, Expr::new(Node::Cast(Expr::int(-1), "struct cred".into()), None)));
        assert!(!permitted(CALL, call(Function::Str, call(Function::KernelPointer, Expr::int(-1)))));
        assert!(!permitted(SWITCH, call(Function::Str, member(args(), "prev_pid"))));
        assert!(!permitted("tracepoint:raw_syscalls:sys_enter", call(Function::Str, member(args(), "id"))));
        assert!(!permitted("kprobe:vfs_read", Expr::name("arg0")));
        assert!(!permitted("kprobe:vfs_read", member(member(args(), "file"), "f_path")));
        assert!(!permitted("kprobe:vfs_read | uprobe:/bin/sh:main", call(Function::Str, Expr::name("arg0"))));
    }
}
