//! Names: builtins, arguments, a template's fields; with what to say where there is none.

use super::scope::{Arguments, BUILTINS, COMM_SIZE, Scope, Typed};
use super::stacks;
use crate::aggregate::column::Show;
use crate::diagnostic::{Diagnostic, nearest};
use crate::expr::Expr;
use crate::slot::ir::{Current, Int, Memory, StackOf, Text};
use skep_templates::btf::Kind;

pub fn by_name(name: &str, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    if let Some(field) = scope.fields.iter().find(|field| field.name == name) {
        return Ok(field.typed.clone());
    }
    if !scope.has_task && OF_A_TASK.contains(&name) {
        return Err(Diagnostic::script(format!("`{name}` is of a process, and packets are met outside of all"))
            .span(name)
            .at(expr.position)
            .help("saddr, sport, daddr, dport, cgroup   (all fields: skep doc flows)"));
    }
    let current = |current| Int::Current(current);
    let numbered = || name.strip_prefix("arg").and_then(|digits| digits.parse::<usize>().ok());
    Ok(match name {
        "pid" => Typed::int(process(scope)),
        "tid" => Typed::int(current(scope.namespace.map_or(Current::Tid, Current::TidIn))),
        "uid" => Typed::int(current(Current::Uid)),
        "gid" => Typed::int(current(Current::Gid)),
        "cpu" => Typed::int(current(Current::Cpu)),
        "nsecs" => Typed::int(current(Current::Nsecs)),
        "cgroup" => Typed::shown(current(Current::Cgroup), Show::Cgroup),
        "probe" => Typed::shown(scope.probe.clone(), Show::Probe),
        "kstack" => stacks::stack(StackOf::Kernel, None, expr, scope)?,
        "ustack" => stacks::stack(StackOf::User, None, expr, scope)?,
        "curtask" => current_task(scope),
        "comm" => Typed::Text { text: Text::Comm, size: COMM_SIZE },
        "retval" => match &scope.return_value {
            Some(typed) => typed.clone(),
            None => return Err(no_return_value(expr, scope)),
        },
        "args" => {
            return Err(Diagnostic::script("`args` is all arguments; name one")
                .help("args.NAME   (skep list -v shows them)")
                .at(expr.position));
        }
        _ if numbered().is_some() => {
            let n = numbered().unwrap_or_default();
            if let Some(described) = scope.described.get(n) {
                return described.typed.clone().map_err(|reason| unreadable(name, &reason, expr, scope));
            }
            match scope.numbered.get(n) {
                Some(int) => Typed::int(int.clone()),
                None => return Err(no_numbered_argument(name, expr, scope)),
            }
        }
        _ => {
            let known =
                BUILTINS.iter().map(|(name, _)| *name).chain(scope.fields.iter().map(|field| field.name.as_str()));
            let error =
                Diagnostic::script(format!("`{}` has no field `{name}`", scope.place)).at(expr.position).span(name);
            return Err(match nearest(name, known) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help("the fields of every source: pid tid comm uid gid cpu cgroup nsecs probe"),
            });
        }
    })
}

/// What only makes sense where a task is at work.
const OF_A_TASK: [&str; 9] = ["pid", "tid", "comm", "uid", "gid", "curtask", "kstack", "ustack", "cgroup"];

/// The number of the current process.
pub fn process(scope: &Scope) -> Int {
    Int::Current(scope.namespace.map_or(Current::Pid, Current::PidIn))
}

/// A pointer to it where the kernel's types are known, else its address.
fn current_task(scope: &Scope) -> Typed {
    let int = Int::Current(Current::Task);
    match scope.types.as_ref().and_then(|types| types.find(Kind::Struct, "task_struct")) {
        Some(to) => Typed::Pointer { int, to, stars: 1, memory: Memory::Kernel },
        None => Typed::address(int),
    }
}

fn no_return_value(expr: &Expr, scope: &Scope) -> Diagnostic {
    let error = Diagnostic::script(format!("`{}` has no return value", scope.place)).at(expr.position);
    const RETURNS: [(&str, &str); 3] = [("uprobe:", "uretprobe"), ("kprobe:", "kretprobe"), ("fentry:", "fexit")];
    let entry = |(entry, returns): &(&str, _)| Some((scope.place.strip_prefix(entry)?.to_owned(), *returns));
    match RETURNS.iter().find_map(entry) {
        Some((rest, returns)) => error.help(format!("watch the return: {returns}:{rest}")),
        None if ["kretprobe:", "fexit:", "uretprobe:"].iter().any(|returns| scope.place.starts_with(returns)) => {
            error.help("this function returns nothing")
        }
        None if matches!(&scope.arguments, Arguments::Known(list) if list.iter().any(|argument| argument.name == "ret")) => {
            error.help("args.ret")
        }
        None => error.help("`retval` belongs to kretprobe, fexit and uretprobe"),
    }
}

/// An argument that is there and out of reach.
fn unreadable(name: &str, reason: &str, expr: &Expr, scope: &Scope) -> Diagnostic {
    Diagnostic::script(format!("`{name}` of `{}` cannot be read: {reason}", scope.place))
        .span(name)
        .at(expr.position)
        .help(format!("skep list -v '{}'   (shows which can)", scope.place))
}

fn no_numbered_argument(name: &str, expr: &Expr, scope: &Scope) -> Diagnostic {
    let error = Diagnostic::script(format!("`{}` has no `{name}`", scope.place)).span(name).at(expr.position);
    if let Some(rest) = scope.place.strip_prefix("uretprobe:") {
        return error.help(format!("arguments are gone when a function returns: probe its entry, uprobe:{rest}"));
    }
    if let Some(function) = scope.place.strip_prefix("kretprobe:") {
        return error.help(format!("arguments are gone when a function returns; fexit:{function} keeps them"));
    }
    if scope.place.starts_with("usdt:") {
        return error.help(match scope.described.len() {
            0 => "it has no arguments".to_owned(),
            1 => "it has arg0 alone".to_owned(),
            count => format!("it has arg0 to arg{}", count - 1),
        });
    }
    match &scope.arguments {
        Arguments::Known(list) if !list.is_empty() => {
            error.help(format!("its arguments have names: args.{}", list[0].name))
        }
        _ if scope.numbered.is_empty() => {
            error.help("numbered arguments belong to kprobe, fentry, uprobe, usdt and rawtracepoint")
        }
        _ => error.help(format!("it has arg0 to arg{}", scope.numbered.len() - 1)),
    }
}

pub fn argument(name: &str, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    match &scope.arguments {
        Arguments::Known(list) => match list.iter().find(|argument| argument.name == name) {
            Some(argument) => Ok(argument.typed.clone()),
            None => {
                let error = Diagnostic::script(format!("`{}` has no argument `{name}`", scope.place))
                    .span(name)
                    .at(expr.position);
                Err(match nearest(name, list.iter().map(|argument| argument.name.as_str())) {
                    Some(near) => error.help(format!("did you mean `args.{near}`?")),
                    None => {
                        let names: Vec<&str> = list.iter().map(|argument| argument.name.as_str()).collect();
                        error.help(format!("it has {}", names.join(", ")))
                    }
                })
            }
        },
        Arguments::Unchecked => Ok(Typed::int(Int::Current(Current::Nsecs))),
        Arguments::None => Err(Diagnostic::script(format!("`{}` has no named arguments", scope.place))
            .at(expr.position)
            .help(match scope.numbered.is_empty() && scope.described.is_empty() {
                true => "skep list -v shows what a source has",
                false => "arg0, arg1, …",
            })),
    }
}
