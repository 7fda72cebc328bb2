//! The file of permits: TOML, read strictly. A word that it does not know might be a restriction that somebody relies on.

use super::{Permit, Who};
use crate::budget::{Allowance, Budget};
use crate::diagnostic::{Diagnostic, Position, nearest};
use crate::kernel::load;
use crate::report::units;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a permit may say.
const WORDS: [&str; 14] = [
    "users",
    "groups",
    "scripts",
    "own_scripts",
    "templates",
    "attach_points",
    "max_overhead",
    "max_time",
    "max_memory",
    "max_probes",
    "runs",
    "enforcement",
    "own_processes",
    "kernel_memory",
];
/// Nobody writes more by hand.
const LONGEST: u64 = 1 << 20;

/// The text of a file that only root can have written.
///
/// # Errors
/// A machine diagnostic: it is missing, is a link, or somebody else may write it.
pub fn read(path: &Path) -> Result<String, Diagnostic> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        Diagnostic::machine(format!("failed to read `{shown}`: {}", load::text(&error)))
            .help("docs/privileges.md has one to begin with")
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let of_root = |what: &Path, found: &std::fs::Metadata| match found.uid() == 0 && found.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(Diagnostic::machine(format!("`{}` may be written by others than root", what.display()))
            .help(format!("sudo chown root: {0}; sudo chmod go-w {0}", what.display()))),
    };
    of_root(folder, &folder.metadata().map_err(failed)?)?;
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = file.map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || found.len() > LONGEST {
        return Err(Diagnostic::machine(format!("`{shown}` is no file of permits")));
    }
    of_root(path, &found)?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// The permits of a text, in its order.
///
/// # Errors
/// A script diagnostic at what is no TOML, an unknown word, or a value of another kind.
pub fn parse(text: &str) -> Result<Vec<Permit>, Diagnostic> {
    let reader = Reader { text };
    let whole = DeTable::parse(text).map_err(|error| {
        let error_at = error.span().unwrap_or(0..0);
        Diagnostic::script(format!("this is no TOML: {}", error.message().to_lowercase())).at(reader.place(&error_at))
    })?;
    let mut permits = Vec::new();
    for (word, value) in whole.get_ref() {
        if word.get_ref() != "permit" {
            return Err(reader.unknown(word.get_ref(), &word.span(), &["permit"]));
        }
        let list = value.get_ref().as_array().ok_or_else(|| reader.no(value, "`[[permit]]`"))?;
        for one in list.iter() {
            permits.push(reader.permit(one)?);
        }
    }
    Ok(permits)
}

