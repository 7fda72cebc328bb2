//! Comparisons of numbers in a filter: `tcp[tcpflags] & (tcp-syn|tcp-fin) != 0`, `len > 100`.

use super::check::{Check, Value};
use super::lexer::{Cursor, number};
use super::primitives::{ARP, ICMP, ICMP6, IP, IP6, Layout, RARP, SCTP, TCP, UDP};
use super::{Fault, syntax};
use crate::slot::ir::{Arithmetic, Comparison, Size};

/// Numbers that have names.
const NAMES: &[(&str, u32)] = &[
    ("tcpflags", 13),
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
];

/// Signs of comparisons, the longer ones first.
const COMPARISONS: [(&str, Comparison); 7] = [
    (">=", Comparison::GreaterOrEqual),
    ("<=", Comparison::LessOrEqual),
    ("!=", Comparison::NotEqual),
    ("==", Comparison::Equal),
    ("=", Comparison::Equal),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
];

/// Signs of operations; how tightly they bind to what stands before them and behind. To pcap's grammar `%` and `^` have no
/// precedence: they take all that follows.
const OPERATIONS: [(&str, Arithmetic, u8, u8); 10] = [
    ("<<", Arithmetic::ShiftLeft, 3, 4),
    (">>", Arithmetic::ShiftRight, 3, 4),
    ("|", Arithmetic::Or, 1, 2),
    ("&", Arithmetic::And, 2, 3),
    ("+", Arithmetic::Add, 4, 5),
    ("-", Arithmetic::Subtract, 4, 5),
    ("*", Arithmetic::Multiply, 5, 6),
    ("/", Arithmetic::Divide, 5, 6),
    ("%", Arithmetic::Remainder, 9, 0),
    ("^", Arithmetic::Xor, 9, 0),
];

/// A number, and what must be so for it to be there.
struct Operand {
    needs: Vec<Check>,
    value: Value,
}

/// A comparison; `None`: something else stands here, and nothing was passed.
pub fn comparison(cursor: &mut Cursor, layout: Layout, depth: usize) -> Result<Option<Check>, Fault> {
    let before = *cursor;
    let begins = begins(cursor);
    let left = match operand(cursor, layout, 0, depth) {
        Ok(left) => left,
        Err(fault) if begins => return Err(fault),
        Err(_) => {
            *cursor = before;
            return Ok(None);
        }
    };
    let Some((_, op)) = COMPARISONS.iter().find(|(sign, _)| cursor.takes_sign(sign)) else {
        if begins {
            let shown = cursor.shown();
            return Err(cursor.fault(format!("a number is compared, and here is {shown}")).help("tcp[13] & 2 != 0"));
        }
        *cursor = before;
        return Ok(None);
    };
    let right = operand(cursor, layout, 0, depth)?;
    let mut checks = left.needs;
    checks.extend(right.needs);
    checks.push(Check::Compare { op: *op, left: left.value, right: right.value });
    Ok(Some(Check::And(checks)))
}

/// Can nothing but a number stand here?
fn begins(cursor: &mut Cursor) -> bool {
    let mut ahead = *cursor;
    let name = ahead.peek_name();
    ahead.pass(name);
    name == "len" || !name.is_empty() && ahead.takes_sign("[")
}

fn operand(cursor: &mut Cursor, layout: Layout, least: u8, depth: usize) -> Result<Operand, Fault> {
    let mut left = single(cursor, layout, depth)?;
    loop {
        // `&&` and `||` join conditions.
        let mut ahead = *cursor;
        if ahead.takes_sign("&&") || ahead.takes_sign("||") {
            return Ok(left);
        }
        let found = OPERATIONS.iter().find(|(sign, _, binds, _)| *binds >= least.max(1) && ahead.takes_sign(sign));
        let Some((_, op, _, behind)) = found else { return Ok(left) };
        *cursor = ahead;
        let mut place = *cursor;
        let right = operand(cursor, layout, *behind, depth + 1)?;
        left = join(&mut place, *op, left, right)?;
    }
}

fn join(place: &mut Cursor, op: Arithmetic, left: Operand, right: Operand) -> Result<Operand, Fault> {
    match (op, &right.value) {
        (Arithmetic::Divide | Arithmetic::Remainder, Value::Number(0)) => {
            return Err(place.fault("nothing can be divided by 0"));
        }
        (
            Arithmetic::Divide | Arithmetic::Remainder | Arithmetic::ShiftLeft | Arithmetic::ShiftRight,
            Value::Number(_),
        ) => {}
        (Arithmetic::Divide | Arithmetic::Remainder, _) => {
            return Err(place.fault("a filter divides by plain numbers only").help("ip[2:2] / 4 > 10"));
        }
        (Arithmetic::ShiftLeft | Arithmetic::ShiftRight, _) => {
            return Err(place.fault("a filter shifts by plain numbers only").help("tcp[12] >> 2 > 20"));
        }
        _ => {}
    }
    let mut needs = left.needs;
    needs.extend(right.needs);
    Ok(Operand { needs, value: Value::binary(op, left.value, right.value) })
}

