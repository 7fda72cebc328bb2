//! The template capture on frames of any content and length, cut by any length: what is kept is the frame's beginning.

use super::{Hook, Interface};
use crate::kernel::load::{self, Request};
use crate::kernel::ring::{Ring, records};
use crate::kernel::{privilege, sys};
use skep_templates::catalog::Catalog;
use std::collections::HashMap;
use std::os::fd::AsFd;

/// Of a record, in front of what it holds.
const HEADER: usize = 8;

#[test]
fn what_is_kept_is_the_beginning_of_the_frame() {
    if privilege::skips(&["CAP_BPF", "CAP_NET_ADMIN"]) {
        return;
    }
    assert!(Interface::all().is_ok_and(|all| !all.is_empty()));
    let catalog = Catalog::embedded();
    let template = catalog.get("capture").expect("it is there");
    let mut seed = 0x5eed_u64;
    let mut random = |limit: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 16) as usize % limit
    };
    for snaplen in [0u32, 64, 65, 128, 129, 511, 1537, 65535, u32::MAX] {
        let ring = Ring::create(1 << 20).expect("a ring buffer");
        let mut reader = Ring::open(&ring).expect("it is mapped");
        let number = |number: u32| number.to_ne_bytes().to_vec();
        let constants = [
            ("output", number(0)),
            ("record_size", number(HEADER as u32)),
            ("snaplen", number(snaplen)),
            ("with_packets", vec![1]),
            ("filter", vec![0]),
        ];
        let programs = [("of_xdp", Hook::Xdp), ("at_ingress", Hook::TcIngress), ("at_egress", Hook::TcEgress)];
        let loaded = load::load(Request {
            template: "capture",
            object: template.object(),
            constants: &constants.map(|(name, value)| (name.to_owned(), value)),
            slots: &[],
            programs: &programs.map(|(name, hook)| (name.to_owned(), hook.program_kind())),
            module_types: None,
            maps: HashMap::from([("events".to_owned(), ring)]),
        })
        .unwrap_or_else(|error| panic!("{error:?}"));
        let mut kept = 0;
        for round in 0..500 {
            let length = 14 + random([20, 140, 520, 1600, 3000][round % 5]);
            let frame: Vec<u8> = (0..length).map(|_| random(256) as u8).collect();
            for (program, (name, _)) in loaded.programs.iter().zip(programs) {
                if name != "of_xdp" && sys::refused_as_buffer(&frame) {
                    continue;
                }
                sys::test_run(program.as_fd(), &frame, 1).expect("it runs");
                let mut batch = Vec::new();
                assert_eq!(reader.read(&mut batch, 1 << 20), 1, "{name}, {length} bytes, {snaplen}");
                let record = records(&batch).next().expect("one was counted");
                let captured = length.min(snaplen.clamp(64, 65535) as usize);
                assert_eq!(record[HEADER..HEADER + captured], frame[..captured], "{name}, {length} bytes, {snaplen}");
                kept += 1;
            }
        }
        assert!(kept > 1000, "{kept}");
    }
}
