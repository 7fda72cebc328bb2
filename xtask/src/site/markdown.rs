//! Documents as HTML: headings that can be led to, links from page to page.

use super::page_of;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use std::path::Path;

/// A file of markdown, by its place in the repository.
pub struct Document {
    pub name: String,
    pub text: String,
}

impl Document {
    /// Its first heading.
    pub fn title(&self) -> String {
        let mut events =
            events(&self.text).skip_while(|event| !matches!(event, Event::Start(Tag::Heading { .. }))).skip(1);
        plain(&mut events.by_ref().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_)))))
    }

    /// Its body. A link to a document or a script leads to its page; one to another file of the repository is its text.
    ///
    /// # Errors
    /// A link that leads nowhere.
    pub fn html(&self, root: &Path, documents: &[Document]) -> Result<String, String> {
        let mut events: Vec<Event> = events(&self.text).filter_map(without_markup).collect();
        let anchors = anchors(&self.text);
        let mut ids = anchors.iter();
        let mut links = Vec::new();
        for event in &mut events {
            match event {
                Event::Start(Tag::Heading { id, .. }) => *id = ids.next().map(|id| CowStr::from(id.clone())),
                Event::Start(Tag::Link { dest_url, .. }) => {
                    let target = self.target(dest_url, root, documents)?;
                    links.push(target.is_some());
                    match target {
                        Some(target) => *dest_url = target.into(),
                        None => *event = Event::Text("".into()),
                    }
                }
                Event::End(TagEnd::Link) if links.pop() == Some(false) => *event = Event::Text("".into()),
                _ => {}
            }
        }
        let mut body = String::new();
        html::push_html(&mut body, events.into_iter());
        Ok(body)
    }

    /// Where a link leads in the site; `None`: to a file that has no page.
    fn target(&self, link: &str, root: &Path, documents: &[Document]) -> Result<Option<String>, String> {
        if link.contains("://") {
            return Ok(Some(link.to_owned()));
        }
        let dead = || format!("{} leads to `{link}`, which is not there", self.name);
        let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
        let file = if path.is_empty() { self.name.clone() } else { resolved(&self.name, path) };
        if let Some(document) = documents.iter().find(|document| document.name == file) {
            if anchor.is_some_and(|anchor| !anchors(&document.text).iter().any(|known| known == anchor)) {
                return Err(dead());
            }
        } else if !root.join(&file).exists() {
            return Err(dead());
        } else if !file.ends_with(".rhai") || !file.starts_with("scripts/") {
            return Ok(None);
        }
        let page = if path.is_empty() { String::new() } else { page_of(path) };
        Ok(Some(page + &anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default()))
    }
}

/// Where `path` leads from the folder that `file` lies in.
pub fn resolved(file: &str, path: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn events(text: &str) -> impl Iterator<Item = Event<'_>> {
    Parser::new_ext(text, Options::ENABLE_TABLES)
}

/// Markup of HTML is shown as it is written, comments are not.
fn without_markup(event: Event<'_>) -> Option<Event<'_>> {
    match event {
        Event::Html(text) | Event::InlineHtml(text) => (!text.starts_with("<!--")).then_some(Event::Text(text)),
        Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => None,
        event => Some(event),
    }
}

fn plain<'a>(events: &mut dyn Iterator<Item = Event<'a>>) -> String {
    let text = events.filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text),
        _ => None,
    });
    text.collect::<Vec<_>>().concat()
}

/// Names of the headings as links give them: small letters, blanks as dashes, no other signs; a second one has a number.
fn anchors(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut events = events(text);
    while let Some(event) = events.next() {
        if let Event::Start(Tag::Heading { .. }) = event {
            let heading =
                plain(&mut events.by_ref().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_)))));
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let name: String = kept.collect::<String>().to_lowercase().replace(' ', "-");
            let again = (1..).map(|n| format!("{name}-{n}")).find(|name| !found.contains(name)).unwrap_or_default();
            found.push(if found.contains(&name) { again } else { name });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> Result<String, String> {
        let document = |name: &str, text: &str| Document { name: name.into(), text: text.into() };
        let documents = [document("docs/a.md", text), document("docs/b.md", "# One two\n## `x`, y\n## One two\n")];
        documents[0].html(Path::new(env!("CARGO_MANIFEST_DIR")), &documents)
    }

    #[test]
    fn links_lead_to_pages_and_headings() {
        assert_eq!(html("[b](b.md#x-y)").unwrap(), "<p><a href=\"b.html#x-y\">b</a></p>\n");
        assert_eq!(html("[b](../docs/b.md#one-two-1)").unwrap(), "<p><a href=\"../docs/b.html#one-two-1\">b</a></p>\n");
        assert_eq!(html("[m](../src/main.rs)").unwrap(), "<p>m</p>\n");
        assert!(html("# A b\n[b](#a-b)").unwrap().starts_with("<h1 id=\"a-b\">A b</h1>"));
        assert_eq!(html("[b](c.md)").unwrap_err(), "docs/a.md leads to `c.md`, which is not there");
        assert!(html("[b](b.md#three)").is_err());
    }

    #[test]
    fn markup_is_text() {
        let html = html("<!-- no -->\n\n<script>x</script>\n\na <b>c</b> `<i>`").unwrap();
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains("no --"), "{html}");
        assert!(html.contains("&lt;b&gt;c") && html.contains("<code>&lt;i&gt;</code>"), "{html}");
    }
}
