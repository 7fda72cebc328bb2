//! The report of a run as one document, Markdown or HTML: what was found, the worst first, with its evidence and the next
//! command; then what was printed, and how complete it is. Pure text.

use super::finding::{Finding, Level, one_line};
use super::units::{duration, escape};
use crate::diagnostic::Diagnostic;
use crate::kernel::load;
use crate::network::time::{Layout, Time};
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Markdown,
    Html,
}

/// A file that a report is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    path: PathBuf,
    form: Form,
}

impl Target {
    /// # Errors
    /// A name that ends neither in `.md` nor in `.html`; a file that cannot be written.
    pub fn new(path: &Path) -> Result<Target, Diagnostic> {
        let form = match path.extension().and_then(|end| end.to_str()) {
            Some("md") => Form::Markdown,
            Some("html") => Form::Html,
            _ => {
                let error = format!("`{}` is no name of a report: it is Markdown or HTML", path.display());
                return Err(Diagnostic::script(error).help("--report report.html, or --report report.md").nowhere());
            }
        };
        let target = Target { path: path.to_owned(), form };
        let tried = match fs::metadata(path) {
            Ok(_) => File::options().append(true).open(path).map(drop),
            Err(_) => File::create_new(path).and_then(|_| fs::remove_file(path)),
        };
        tried.map_err(|error| target.failed(&error))?;
        Ok(target)
    }

    /// # Errors
    /// No room, no right to.
    pub fn write(&self, document: &Document) -> Result<(), Diagnostic> {
        let text = match self.form {
            Form::Markdown => document.markdown(),
            Form::Html => document.html(),
        };
        fs::write(&self.path, text).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &std::io::Error) -> Diagnostic {
        let message = format!("failed to write `{}`: {}", self.path.display(), load::text(error));
        Diagnostic::machine(message).help("a folder that is there and yours: --report /tmp/report.html").nowhere()
    }
}

/// What a report says.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The script, as it was started.
    pub title: String,
    pub host: String,
    pub kernel: String,
    pub began: Time,
    pub took: Duration,
    pub findings: Vec<Finding>,
    /// Lines that the script printed.
    pub printed: Vec<String>,
    /// The trust line, if anything was measured.
    pub trust: Option<String>,
}

impl Document {
    fn facts(&self) -> [(&'static str, String); 4] {
        [
            ("host", one_line(&self.host)),
            ("kernel", one_line(&self.kernel)),
            ("began", self.began.text(Layout::Rfc3339)),
            ("took", duration(self.took.as_nanos() as i128)),
        ]
    }

    /// The worst first, those of a level in the order in which they were found.
    fn by_level(&self) -> impl Iterator<Item = &Finding> {
        Level::ALL.into_iter().rev().flat_map(|level| self.findings.iter().filter(move |one| one.level == level))
    }

    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n| | |\n|---|---|\n", literal(&self.title));
        for (name, fact) in self.facts() {
            out += &format!("| {name} | {} |\n", literal(&fact));
        }
        out += "\n## Findings\n";
        if self.findings.is_empty() {
            out += "\nNone.\n";
        }
        for finding in self.by_level() {
            out += &format!(
                "\n### {}: {}\n\nFound by {}.\n",
                finding.level.name(),
                literal(&finding.text),
                literal(&finding.script)
            );
            fenced(&mut out, &finding.lines());
            if let Some(next) = &finding.next {
                out += "\nNext:\n";
                fenced(&mut out, &[one_line(next)]);
            }
        }
        if !self.printed.is_empty() {
            out += "\n## What was printed\n";
            fenced(&mut out, &self.printed.iter().map(|line| escape(line).into_owned()).collect::<Vec<_>>());
        }
        if let Some(trust) = &self.trust {
            out += &format!("\n{}\n", literal(trust));
        }
        out
    }

