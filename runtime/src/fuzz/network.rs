//! What comes by network, or out of a file that says so: packets, captures, flows, filters.

use crate::network::digest::Digest;
use crate::network::filter::{Filter, lower};
use crate::network::hubble::printer::{Form, Options, Printer, loss};
use crate::network::hubble::{flow_filter::FlowFilter, selector::Selector};
use crate::network::packet::{self as frames, Link};
use crate::network::pcapng as capture;
use crate::network::source::{Lines, Source};
use crate::network::time::Layout;
use crate::policy::suggest;
use crate::slot::compile;
use crate::slot::ir::Packets;

/// A packet's headers.
pub fn packet(bytes: &[u8]) {
    for link in [Link::Ethernet, Link::Raw] {
        let packet = frames::parse(bytes, link);
        assert!(bytes.get(packet.payload.clone()).is_some(), "the payload is beyond the frame: {packet:?}");
    }
}

/// A capture, down to its packets' headers.
pub fn pcapng(bytes: &[u8]) {
    let mut reader = capture::Reader::new(bytes);
    while let Ok(Some(frame)) = reader.packet() {
        frames::parse(&frame.data, frame.link);
    }
}

/// Lines of flows: read, filtered, shown in every form, summed up, and made policies of.
pub fn flows(bytes: &[u8]) {
    let mut source = Lines::new(bytes);
    let mut digest = Digest::default();
    let forms = [Form::Compact, Form::Dict, Form::Table];
    let mut printers = forms.map(|form| Printer::new(Options { form, ..Options::default() }));
    while let Ok(Some(seen)) = source.next() {
        printers.iter_mut().for_each(|printer| drop(printer.print(&seen.response)));
        let _lost = (loss(&seen.response, Layout::default()), seen.response.line());
        digest.count(&seen.response);
    }
    printers.iter_mut().for_each(|printer| drop(printer.end()));
    let _told = (digest.text(3), source.notes());
    let text = String::from_utf8_lossy(bytes);
    let (_filters, _selector) = (FlowFilter::parse(&text), Selector::parse(&text));
    if let Ok(observed) = suggest::observed::read(&text) {
        for form in [suggest::Form::Kubernetes, suggest::Form::Cilium] {
            suggest::suggest(&observed, None, form);
        }
    }
}

/// A filter of tcpdump's, in front of a newline and a frame: what it says of the frame, and its code for the kernel.
pub fn tcpdump_filter(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (text, frame) = bytes.split_at(end);
    let text = String::from_utf8_lossy(text);
    match Filter::parse(&text) {
        Err(fault) => drop(fault.diagnostic(&text)),
        Ok(filter) => {
            filter.passes(frame, frame.len() as u32);
            for packets in [Packets::Buffers, Packets::Frames] {
                let _code = compile::filter(&lower(filter.check(), packets));
            }
        }
    }
}
