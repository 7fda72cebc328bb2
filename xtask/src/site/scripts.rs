//! What the binary says of the library's scripts.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// One script of the library.
pub struct Script {
    /// `disk/biolatency`
    pub name: String,
    pub answers: String,
    /// Parts of its header by their word.
    pub parts: Vec<(String, String)>,
    pub parameters: Vec<Parameter>,
}

pub struct Parameter {
    pub name: String,
    pub preset: String,
    pub help: String,
}

impl Script {
    pub fn file(&self) -> String {
        format!("scripts/{}.rhai", self.name)
    }

    pub fn area(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

/// All of them, by area and name.
///
/// # Errors
/// skep cannot be built, or says something else than expected.
pub fn all(root: &Path) -> Result<Vec<Script>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--locked", "-p", "skep", "--message-format", "json"]).current_dir(root);
    let binary = output(&mut build)?.lines().find_map(executable).ok_or("cargo built no `skep`")?;
    let skep = |words: &[&str]| {
        let mut skep = Command::new(&binary);
        // Nobody's own scripts; the machine that plans are tested on, so that it is the same wherever it is made.
        skep.args(["--format", "json", "--machine", "tests/fixtures/machine"]).args(words).current_dir(root);
        let empty = root.join("tests/fixtures/machine");
        output(skep.env_remove("SKEP_PATH").env("XDG_CONFIG_HOME", empty))
    };
    let listed = skep(&["lib", "list"])?;
    listed.lines().map(|line| script(&skep(&["lib", "info", &text(&parsed(line)?["name"])])?)).collect()
}

/// What a command prints.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("failed to start {command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// The binary that a message of cargo's is about.
fn executable(line: &str) -> Option<String> {
    let message: Value = serde_json::from_str(line).ok()?;
    (message["target"]["name"] == "skep").then(|| message["executable"].as_str().map(str::to_owned)).flatten()
}

fn parsed(line: &str) -> Result<Value, String> {
    serde_json::from_str(line).map_err(|error| format!("skep says `{line}`: {error}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A script from what `skep lib info` says.
fn script(line: &str) -> Result<Script, String> {
    let said = parsed(line)?;
    let parts = said["parts"].as_object().into_iter().flatten();
    let parameter =
        |one: &Value| Parameter { name: text(&one["name"]), preset: text(&one["preset"]), help: text(&one["help"]) };
    Ok(Script {
        name: text(&said["name"]),
        answers: text(&said["answers"]),
        parts: parts.filter(|(_, part)| part.is_string()).map(|(word, part)| (word.clone(), text(part))).collect(),
        parameters: said["parameters"].as_array().into_iter().flatten().map(parameter).collect(),
    })
}
