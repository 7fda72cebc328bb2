//! Parameters: `param("name", #{ value: …, help: … })` in a script, `--name value` behind its name on the command line.

use super::host::{Fallible, Host, raise};
use super::intervals::COMMON;
use crate::diagnostic::{Diagnostic, nearest};
use rhai::{Dynamic, Engine, FLOAT, INT, ImmutableString, Map, NativeCallContext, Position};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What was given, and what the script asked for.
#[derive(Default)]
pub struct Params {
    given: BTreeMap<String, String>,
    asked: Vec<Param>,
}

/// A parameter as its script declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    pub preset: String,
    pub help: String,
}

impl Params {
    /// From the words behind the script's name: `--disk nvme0n1`, `--disk=nvme0n1`, `--all` (true).
    ///
    /// # Errors
    /// A word that is none of these.
    pub fn parse(words: &[String]) -> Result<Params, Diagnostic> {
        let mut given = BTreeMap::new();
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--").filter(|name| !name.is_empty()) else {
                return Err(Diagnostic::script(format!("`{word}` is no parameter"))
                    .help("parameters are given as --name value"));
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => match words.next_if(|next| !next.starts_with("--")) {
                    Some(value) => (name, value.clone()),
                    None => (name, "true".to_owned()),
                },
            };
            given.insert(name.replace('-', "_"), value);
        }
        Ok(Params { given, asked: Vec::new() })
    }

    /// Those that one script gives to another one.
    pub fn of(map: &Map) -> Params {
        let given = map.iter().map(|(name, value)| (name.replace('-', "_"), value.to_string())).collect();
        Params { given, asked: Vec::new() }
    }

    /// A parameter that a script gave to another one, which did not ask for it.
    pub fn unknown_of(&self, script: &str) -> Option<Diagnostic> {
        let names = || self.asked.iter().map(|param| param.name.as_str());
        let wrong = self.given.keys().find(|given| !names().any(|name| name == given.as_str()))?;
        let error = Diagnostic::script(format!("script `{script}` has no parameter `{wrong}`")).span(wrong);
        Some(match nearest(wrong, names()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None if self.asked.is_empty() => error.help("it has none"),
            None => error.help(format!("it has {}", names().collect::<Vec<_>>().join(", "))),
        })
    }

    /// What the script declared so far.
    pub fn asked(&self) -> &[Param] {
        &self.asked
    }

    /// What was given of an option that every script has, and that is no parameter of this one.
    pub fn common(&self, name: &str) -> Option<&str> {
        let own = self.asked.iter().any(|param| param.name == name);
        self.given.get(name).filter(|_| !own).map(String::as_str)
    }

    /// A given parameter that the script did not ask for.
    pub fn unknown(&self) -> Option<Diagnostic> {
        let names = || self.asked.iter().map(|param| param.name.as_str());
        let known = |given: &str| COMMON.contains(&given) || names().any(|name| name == given);
        let wrong = self.given.keys().find(|given| !known(given))?;
        let error = Diagnostic::script(format!("this script has no parameter `--{wrong}`"));
        Some(match nearest(wrong, names()) {
            Some(near) => error.help(format!("did you mean `--{near}`?")),
            None if self.asked.is_empty() => error.help("it has none"),
            None => {
                error.help(format!("it has {}", names().map(|name| format!("--{name}")).collect::<Vec<_>>().join(", ")))
            }
        })
    }

    fn ask(&mut self, name: &str, preset: &Dynamic, help: &str) -> Result<Dynamic, String> {
        let param = Param { name: name.to_owned(), preset: preset.to_string(), help: help.to_owned() };
        if !self.asked.contains(&param) {
            self.asked.push(param);
        }
        let Some(given) = self.given.get(name) else { return Ok(preset.clone()) };
        let wrong = |what: &str| format!("`--{name} {given}`: {what} is needed");
        match preset {
            preset if preset.is::<INT>() => {
                given.parse::<INT>().map(Dynamic::from).map_err(|_| wrong("a whole number"))
            }
            preset if preset.is::<FLOAT>() => given.parse::<FLOAT>().map(Dynamic::from).map_err(|_| wrong("a number")),
            preset if preset.is::<bool>() => match given.as_str() {
                "true" | "yes" | "1" => Ok(true.into()),
                "false" | "no" | "0" => Ok(false.into()),
                _ => Err(wrong("true or false")),
            },
            _ => Ok(given.clone().into()),
        }
    }
}

pub fn register(engine: &mut Engine, host: &Rc<Host>) {
    let ask = |host: &Host, name: &str, options: &Map, position: Position| -> Fallible<Dynamic> {
        if let Some(wrong) = options.keys().find(|key| !matches!(key.as_str(), "value" | "help")) {
            return raise(
                Diagnostic::script(format!("`param` has no option `{wrong}`")).help("#{ value: 10, help: \"…\" }"),
                position,
            );
        }
        let Some(preset) = options.get("value") else {
            let help = format!("param({name:?}, #{{ value: 10, help: \"what it does\" }})");
            return raise(Diagnostic::script(format!("parameter `{name}` has no default")).help(help), position);
        };
        let help = options.get("help").map(ToString::to_string).unwrap_or_default();
        let name = name.replace('-', "_");
        host.params
            .borrow_mut()
            .ask(&name, preset, &help)
            .or_else(|message| raise(Diagnostic::script(message), position))
    };
    let own = host.clone();
    engine.register_fn("param", move |context: NativeCallContext, name: ImmutableString, options: Map| {
        ask(&own, &name, &options, context.call_position())
    });
    let own = host.clone();
    engine.register_fn("param", move |context: NativeCallContext, name: ImmutableString, value: Dynamic| {
        ask(&own, &name, &Map::from([("value".into(), value)]), context.call_position())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_takes_the_type_of_its_default() {
        let words = ["--top", "5", "--all", "--disk=sda"].map(str::to_owned);
        let mut params = Params::parse(&words).unwrap();
        assert_eq!(params.ask("top", &Dynamic::from(10 as INT), "").unwrap().as_int(), Ok(5));
        assert_eq!(params.ask("all", &Dynamic::from(false), "").unwrap().as_bool(), Ok(true));
        assert_eq!(params.ask("disk", &Dynamic::from(""), "").unwrap().to_string(), "sda");
        assert!(params.ask("top", &Dynamic::from(true), "").unwrap_err().contains("true or false"));
        assert_eq!(params.unknown(), None);
    }

    #[test]
    fn common_option_is_the_scripts_where_it_has_one_of_that_name() {
        let mut params = Params::parse(&["--top".to_owned(), "5".to_owned()]).unwrap();
        assert_eq!((params.common("top"), params.unknown()), (Some("5"), None));
        assert_eq!(params.ask("top", &Dynamic::from(10 as INT), "").unwrap().as_int(), Ok(5));
        assert_eq!((params.common("top"), params.unknown()), (None, None));
    }

    #[test]
    fn unknown_parameter_names_the_nearest() {
        let mut params = Params::parse(&["--dsik".to_owned(), "sda".to_owned()]).unwrap();
        assert!(params.ask("disk", &Dynamic::from(""), "").is_ok());
        assert_eq!(params.unknown().unwrap().help.clone().unwrap(), "did you mean `--disk`?");
    }
}
