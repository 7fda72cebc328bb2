//! `skep completion`: scripts for shells, made from the command line's own definition. What the library has is asked of
//! the binary each time: `skep completion -- WORDS` prints how the last of these words may go on.

use crate::args::{Cli, Source, command};
use crate::list::put;
use crate::plan::planned;
use crate::run::{library, open};
use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

/// What is to be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The script for a shell.
    Script(Shell),
    /// Words behind `skep`, the last of which is being typed.
    Behind(Vec<String>),
}

const EXAMPLES: &str = "\
Examples:
  source <(skep completion bash)                                     in ~/.bashrc
  source <(skep completion zsh)                                      in ~/.zshrc, behind compinit
  skep completion fish > ~/.config/fish/completions/skep.fish";

/// Names of the library are found by the words so far; what clap knows by itself stays, unless a script is asked for.
const BASH: &str = r#"
_skep_library() {
    local found
    _skep "$@"
    mapfile -t found < <("${COMP_WORDS[0]}" completion -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ ${#found[@]} -gt 0 ]]; then
        [[ $2 == -* ]] || COMPREPLY=()
        COMPREPLY+=("${found[@]}")
    fi
}
complete -F _skep_library -o bashdefault -o default skep
"#;

/// Ours goes first: clap's function changes the words.
const ZSH: &str = r#"
_skep_library() {
    local -a found
    found=(${(f)"$($words[1] completion -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    (( $#found )) && compadd -- $found
    _skep "$@"
}
compdef _skep_library skep
if [ "$funcstack[1]" = "_skep" ]; then
    _skep_library "$@"
fi
"#;

const FISH: &str = r#"
function __skep_library
    set -l before (commandline -opc)
    set -l typed (commandline -ct)
    command $before[1] completion -- $before[2..-1] "$typed" 2>/dev/null
end
complete -c skep -a '(__skep_library)'
"#;

pub fn completion() -> Command {
    Command::new("completion")
        .about("Print a shell's completion, which knows the library's scripts and their parameters")
        .after_help(EXAMPLES)
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required_unless_present("behind")
                // Those that we have something to say to about the library.
                .value_parser(["bash", "zsh", "fish"]),
        )
        .arg(Arg::new("behind").num_args(0..).last(true).hide(true).value_parser(value_parser!(String)))
}

impl Wish {
    pub fn of(matches: &ArgMatches) -> Wish {
        match matches.get_one::<String>("shell").and_then(|name| name.parse().ok()) {
            Some(shell) => Wish::Script(shell),
            None => Wish::Behind(matches.get_many("behind").into_iter().flatten().cloned().collect()),
        }
    }
}

pub fn complete(cli: &Cli, wish: &Wish) -> u8 {
    match wish {
        Wish::Script(shell) => put(&script(*shell)),
        Wish::Behind(words) => {
            put(&candidates(cli, words).into_iter().map(|word| format!("{word}\n")).collect::<String>())
        }
    }
}

/// What clap writes for a shell, and ours behind it.
fn script(shell: Shell) -> String {
    let mut written = Vec::new();
    clap_complete::generate(shell, &mut command(), "skep", &mut written);
    let text = String::from_utf8_lossy(&written);
    match shell {
        Shell::Bash => format!("{text}{BASH}"),
        // Its end says which function completes: ours.
        Shell::Zsh => format!("{}{ZSH}", text.split_once("\nif [ \"$funcstack").map_or(&*text, |(front, _)| front)),
        _ => format!("{text}{FISH}"),
    }
}

/// What the last word is one of, as far as the line in front of it says.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Script,
    /// Of the script of this name.
    Parameter(String),
    /// clap's completion knows what belongs here.
    Other,
}

fn place(before: &[String]) -> Place {
    let mut whole = command();
    whole.build();
    let (mut command, mut given): (&Command, Vec<&String>) = (&whole, Vec::new());
    let mut before = before.iter().peekable();
    while let Some(word) = before.next() {
        if word.starts_with('-') {
            let takes = |arg: &&Arg| {
                let long = word.strip_prefix("--").is_some_and(|long| arg.get_long() == Some(long));
                let short = word
                    .strip_prefix('-')
                    .is_some_and(|short| arg.get_short().map(String::from).as_deref() == Some(short));
                (long || short) && arg.get_action().takes_values()
            };
            if command.get_arguments().any(|arg| takes(&arg)) {
                before.next_if(|value| !value.starts_with('-'));
            }
        } else if let (Some(inner), true) = (command.find_subcommand(word), given.is_empty()) {
            command = inner;
        } else {
            given.push(word);
        }
    }
    let positionals: Vec<&Arg> = command.get_positionals().collect();
    let is_script = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        ["script", "scripts"].contains(&id) || id == "name" && ["doc", "info"].contains(&command.get_name())
    };
    let Some(script) = positionals.iter().position(is_script) else { return Place::Other };
    match given.get(script) {
        Some(name) if script + 1 < positionals.len() => Place::Parameter((*name).clone()),
        // `lib check` takes any number of them.
        _ if given.len() == script || positionals[script].get_id() == "scripts" => Place::Script,
        _ => Place::Other,
    }
}

/// Names with their area where one is typed; of parameters those that are not given yet. A script that cannot be planned
/// here shows none.
fn candidates(cli: &Cli, words: &[String]) -> Vec<String> {
    let Some((typed, before)) = words.split_last() else { return Vec::new() };
    let mut found: Vec<String> = match place(before) {
        Place::Script => {
            let names = library().all().into_iter().map(|script| script.name);
            let short = |name: String| name.rsplit('/').next().unwrap_or_default().to_owned();
            names.map(|name| if typed.contains('/') { name } else { short(name) }).collect()
        }
        Place::Parameter(name) => {
            let planned = open(&Source::Named(name)).and_then(|script| planned(cli, &script, &[]));
            let params = planned.map(|planned| planned.params).unwrap_or_default();
            params.iter().map(|param| format!("--{}", param.name)).filter(|name| !before.contains(name)).collect()
        }
        Place::Other => Vec::new(),
    };
    found.retain(|name| name.starts_with(typed));
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Place {
        place(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn scripts_are_asked_for_behind_the_commands_that_take_one() {
        for line in [
            "run",
            "plan",
            "doc",
            "-q run -p 7",
            "record -o a.skep",
            "lib info",
            "lib check syscount",
            "baseline save api",
        ] {
            assert_eq!(at(line), Place::Script, "{line}");
        }
        for line in ["", "list", "lib new", "lib list", "baseline save", "doc syscount", "-e exit()"] {
            assert_eq!(at(line), Place::Other, "{line}");
        }
    }

    #[test]
    fn parameters_are_those_of_the_script_that_was_named() {
        for line in ["run biolatency", "run --for 5s biolatency --disk vda", "record -o a.skep biolatency"] {
            assert_eq!(at(line), Place::Parameter("biolatency".into()), "{line}");
        }
    }
}
