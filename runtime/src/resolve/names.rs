//! Names: builtins, arguments, a template's fields; with what to say where there is none.

use super::scope::{Arguments, BUILTINS, COMM_SIZE, Scope, Typed};
use crate::aggregate::column::Show;
use crate::diagnostic::{Diagnostic, nearest};
use crate::expr::Expr;
use crate::slot::ir::{Current, Int, Text};

pub fn by_name(name: &str, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    if let Some(field) = scope.fields.iter().find(|field| field.name == name) {
        return Ok(field.typed.clone());
    }
    let current = |current| Int::Current(current);
    let numbered = || name.strip_prefix("arg").and_then(|digits| digits.parse::<usize>().ok());
    Ok(match name {
        "pid" => Typed::int(current(scope.namespace.map_or(Current::Pid, Current::PidIn))),
        "tid" => Typed::int(current(scope.namespace.map_or(Current::Tid, Current::TidIn))),
        "uid" => Typed::int(current(Current::Uid)),
        "gid" => Typed::int(current(Current::Gid)),
        "cpu" => Typed::int(current(Current::Cpu)),
        "nsecs" => Typed::int(current(Current::Nsecs)),
        "cgroup" => Typed::shown(current(Current::Cgroup), Show::Cgroup),
        "probe" => Typed::shown(scope.probe.clone(), Show::Probe),
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

fn no_numbered_argument(name: &str, expr: &Expr, scope: &Scope) -> Diagnostic {
    let error = Diagnostic::script(format!("`{}` has no `{name}`", scope.place)).at(expr.position);
    if let Some(rest) = scope.place.strip_prefix("uretprobe:") {
        return error.help(format!("arguments are gone when a function returns: probe its entry, uprobe:{rest}"));
    }
    if let Some(function) = scope.place.strip_prefix("kretprobe:") {
        return error.help(format!("arguments are gone when a function returns; fexit:{function} keeps them"));
    }
    match &scope.arguments {
        Arguments::Known(list) if !list.is_empty() => {
            error.help(format!("its arguments have names: args.{}", list[0].name))
        }
        _ if scope.numbered.is_empty() => {
            error.help("numbered arguments belong to kprobe, fentry, uprobe and rawtracepoint")
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
            .help(if scope.numbered.is_empty() { "skep list -v shows what a source has" } else { "arg0, arg1, …" })),
    }
}