struct Reader<'a> {
    text: &'a str,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl Reader<'_> {
    fn permit(&self, whole: &Value<'_>) -> Result<Permit, Diagnostic> {
        let table = whole.get_ref().as_table().ok_or_else(|| self.no(whole, "`[[permit]]`"))?;
        let mut permit = Permit {
            line: self.place(&whole.span()).map_or(1, |place| place.line),
            users: Vec::new(),
            groups: Vec::new(),
            scripts: Vec::new(),
            own_scripts: false,
            templates: Vec::new(),
            attach_points: Vec::new(),
            max_overhead: Budget::percent(5.0),
            max_time: Duration::from_secs(600),
            max_memory: 64 << 20,
            max_probes: 64,
            runs: 2,
            enforcement: false,
            own_processes: true,
            kernel_memory: false,
        };
        for (word, value) in table {
            match word.get_ref().as_ref() {
                "users" => permit.users = self.people(value)?,
                "groups" => permit.groups = self.people(value)?,
                "scripts" => permit.scripts = self.texts(value)?,
                "own_scripts" => permit.own_scripts = self.truth(value)?,
                "templates" => permit.templates = self.texts(value)?,
                "attach_points" => permit.attach_points = self.texts(value)?,
                "max_overhead" => permit.max_overhead = self.share(value)?,
                "max_time" => permit.max_time = self.time(value)?,
                "max_memory" => permit.max_memory = self.size(value)?,
                "max_probes" => permit.max_probes = self.number(value)?,
                "runs" => permit.runs = self.number(value)?,
                "enforcement" => permit.enforcement = self.truth(value)?,
                "own_processes" => permit.own_processes = self.truth(value)?,
                "kernel_memory" => permit.kernel_memory = self.truth(value)?,
                other => return Err(self.unknown(other, &word.span(), &WORDS)),
            }
        }
        if permit.users.is_empty() && permit.groups.is_empty() {
            return Err(Diagnostic::script("this permit names nobody")
                .at(self.place(&whole.span()))
                .help("users = [\"alice\"], or groups = [\"tracing\"]"));
        }
        Ok(permit)
    }

    fn people(&self, value: &Value<'_>) -> Result<Vec<Who>, Diagnostic> {
        let one = |value: &Value<'_>| match value.get_ref() {
            DeValue::String(name) if name == "*" => Ok(Who::Everybody),
            DeValue::String(name) if !name.is_empty() => Ok(Who::Name(name.to_string())),
            DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix())
                .map(Who::Number)
                .map_err(|_| self.no(value, "a number of a user or group")),
            _ => Err(self.no(value, "a name or a number")),
        };
        self.list(value)?.iter().map(one).collect()
    }

    fn texts(&self, value: &Value<'_>) -> Result<Vec<String>, Diagnostic> {
        let one = |value: &Value<'_>| match value.get_ref() {
            DeValue::String(text) if !text.is_empty() => Ok(text.to_string()),
            _ => Err(self.no(value, "a text")),
        };
        self.list(value)?.iter().map(one).collect()
    }

    fn list<'v, 'i>(&self, value: &'v Value<'i>) -> Result<&'v toml::de::DeArray<'i>, Diagnostic> {
        value.get_ref().as_array().ok_or_else(|| self.no(value, "a list, such as [\"…\"]"))
    }

    fn truth(&self, value: &Value<'_>) -> Result<bool, Diagnostic> {
        value.get_ref().as_bool().ok_or_else(|| self.no(value, "true or false"))
    }

    fn number(&self, value: &Value<'_>) -> Result<usize, Diagnostic> {
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
        number.filter(|number| *number > 0).ok_or_else(|| self.no(value, "a number above zero"))
    }

    fn share(&self, value: &Value<'_>) -> Result<Budget, Diagnostic> {
        match value.get_ref().as_str().map(Allowance::parse) {
            Some(Ok(Allowance::Is(budget))) => Ok(budget),
            _ => Err(self.no(value, "a share of a processor, such as \"5%\"")),
        }
    }

    fn time(&self, value: &Value<'_>) -> Result<Duration, Diagnostic> {
        let nanos = value.get_ref().as_str().and_then(units::parse_duration);
        nanos.map(Duration::from_nanos).ok_or_else(|| self.no(value, "a time, such as \"10m\""))
    }

    fn size(&self, value: &Value<'_>) -> Result<u64, Diagnostic> {
        let size = value.get_ref().as_str().and_then(units::parse_bytes);
        size.ok_or_else(|| self.no(value, "a size, such as \"64M\""))
    }

    fn no(&self, value: &Value<'_>, wanted: &str) -> Diagnostic {
        let span = value.span();
        let written = self.text.get(span.clone()).unwrap_or_default().lines().next().unwrap_or_default();
        Diagnostic::script(format!("`{written}` is not {wanted}")).at(self.place(&span)).span(written)
    }

    fn unknown(&self, word: &str, span: &Range<usize>, known: &[&'static str]) -> Diagnostic {
        let error = Diagnostic::script(format!("a permit has no `{word}`")).at(self.place(span)).span(word);
        match nearest(word, known.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("it has {}", known.join(", "))),
        }
    }

    fn place(&self, span: &Range<usize>) -> Option<Position> {
        let before = self.text.get(..span.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some(Position::new(line, column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).expect_err("it is wrong").render("policy.toml", text)
    }

    #[test]
    fn what_is_not_said_is_as_little_as_can_be() {
        let permit = &parse("# nobody else\n[[permit]]\nusers = [\"alice\", 1000]").unwrap()[0];
        assert_eq!((permit.line, permit.users.len()), (2, 2));
        assert!(permit.scripts.is_empty() && permit.attach_points.is_empty() && permit.templates.is_empty());
        assert!(!permit.own_scripts && !permit.enforcement && !permit.kernel_memory && permit.own_processes);
    }

    #[test]
    fn unknown_words_are_errors_at_their_place() {
        assert_eq!(
            error("[[permit]]\nusers = [1000]\nattach_point = [\"*\"]\n"),
            "error: a permit has no `attach_point`\n --> policy.toml:3:1\n  |\n3 | attach_point = [\"*\"]\n  \
             | ^^^^^^^^^^^^\n  = help: did you mean `attach_points`?\n"
        );
        assert!(error("permits = 3").contains("a permit has no `permits`"));
    }

    #[test]
    fn values_of_another_kind_are_errors() {
        let with = |line: &str| error(&format!("[[permit]]\nusers = [1000]\n{line}\n"));
        for line in [
            "scripts = \"opensnoop\"",
            "own_scripts = \"yes\"",
            "max_overhead = \"off\"",
            "max_time = 10",
            "max_memory = \"much\"",
            "max_probes = 0",
            "groups = [-1]",
            "runs = 1.5",
        ] {
            let error = with(line);
            assert!(error.contains("is not") && error.contains("--> policy.toml:3:"), "{line}: {error}");
        }
        assert!(with("users = [").contains("this is no TOML"));
        assert!(error("[[permit]]\nruns = 1").contains("names nobody"));
    }

    #[test]
    fn file_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("skep-permit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("policy.toml");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.message.contains("may be written by others than root"), "{error}");
        assert!(read(&folder.join("none.toml")).unwrap_err().message.contains("no such file"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
