//! Frames and filters by chance: most are sound, some are cut, some are noise. Few addresses and ports, so that they meet.

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// What was kept of a frame, and how long it was.
    pub fn frame(&mut self) -> (Vec<u8>, u32) {
        let mut frame = match self.below(20) {
            0 => {
                let count = self.below(200);
                self.bytes(count)
            }
            _ => self.ethernet(),
        };
        let length = frame.len() as u32;
        if self.below(4) == 0 {
            frame.truncate(self.below(frame.len() + 1));
        }
        (frame, length)
    }

    fn ethernet(&mut self) -> Vec<u8> {
        let mut frame = Vec::new();
        for _ in 0..2 {
            let mac = self.of(&[[2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 8], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]]);
            frame.extend(mac);
        }
        for _ in 0..self.of(&[0, 0, 0, 1, 1, 2, 3]) {
            frame.extend(self.of(&[0x8100u16, 0x8100, 0x88a8, 0x9100]).to_be_bytes());
            frame.extend(self.of(&[7u16, 9, 0xe007, 4094]).to_be_bytes());
        }
        let (kind, content) = match self.below(10) {
            0..5 => (0x0800u16, self.ipv4()),
            5..8 => (0x86dd, self.ipv6()),
            8 => (self.of(&[0x0806, 0x8035]), self.arp()),
            _ => (self.of(&[0x88cc, 40, 0x8847]), self.bytes(60)),
        };
        frame.extend(kind.to_be_bytes());
        frame.extend(content);
        frame
    }

    fn address(&mut self) -> [u8; 4] {
        self.of(&[[10, 9, 0, 1], [10, 9, 0, 2], [10, 9, 0, 3], [10, 200, 0, 1], [192, 0, 2, 1], [224, 0, 0, 251]])
    }

    fn ipv4(&mut self) -> Vec<u8> {
        let (protocol, content) = self.transport();
        let options = self.of(&[0, 0, 0, 1, 2, 10]);
        let fragment = self.of(&[0u16, 0, 0, 0x4000, 0x2000, 0x2005, 185]);
        let length = (20 + 4 * options + content.len()) as u16;
        let version = self.of(&[0x40u8, 0x40, 0x40, 0x40, 0x40, 0x40, 0x60]);
        let mut header = vec![version | (5 + options) as u8, self.of(&[0, 7])];
        header.extend(length.to_be_bytes());
        header.extend([0, 7]);
        header.extend(fragment.to_be_bytes());
        header.extend([self.of(&[77, 64, 1]), protocol, 0, 0]);
        header.extend(self.address());
        header.extend(self.address());
        header.extend(self.bytes(4 * options));
        [header, content].concat()
    }

    fn ipv6(&mut self) -> Vec<u8> {
        let (protocol, content) = self.transport();
        let (next, content) = match self.below(5) {
            0 => (44, [vec![protocol, 0, 0, self.of(&[0, 1, 9]), 0, 0, 0, 7], content].concat()),
            1 => (self.of(&[0u8, 43, 60]), [vec![protocol, 0, 0, 0, 0, 0, 0, 0], content].concat()),
            _ => (protocol, content),
        };
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((content.len() as u16).to_be_bytes());
        header.extend([next, 77]);
        for _ in 0..2 {
            let last = self.of(&[1, 2, 3]);
            let first = self.of(&[[0xfd, 0], [0xfd, 0], [0xff, 2]]);
            header.extend(first);
            header.extend([0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        [header, content].concat()
    }

    fn arp(&mut self) -> Vec<u8> {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, self.of(&[1, 2])];
        for _ in 0..2 {
            packet.extend(self.bytes(6));
            packet.extend(self.address());
        }
        packet
    }

    fn transport(&mut self) -> (u8, Vec<u8>) {
        let protocol = self.of(&[6, 6, 6, 17, 17, 132, 1, 58, 2, 50, 51, 103, 112]);
        let ports = [80u16, 443, 53, 1009, 85];
        let mut content: Vec<u8> = [self.of(&ports).to_be_bytes(), self.of(&ports).to_be_bytes()].concat();
        match protocol {
            6 => {
                content.extend(self.bytes(8));
                content.extend([self.of(&[0x50, 0x60, 0xf0, 0x10]), self.of(&[2, 0x12, 0x10, 0x11, 4, 0x18])]);
                content.extend([16, 0, 0, 0, 0, 0]);
                content.extend(b"GET / HTTP/1.1\r\n");
            }
            1 | 58 => content = vec![self.of(&[0, 8, 3, 11, 128, 135]), 0, 0, 0, 0, 0, 0, 7],
            _ => content.extend([0, self.of(&[8, 60]), 0, 0]),
        }
        let more = self.below(80);
        content.extend(self.bytes(more));
        (protocol, content)
    }

    /// Some of the filters, joined. Those with a tag come last: what is behind one lies elsewhere.
    pub fn joined(&mut self, filters: &[&str]) -> String {
        let mut text = String::new();
        for n in 0..2 + self.below(3) {
            let one = self.of(&filters[1..]);
            if n > 0 {
                text += self.of(&[" and ", " or ", " && ", " || "]);
            }
            let (open, close) = self.of(&[("(", ")"), ("not (", ")"), ("( ", " )")]);
            text += &format!("{open}{one}{close}");
        }
        text
    }

    /// Words that filters are made of, in any order.
    pub fn words(&mut self) -> String {
        const WORDS: &[&str] = &[
            "tcp",
            "port",
            "80",
            "host",
            "10.0.0.1",
            "net",
            "10/8",
            "not",
            "and",
            "or",
            "(",
            ")",
            "[",
            "]",
            "ip",
            ":",
            "2",
            "len",
            ">",
            "<<",
            "&",
            "&&",
            "-",
            "src",
            "dst",
            "vlan",
            "ether",
            "proto",
            "\\tcp",
            "=",
            "%",
            "é",
            "less",
            "0x",
            "mask",
            "ip6",
            "::1",
            "!",
            "portrange",
            "1-2",
            "tcpflags",
            "99999999999",
            "\u{0}",
            "multicast",
        ];
        let mut text = String::new();
        for _ in 0..self.below(12) {
            text += self.of(WORDS);
            text += self.of(&["", " ", " "]);
        }
        text
    }
}