fn single(cursor: &mut Cursor, layout: Layout, depth: usize) -> Result<Operand, Fault> {
    let plain = |value| Ok(Operand { needs: Vec::new(), value });
    if depth > syntax::DEEPEST {
        return Err(cursor.fault(syntax::TOO_DEEP));
    }
    if cursor.takes_sign("(") {
        let inner = operand(cursor, layout, 0, depth + 1)?;
        return match cursor.takes_sign(")") {
            true => Ok(inner),
            false => Err(cursor.fault("a parenthesis is not closed")),
        };
    }
    if cursor.takes_sign("-") {
        let Operand { needs, value } = single(cursor, layout, depth + 1)?;
        return Ok(Operand { needs, value: Value::binary(Arithmetic::Subtract, Value::Number(0), value) });
    }
    let digits = cursor.peek_number();
    if !digits.is_empty() {
        let Some(value) = number(digits) else { return Err(cursor.fault("this is no number of 32 bits")) };
        cursor.pass(digits);
        return plain(Value::Number(value));
    }
    let name = cursor.peek_name();
    if name == "len" {
        cursor.pass(name);
        return plain(Value::Length);
    }
    if let Some((_, value)) = NAMES.iter().find(|(known, _)| *known == name) {
        cursor.pass(name);
        return plain(Value::Number(*value));
    }
    let mut ahead = *cursor;
    ahead.pass(name);
    if name.is_empty() || !ahead.takes_sign("[") {
        return Err(cursor.fault("a number is missing"));
    }
    let Some(known) = Header::named(name) else {
        return Err(cursor.fault(format!("`{name}` has no bytes that a filter knows")).help(HEADERS));
    };
    *cursor = ahead;
    let mut place = *cursor;
    let Operand { mut needs, value: index } = operand(cursor, layout, 0, depth + 1)?;
    let size = size(cursor)?;
    if !cursor.takes_sign("]") {
        return Err(cursor.fault("a bracket is not closed").help("ip[6:2]"));
    }
    let (own, value) = known.load(layout, index, size);
    let Some(value) = value else {
        return Err(place.fault("bytes of the frame itself have plain numbers").help("ether[20]"));
    };
    needs.extend(own);
    Ok(Operand { needs, value })
}

fn size(cursor: &mut Cursor) -> Result<Size, Fault> {
    if !cursor.takes_sign(":") {
        return Ok(Size::B1);
    }
    let digits = cursor.peek_number();
    match number(digits).and_then(|size| Size::of(size as usize)).filter(|size| *size != Size::B8) {
        Some(size) => {
            cursor.pass(digits);
            Ok(size)
        }
        None => Err(cursor.fault("a filter reads 1, 2 or 4 bytes").help("ip[6:2]")),
    }
}

const HEADERS: &str = "one of ether, ip, ip6, arp, rarp, tcp, udp, sctp, icmp, icmp6, igmp";

/// Whose bytes.
#[derive(Clone, Copy)]
enum Header {
    Frame,
    Network(u16),
    /// Of what IPv4 carries.
    Carried(u8),
    Icmp6,
}

impl Header {
    fn named(name: &str) -> Option<Header> {
        Some(match name {
            "ether" | "link" => Header::Frame,
            "ip" => Header::Network(IP),
            "ip6" => Header::Network(IP6),
            "arp" => Header::Network(ARP),
            "rarp" => Header::Network(RARP),
            "tcp" => Header::Carried(TCP),
            "udp" => Header::Carried(UDP),
            "sctp" => Header::Carried(SCTP),
            "icmp" => Header::Carried(ICMP),
            "igmp" => Header::Carried(2),
            "icmp6" => Header::Icmp6,
            _ => return None,
        })
    }

    /// What must be so, and the number; `None` where the place must be known.
    fn load(self, layout: Layout, index: Value, size: Size) -> (Vec<Check>, Option<Value>) {
        let behind = |base: u32, index: Value| match index {
            Value::Number(at) if at < 1 << 16 => Value::load(base + at, size),
            index => Value::Load { base, index: Some(Box::new(index)), size },
        };
        match self {
            Header::Frame if !matches!(index, Value::Number(_)) => (Vec::new(), None),
            Header::Frame => (Vec::new(), Some(behind(0, index))),
            Header::Network(kind) => (vec![layout.carries(kind)], Some(behind(layout.network, index))),
            Header::Carried(protocol) => {
                (vec![layout.ip_protocol(protocol), layout.is_first()], Some(layout.carried(index, size)))
            }
            Header::Icmp6 => {
                let next = Check::equal(Value::load(layout.network + 6, Size::B1), ICMP6.into());
                (vec![layout.carries(IP6), next], Some(behind(layout.network + 40, index)))
            }
        }
    }
}
