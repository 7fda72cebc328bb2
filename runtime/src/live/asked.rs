//! What is asked of this machine: where packets are looked at and which of them are wanted, as entries of a plan. Pure.

use super::pushdown::{Kind, Pushed, pushed};
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node, Operator};
use crate::network::hubble::flow_filter::FlowFilter;
use crate::network::{columns, dropped};
use crate::plan::{Column, Entry, Output, Setting, Source, Then};

/// Are packets that the kernel throws away looked at, too?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drops {
    /// Where this machine allows it.
    #[default]
    Auto,
    Always,
    Never,
}

/// Where, and which.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Names or globs with commas between; `None`: every interface.
    pub interfaces: Option<String>,
    /// Instead: packets of the sockets of this cgroup.
    pub cgroup: Option<String>,
    /// `tc` or `xdp`.
    pub hook: Option<String>,
    /// `ingress`, `egress` or `both`.
    pub direction: Option<String>,
    pub drops: Drops,
    pub allow: Vec<FlowFilter>,
    pub deny: Vec<FlowFilter>,
}

/// The column behind those of a flow: when.
pub const TIME: &str = "nsecs";

impl Asked {
    /// Entries whose events can be wanted, each with what its events are.
    ///
    /// # Errors
    /// A script diagnostic: nothing of this machine can be what is wanted, or what is asked for contradicts itself.
    pub fn entries(&self) -> Result<Vec<(Kind, Entry)>, Diagnostic> {
        if let (Some(interfaces), Some(cgroup)) = (&self.interfaces, &self.cgroup) {
            let message = "packets are those of interfaces or those of a cgroup's sockets, not both";
            return Err(Diagnostic::script(message).help(format!("-i {interfaces}, or --cgroup {cgroup}")));
        }
        if self.cgroup.is_some() && self.drops == Drops::Always {
            return Err(Diagnostic::script("which cgroup a packet belonged to that was thrown away, nobody knows")
                .help("--drops never"));
        }
        if self.hook.as_deref() == Some("xdp") && self.direction.as_deref() == Some("egress") {
            return Err(Diagnostic::script("XDP meets packets that come in alone").help("--hook tc"));
        }
        let mut entries = Vec::new();
        if let Some(filter) = self.filter(Kind::Packet)? {
            entries.push((Kind::Packet, entry("flows", self.places(), &columns::COLUMNS, filter)));
        }
        if self.drops != Drops::Never
            && self.cgroup.is_none()
            && let Some(filter) = self.filter(Kind::Drop)?
        {
            let filter = match filter {
                Some(filter) => Some(Expr::and(self.at_interfaces(), filter)),
                None => self.at_interfaces(),
            };
            // Those of other namespaces are none of ours.
            let netns = ("netns".to_owned(), Setting::Text("/proc/self/ns/net".into()), None);
            entries.push((Kind::Drop, entry("drops", vec![netns], &dropped::COLUMNS, filter)));
        }
        if entries.is_empty() {
            let drops = if self.drops == Drops::Never || self.cgroup.is_some() { "" } else { " or DROPPED" };
            return Err(Diagnostic::script("no flow of this machine can be what these filters want").help(format!(
                "what passes an interface is TRACED{drops}, of type trace{}",
                if drops.is_empty() { "" } else { " or drop" }
            )));
        }
        Ok(entries)
    }

    /// What the kernel is to test; the outer `None`: no such event can be wanted.
    fn filter(&self, kind: Kind) -> Result<Option<Option<Expr>>, Diagnostic> {
        Ok(match pushed(&self.allow, &self.deny, kind)? {
            Pushed::Never => None,
            Pushed::Always => Some(None),
            Pushed::When(expr) => Some(Some(expr)),
        })
    }

    fn places(&self) -> Vec<(String, Setting, Option<crate::diagnostic::Position>)> {
        let interfaces = match (&self.interfaces, &self.cgroup) {
            (None, None) => Some("*".to_owned()),
            (interfaces, _) => interfaces.clone(),
        };
        let given = [
            ("interface", interfaces.as_ref()),
            ("control_group", self.cgroup.as_ref()),
            ("hook", self.hook.as_ref()),
            ("direction", self.direction.as_ref()),
        ];
        let given = given.into_iter().filter_map(|(name, text)| Some((name, text?)));
        given.map(|(name, text)| (name.to_owned(), Setting::Text(text.clone()), None)).collect()
    }

    /// Drops at interfaces that are named; one that had no interface as yet may have been on its way to them.
    fn at_interfaces(&self) -> Option<Expr> {
        let names: Vec<&str> = self.interfaces.as_deref()?.split(',').map(str::trim).collect();
        if names.iter().any(|name| crate::glob::is_glob(name)) {
            return None;
        }
        let is = |name: &&str| {
            let name = Expr::new(Node::Text((*name).to_owned()), None);
            Expr::binary(Operator::Equal, Expr::name("ifname"), name)
        };
        names.iter().chain(&[""]).map(is).reduce(|left, right| Expr::binary(Operator::Or, left, right))
    }
}

/// A stream of a template's columns, and of when.
fn entry(
    template: &str,
    parameters: Vec<(String, Setting, Option<crate::diagnostic::Position>)>,
    names: &[&str],
    filter: Option<Expr>,
) -> Entry {
    let column = |name: &&str| Column { name: (*name).to_owned(), expr: Expr::name(name) };
    let columns = names.iter().chain(&[TIME]).map(column).collect();
    let source = Source::Template { name: template.to_owned(), parameters };
    Entry { filter, output: Output::Stream { columns, then: Then::Each }, ..Entry::new(source, None) }
}
