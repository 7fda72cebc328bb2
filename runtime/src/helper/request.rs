//! A request, as one line of JSON: a script, its words, and options by name. What is not known is refused: a word that
//! this helper does not know may be one that a newer one would hold against the permit. Pure text; no privilege.

use crate::diagnostic::Diagnostic;
use serde_json::{Map, Value, json};

/// Bytes of a request, its end of line included.
pub const LONGEST: u64 = 256 << 10;
/// Of a script's name, as errors show it.
const LONGEST_NAME: usize = 128;
const MOST_WORDS: usize = 256;

/// Options of the command line that go through, and whether they take a value. Files, commands, other templates and
/// other machines do not.
pub const OPTIONS: [(&str, bool); 21] = [
    ("pid", true),
    ("follow-forks", false),
    ("comm", true),
    ("cgroup", true),
    ("for", true),
    ("ttl", true),
    ("max-overhead", true),
    ("max-probes", true),
    ("max-memory", true),
    ("max-events", true),
    ("ring", true),
    ("format", true),
    ("unwind", true),
    ("interval", true),
    ("count", true),
    ("top", true),
    ("yes", false),
    ("strict", false),
    ("quiet", false),
    ("inlines", false),
    ("enforce", false),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub script: Asked,
    /// Parameters of the script.
    pub words: Vec<String>,
    /// Name and value; empty where it takes none.
    pub options: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// One of the library, by name.
    Library(String),
    Text {
        called: String,
        text: String,
    },
}

impl Request {
    pub fn written(&self) -> Value {
        let script = match &self.script {
            Asked::Library(name) => json!({ "library": name }),
            Asked::Text { called, text } => json!({ "called": called, "text": text }),
        };
        let options: Map<String, Value> =
            self.options.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        json!({ "v": 1, "script": script, "words": self.words, "options": options })
    }

    /// An option as a word of the command line.
    pub fn word(name: &str, value: &str) -> String {
        let takes = OPTIONS.iter().any(|(known, takes)| *known == name && *takes);
        if takes { format!("--{name}={value}") } else { format!("--{name}") }
    }

    /// # Errors
    /// A script diagnostic: it is no request.
    pub fn read(line: &str) -> Result<Request, Diagnostic> {
        let value: Value = serde_json::from_str(line).map_err(|_| wrong("it is no JSON"))?;
        let object = fields(&value, &["v", "script", "words", "options"])?;
        if object.get("v") != Some(&json!(1)) {
            return Err(wrong("its version is not 1"));
        }
        let script = object.get("script").ok_or_else(|| wrong("it has no script"))?;
        let script = match script.get("library") {
            Some(name) => {
                fields(script, &["library"])?;
                Asked::Library(text(name, LONGEST_NAME)?)
            }
            None => {
                let script = fields(script, &["called", "text"])?;
                let of = |name: &str| script.get(name).ok_or_else(|| wrong(&format!("its script has no `{name}`")));
                Asked::Text { called: text(of("called")?, LONGEST_NAME)?, text: text(of("text")?, LONGEST as usize)? }
            }
        };
        let words = match object.get("words") {
            None => Vec::new(),
            Some(Value::Array(words)) if words.len() <= MOST_WORDS => {
                words.iter().map(|word| text(word, LONGEST as usize)).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(wrong("its `words` are no list of texts, or too many")),
        };
        let mut options = Vec::new();
        if let Some(given) = object.get("options") {
            for (name, value) in fields(given, &OPTIONS.map(|(name, _)| name))? {
                options.push((name.clone(), text(value, LONGEST_NAME)?));
            }
        }
        Ok(Request { script, words, options })
    }
}

/// The members of an object that has no others than these.
fn fields<'a>(value: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, Diagnostic> {
    let object = value.as_object().ok_or_else(|| wrong("it is no object"))?;
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(wrong(&format!("`{}` is not for the helper", crate::report::units::escape(name)))),
        None => Ok(object),
    }
}

fn text(value: &Value, longest: usize) -> Result<String, Diagnostic> {
    let text = value.as_str().ok_or_else(|| wrong("a value is no text"))?;
    match text.len() <= longest && !text.contains('\0') {
        true => Ok(text.to_owned()),
        false => Err(wrong("a text is too long, or has a NUL in it")),
    }
}

fn wrong(why: &str) -> Diagnostic {
    Diagnostic::script(format!("the helper cannot serve this request: {why}")).nowhere()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        for script in [Asked::Library("opensnoop".into()), Asked::Text { called: "-e".into(), text: "1".into() }] {
            let options = vec![("pid".to_owned(), "7".to_owned()), ("strict".to_owned(), String::new())];
            let request = Request { script, words: vec!["--disk".into(), "a\nb".into()], options };
            assert_eq!(Request::read(&request.written().to_string()), Ok(request));
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let script = r#""script":{"library":"x"}"#;
        for line in [
            "",
            "[]",
            "7",
            "{}",
            r#"{"v":2,"script":{"library":"x"}}"#,
            &format!(r#"{{"v":1,{script},"uid":0}}"#),
            &format!(r#"{{"v":1,{script},"options":{{"output":"/etc/x"}}}}"#),
            &format!(r#"{{"v":1,{script},"options":{{"pid":7}}}}"#),
            &format!(r#"{{"v":1,{script},"words":[7]}}"#),
            r#"{"v":1,"script":{"library":"x","text":"y"}}"#,
            r#"{"v":1,"script":{"text":"y"}}"#,
            r#"{"v":1,"script":"x"}"#,
            r#"{"v":1,"script":{"library":"x"}} {}"#,
            &format!(r#"{{"v":1,"script":{{"library":"{}"}}}}"#, "x".repeat(129)),
        ] {
            assert!(Request::read(line).is_err(), "{line}");
        }
    }
}
