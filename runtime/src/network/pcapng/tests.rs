use super::*;

fn frame(data: &[u8], time: u64) -> Frame {
    Frame {
        interface: "eth0".into(),
        time: Time(time),
        data: data.to_vec(),
        length: 1500,
        direction: Direction::Egress,
        comments: vec!["uuid=7 verdict=DROPPED reason=POLICY_DENY".into()],
        ..Frame::default()
    }
}

fn written(frames: &[Frame]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), "clock within 1 us").expect("a vector takes it");
    for frame in frames {
        writer.packet(frame).expect("a vector takes it");
    }
    writer.end(|_| 7).expect("a vector takes it")
}

fn read(bytes: &[u8]) -> Result<(Vec<Frame>, u64), Diagnostic> {
    let mut reader = Reader::new(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = reader.packet()? {
        frames.push(frame);
    }
    Ok((frames, reader.dropped))
}

use crate::diagnostic::Diagnostic;

#[test]
fn what_is_written_is_read_back() {
    let lo = Frame { interface: "lo".into(), link: Link::Raw, ..frame(&[1; 61], 0) };
    let frames = [frame(&[7; 60], 1_795_226_400_123_456_789), lo, frame(&[], 1_795_226_401_000_000_000)];
    let bytes = written(&frames);
    assert!(is_one(&bytes));
    assert_eq!(read(&bytes), Ok((frames.to_vec(), 14)));
}

#[test]
fn flows_and_packets_are_joined_by_the_comment() {
    let mut flow = Flow { uuid: "6f2d".into(), ..Flow::default() };
    flow.dropped(DropReason::POLICY_DENY);
    let text = comment(&flow).expect("it says something");
    assert_eq!(text, "uuid=6f2d verdict=DROPPED reason=POLICY_DENY");
    let mut again = Flow::default();
    apply(&text, &mut again);
    assert_eq!(again, flow);
    assert_eq!(comment(&Flow::default()), None);
}

/// Words of a file that a machine of the other byte order wrote, with times in units of 2^-10 seconds.
#[test]
fn other_byte_order_and_resolution_are_understood() {
    let mut bytes = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let length = (body.len() as u32 + 12).swap_bytes().to_ne_bytes();
        bytes.extend(kind.swap_bytes().to_ne_bytes());
        bytes.extend(length);
        bytes.extend(body);
        bytes.extend(length);
    };
    let word = |word: u32| word.swap_bytes().to_ne_bytes();
    let short = |short: u16| short.swap_bytes().to_ne_bytes();
    block(SECTION, &[&word(MAGIC)[..], &short(1), &short(0), &[0xff; 8]].concat());
    let resolution = [&short(option::INTERFACE_RESOLUTION)[..], &short(1), &[0x8a, 0, 0, 0]].concat();
    block(INTERFACE, &[&short(1)[..], &short(0), &word(0), &resolution].concat());
    block(0x0bad, &[0; 8]);
    block(PACKET, &[&word(0)[..], &word(0), &word(1536), &word(3), &word(3), &[1, 2, 3, 0]].concat());
    block(SIMPLE_PACKET, &[&word(2)[..], &[9, 9, 0, 0]].concat());
    let (frames, _) = read(&bytes).expect("it is right");
    assert_eq!((frames[0].time, frames[0].data.as_slice()), (Time(1_500_000_000), &[1, 2, 3][..]));
    assert_eq!((frames[1].time, frames[1].data.as_slice()), (Time(0), &[9, 9][..]));
}

#[test]
fn broken_files_say_where_and_never_panic() {
    let bytes = written(&[frame(&[7; 60], 1)]);
    let error = |bytes: &[u8]| read(bytes).expect_err("it is broken").message.clone();
    assert_eq!(error(b"{\"flow\":{}}  "), "this is no capture in pcapng");
    assert!(error(&bytes[..bytes.len() - 1]).starts_with("the capture ends inside of the block at byte "));
    let mut wrong = bytes.clone();
    wrong[4] = 13;
    assert_eq!(error(&wrong), "the capture is broken at byte 0: a block of an impossible length");
    assert_eq!(read(&[]), Ok((Vec::new(), 0)));
    let mut seed = 0x5eed_u64;
    for _ in 0..20_000 {
        let mut wrong = bytes.clone();
        for _ in 0..3 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = seed as usize % wrong.len();
            wrong[at] = (seed >> 32) as u8;
        }
        let _any = read(&wrong);
    }
}
