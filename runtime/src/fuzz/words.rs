//! Small texts: of the command line, of scripts, of names in a glob.

use crate::budget::Allowance;
use crate::network::hubble::filter;
use crate::network::hubble::json::Mask;
use crate::network::hubble::pattern::{Fqdn, Node, Qualified};
use crate::network::time::Time;
use crate::report::printf::Format;
use crate::report::units;
use crate::unwind::way::Way;
use crate::{attach_point, glob};

/// All of them, of one text.
pub fn words(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _point = attach_point::parse(&text);
    let _format = Format::parse(&text);
    let _sizes = (units::parse_duration(&text), Allowance::parse(&text), Way::parse(&text), filter::ports(&text));
    let _time = Time::parse(&text, Time(1 << 60));
    let _pattern = (Fqdn::parse(&text), Node::parse(&text), Qualified::parse(&text), Mask::parse(text.split(',')));
    let (pattern, name) = text.split_once('\n').unwrap_or((&text, "vfs_read"));
    glob::matches(pattern, name);
    let shown = units::escape(&text);
    assert!(!shown.contains(units::may_act), "what a terminal obeys is left: {shown:?}");
}