    pub fn html(&self) -> String {
        let title = escaped(&self.title);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             </head>\n<body>\n<h1>{title}</h1>\n<dl>\n"
        );
        for (name, fact) in self.facts() {
            // A String takes whatever is written.
            let _infallible = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(&fact));
        }
        out += "</dl>\n<h2>Findings</h2>\n";
        if self.findings.is_empty() {
            out += "<p>None.</p>\n";
        }
        for finding in self.by_level() {
            let (level, text) = (finding.level.name(), escaped(&finding.text));
            out += &format!("<section class=\"{level}\">\n<h3><span>{level}</span> {text}</h3>\n");
            block(&mut out, "evidence", &finding.lines());
            if let Some(next) = &finding.next {
                out += &format!("<p>next: <code>{}</code></p>\n", escaped(next));
            }
            out += &format!("<p class=\"script\">found by {}</p>\n</section>\n", escaped(&finding.script));
        }
        if !self.printed.is_empty() {
            out += "<h2>What was printed</h2>\n";
            block(&mut out, "printed", &self.printed);
        }
        if let Some(trust) = &self.trust {
            out += &format!("<p class=\"trust\">{}</p>\n", escaped(trust));
        }
        out + "</body>\n</html>\n"
    }
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:32px auto;max-width:62rem;padding:0 16px;color:#222;background:#fff}\
dl{display:grid;grid-template-columns:max-content auto;gap:2px 16px}dt{color:#666}dd{margin:0}\
section{border-left:4px solid #888;padding:1px 16px;margin:16px 0;background:#f6f6f6}\
section.critical{border-color:#b00020}section.warn{border-color:#c77700}section.info{border-color:#2e7d32}\
h3{font-size:1rem}h3 span{text-transform:uppercase;font-size:.75rem;letter-spacing:.05em;margin-right:.5em}\
.critical h3 span{color:#b00020}.warn h3 span{color:#9a5b00}.info h3 span{color:#2e7d32}\
pre,code{font:13px/1.4 ui-monospace,monospace}pre{overflow-x:auto}.script,.trust{color:#666;font-size:.85rem}\
@media (prefers-color-scheme:dark){body{color:#ddd;background:#181818}section{background:#222}dt,.script,.trust{color:#999}\
.critical h3 span{color:#ff6b7f}.warn h3 span{color:#ffb74d}.info h3 span{color:#81c784}}";

/// A text that Markdown takes as it stands.
fn literal(text: &str) -> String {
    let mut out = String::new();
    for c in one_line(text).chars() {
        if "\\`*_[]<>|#&~".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Lines between fences that none of them can end.
fn fenced(out: &mut String, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let ticks = |line: &String| line.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(lines.iter().map(ticks).max().unwrap_or(0).max(2) + 1);
    *out += &format!("\n{fence}text\n{}\n{fence}\n", lines.join("\n"));
}

fn block(out: &mut String, class: &str, lines: &[String]) {
    if !lines.is_empty() {
        let lines: Vec<String> = lines.iter().map(|line| entities(&escape(line))).collect();
        *out += &format!("<pre class=\"{class}\">{}</pre>\n", lines.join("\n"));
    }
}

fn escaped(text: &str) -> String {
    entities(&one_line(text))
}

fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::finding::Evidence;

    fn finding(level: Level, text: &str, evidence: &str) -> Finding {
        Finding {
            level,
            text: text.into(),
            script: "slow-disk".into(),
            evidence: Evidence { text: evidence.into(), ..Evidence::default() },
            next: Some("sudo skep run biolatency --disk 'vda'".into()),
        }
    }

    fn document(findings: Vec<Finding>) -> Document {
        Document {
            title: "slow-node".into(),
            host: "web-7".into(),
            kernel: "6.12.1".into(),
            began: Time(1_763_756_299 * 1_000_000_000),
            took: Duration::from_millis(11_300),
            findings,
            printed: vec!["usecs:".into(), "[64, 128)  23 |@@@|".into()],
            trust: Some("trust: 23 seen, 0 lost".into()),
        }
    }

    #[test]
    fn worst_finding_comes_first_with_its_evidence_and_next_command() {
        let both = vec![finding(Level::Warn, "disk is slow", "vda  63 ms"), finding(Level::Critical, "no memory", "")];
        let text = document(both).markdown();
        let expected = "# slow-node\n\n| | |\n|---|---|\n| host | web-7 |\n| kernel | 6.12.1 |\n\
            | began | 2025-11-21T20:18:19Z |\n| took | 11.3s |\n\n## Findings\n\n### critical: no memory\n\n\
            Found by slow-disk.\n\nNext:\n\n```text\nsudo skep run biolatency --disk 'vda'\n```\n\n\
            ### warn: disk is slow\n\nFound by slow-disk.\n\n```text\nvda  63 ms\n```\n\nNext:\n\n```text\n\
            sudo skep run biolatency --disk 'vda'\n```\n\n## What was printed\n\n```text\nusecs:\n[64, 128)  23 |@@@|\n```\n\n\
            trust: 23 seen, 0 lost\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn hostile_text_is_text_in_both_forms() {
        let evil = "<script>alert(1)</script> `x` & \x1b[2J\n# forged";
        let document = document(vec![finding(Level::Warn, evil, "</pre><b>\n```\n````\nrest")]);
        let html = document.html();
        assert!(!html.contains("<script>") && !html.contains("<b>") && !html.contains('\x1b'), "{html}");
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; `x` &amp;"), "{html}");
        let markdown = document.markdown();
        assert!(!markdown.contains("<script>") && !markdown.contains("\n# forged"), "{markdown}");
        assert!(markdown.contains("\n`````text\n</pre><b>\n```\n````\nrest\n`````\n"), "{markdown}");
    }

    #[test]
    fn name_says_the_form_and_others_are_refused() {
        let error = Target::new(Path::new("report.pdf")).unwrap_err();
        assert!(error.message.contains("`report.pdf`") && error.help.is_some());
        assert!(Target::new(Path::new("/nonexistent/skep.md")).unwrap_err().message.starts_with("failed to write"));
    }
}
