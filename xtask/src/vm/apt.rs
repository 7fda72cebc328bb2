//! Packages of any suite of Debian, through this machine's own apt: its mirror, proxy and keyring; signatures and hashes
//! are checked. apt's own state is read, never written.

use super::cache::{Cache, Scratch, create};
use super::tool;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An apt that knows one suite only.
pub struct Apt<'a> {
    cache: &'a Cache,
    suite: &'a str,
    options: Vec<String>,
    /// Lists of packages, some 10 MB; not kept.
    _lists: Scratch,
}

impl Apt<'_> {
    /// # Errors
    /// apt's: no such suite, no network, a bad signature.
    pub fn of<'a>(cache: &'a Cache, suite: &'a str) -> Result<Apt<'a>, String> {
        let scratch = cache.scratch()?;
        let folder = scratch.0.display().to_string();
        create(&scratch.0.join("lists/partial"))?;
        create(&scratch.0.join("archives/partial"))?;
        let sources = scratch.0.join("sources.list");
        let Archive { address, keyring } = Archive::of_this_machine()?;
        let signed = keyring.map(|keyring| format!("[signed-by={keyring}] ")).unwrap_or_default();
        fs::write(&sources, format!("deb {signed}{address} {suite} main\n"))
            .map_err(|error| format!("failed to write {}: {error}", sources.display()))?;
        let options = [
            format!("Dir::Etc::SourceList={}", sources.display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={folder}/lists"),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={folder}"),
            "APT::Architecture=amd64".to_owned(),
            // Our folders are not readable for apt's own user.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // Of the transport; a guest is never tried twice.
            "Acquire::Retries=3".to_owned(),
        ];
        let apt = Apt { cache, suite, options: options.into(), _lists: scratch };
        tool::run(&mut apt.command("apt-get", &["-qq", "-o", "APT::Update::Error-Mode=any", "update"]))
            .map_err(|said| format!("vm: the package lists of `{suite}` cannot be had: {said}"))?;
        Ok(apt)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(self.options.iter().flat_map(|option| ["-o", option])).args(arguments);
        command
    }

    /// A field of a package's description.
    pub fn field(&self, package: &str, field: &str) -> Result<String, String> {
        let shown = tool::output(&mut self.command("apt-cache", &["show", "--no-all-versions", package]))?;
        let shown = String::from_utf8_lossy(&shown).into_owned();
        let value = shown.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        value.map(str::to_owned).ok_or_else(|| format!("vm: `{package}` of `{}` has no field `{field}`", self.suite))
    }

    /// Fetches packages, or takes them from the cache, and unpacks them; `FILE SHA-256` of each.
    pub fn unpack(&self, packages: &[&str], into: &Path) -> Result<Vec<String>, String> {
        packages.iter().map(|package| self.unpack_one(package, into)).collect()
    }

    fn unpack_one(&self, package: &str, into: &Path) -> Result<String, String> {
        let wanted = self.field(package, "SHA256")?;
        let kept = self.cache.path("packages");
        create(&kept)?;
        // By its hash: a name with a version is no promise.
        let file = kept.join(format!("{package}.{}.deb", wanted.get(..16).unwrap_or(&wanted)));
        if sha256(&file).is_none_or(|found| found != wanted) {
            let fetched = self.download(package)?;
            fs::rename(fetched.0.join("package.deb"), &file)
                .map_err(|error| format!("failed to write {}: {error}", file.display()))?;
        }
        match sha256(&file) {
            Some(found) if found == wanted => {}
            _ => return Err(format!("vm: {} is not what `{}` describes", file.display(), self.suite)),
        }
        tool::run(Command::new("dpkg").arg("-x").arg(&file).arg(into))?;
        Ok(format!("{package} {} {wanted}", self.field(package, "Version")?))
    }

    fn download(&self, package: &str) -> Result<Scratch, String> {
        let scratch = self.cache.scratch()?;
        tool::run(self.command("apt-get", &["-qq", "download", package]).current_dir(&scratch.0))
            .map_err(|said| format!("vm: `{package}` of `{}` cannot be had: {said}", self.suite))?;
        let files: Vec<PathBuf> = fs::read_dir(&scratch.0).into_iter().flatten().flatten().map(|e| e.path()).collect();
        let [file] = files.as_slice() else {
            return Err(format!("vm: apt-get download of `{package}` gave {} files", files.len()));
        };
        fs::rename(file, scratch.0.join("package.deb"))
            .map_err(|error| format!("failed to rename a package: {error}"))?;
        Ok(scratch)
    }
}

fn sha256(file: &Path) -> Option<String> {
    let said = file.is_file().then(|| tool::output(Command::new("sha256sum").arg(file)).ok())??;
    Some(String::from_utf8_lossy(&said).split_whitespace().next()?.to_owned())
}

/// The plain Debian archive as apt knows it, not a third party's or security's.
pub struct Archive {
    pub address: String,
    /// The file that its signatures are checked with, where apt's own are not meant.
    pub keyring: Option<String>,
}

impl Archive {
    pub fn of_this_machine() -> Result<Archive, String> {
        let targets = ["indextargets", "--no-release-info", "Created-By: Packages"];
        let targets = tool::output(Command::new("apt-get").args(targets))?;
        for stanza in String::from_utf8_lossy(&targets).split("\n\n") {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let (Some(address), Some(entry)) = (field("Repo-URI"), field("Sourcesentry")) else { continue };
            if address.trim_end_matches('/').rsplit('/').next() != Some("debian") {
                continue;
            }
            let file = entry.rsplit_once(':').map_or(entry, |(file, _line)| file);
            let text = fs::read_to_string(file).map_err(|error| format!("failed to read {file}: {error}"))?;
            return Ok(Archive { address: address.to_owned(), keyring: keyring(&text).map(str::to_owned) });
        }
        Err("vm: apt knows no Debian archive (an address that ends in /debian)".to_owned())
    }
}

/// The first keyring that a file of sources names, in either of its two forms.
fn keyring(sources: &str) -> Option<&str> {
    let words = sources.split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | ','));
    let mut words = words.filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case("signed-by:") {
            return words.next().filter(|word| word.starts_with('/'));
        }
        if let Some(path) = word.strip_prefix("signed-by=") {
            return Some(path);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::keyring;

    #[test]
    fn keyring_is_found_in_both_forms_of_sources() {
        let lines = "deb [arch=amd64 signed-by=/k.gpg] http://archive.example/debian bookworm main";
        let fields = "Types: deb\nURIs: http://archive.example/debian\nSigned-By: /k.gpg\n";
        assert_eq!([lines, fields, "deb http://a b c"].map(keyring), [Some("/k.gpg"), Some("/k.gpg"), None]);
    }
}
