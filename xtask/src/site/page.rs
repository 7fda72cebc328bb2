//! HTML of a page: its frame, a script, the index.

use super::markdown::Document;
use super::page_of;
use super::scripts::Script;

const STYLE: &str = "\
body{max-width:60em;margin:2em auto;padding:0 1em;font:16px/1.5 sans-serif;color:#222;background:#fff}\
pre{overflow-x:auto;padding:.7em;background:#f4f3ee;line-height:1.35}code,pre{font-family:monospace;font-size:14px}\
table{border-collapse:collapse}td,th{padding:.2em .7em .2em 0;text-align:left;vertical-align:top;border-bottom:1px solid #ddd}\
a{color:#8a5a00}";

/// Text as HTML shows it.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A whole page, which leads back to the index from where `file` lies.
pub fn page(file: &str, title: &str, body: &str) -> String {
    let index = format!("{}index.html", "../".repeat(file.matches('/').count()));
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<nav><a href=\"{index}\">skep</a></nav>\n{body}</body>\n</html>\n"
    )
}

/// The header, with its transcript, the parameters and the source.
pub fn script(script: &Script, source: &str) -> String {
    let mut body = format!("<h1>{}</h1>\n<p>{}</p>\n", escaped(&script.name), escaped(&script.answers));
    for (word, part) in &script.parts {
        body += &format!("<h2>{}</h2>\n<pre>{}</pre>\n", escaped(word), escaped(part));
    }
    if !script.parameters.is_empty() {
        body += "<h2>parameters</h2>\n<table>\n";
        for one in &script.parameters {
            let (name, preset, help) = (escaped(&one.name), escaped(&one.preset), escaped(&one.help));
            body += &format!("<tr><td><code>--{name}</code></td><td><code>{preset}</code></td><td>{help}</td></tr>\n");
        }
        body += "</table>\n";
    }
    // The header is above.
    let code: Vec<&str> = source.lines().skip_while(|line| line.starts_with("//!") || line.trim().is_empty()).collect();
    body + &format!("<h2>source</h2>\n<pre>{}</pre>\n", escaped(&code.join("\n")))
}

/// Documents, then areas with their scripts.
pub fn index(documents: &[Document], scripts: &[Script]) -> String {
    let mut body = String::from("<h1>skep</h1>\n<ul>\n");
    for document in documents {
        let (page, title) = (escaped(&page_of(&document.name)), escaped(&document.title()));
        body += &format!("<li><a href=\"{page}\">{title}</a></li>\n");
    }
    body += "</ul>\n";
    for area in scripts.chunk_by(|one, other| one.area() == other.area()) {
        body += &format!("<h2>{}</h2>\n<table>\n", escaped(area[0].area()));
        for script in area {
            let (page, answers) = (escaped(&page_of(&script.file())), escaped(&script.answers));
            let name = escaped(script.name.rsplit('/').next().unwrap_or_default());
            body += &format!("<tr><td><a href=\"{page}\">{name}</a></td><td>{answers}</td></tr>\n");
        }
        body += "</table>\n";
    }
    body
}
