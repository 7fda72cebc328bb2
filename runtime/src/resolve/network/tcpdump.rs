//! Filters of tcpdump: `tcpdump("tcp port 80")`.

use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node};
use crate::network::filter::{Filter, lower};
use crate::resolve::scope::{Scope, Typed};

/// # Errors
/// A script diagnostic: it is no filter, or no frames are met here.
pub fn tcpdump(text: &Expr, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let Node::Text(text) = &*text.node else {
        return Err(Diagnostic::script("`tcpdump` needs a text").help("tcpdump(\"tcp port 80\")").at(expr.position));
    };
    let filter = Filter::parse(text).map_err(|fault| fault.diagnostic(text).at(expr.position))?;
    match scope.packets {
        Some(packets) => Ok(Typed::Test(lower(filter.check(), packets))),
        None => Err(Diagnostic::script(format!(
            "`{}` meets no frames that a filter of tcpdump could be about",
            scope.place
        ))
        .help("probe(\"tc:eth0\"), probe(\"xdp:eth0\"), template(\"capture\", #{ interface: \"eth0\" })")
        .at(expr.position)),
    }
}
