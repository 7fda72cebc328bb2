//! Both ends of exchanges, for workloads: questions of DNS, HTTP and TLS, with servers that answer after a known time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// How one end reaches the other: `udp4`, `udp6`, `tcp4`, `tcp6`.
#[derive(Clone, Copy)]
struct Way {
    udp: bool,
    address: SocketAddr,
}

impl Way {
    fn new(way: &str, port: u16) -> Way {
        let v6 = way.ends_with('6');
        let address = if v6 { (Ipv6Addr::LOCALHOST, port).into() } else { (Ipv4Addr::LOCALHOST, port).into() };
        Way { udp: way.starts_with("udp"), address }
    }
}

/// The network that a file stands for.
pub fn enter(file: &str) {
    let file = std::fs::File::open(file).expect("there is such a network");
    // SAFETY: moves this thread, which is the only one.
    assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0, "it enters");
}

/// A network of this process alone, with its `lo` up.
pub fn alone() {
    // SAFETY: of the threads of this process there is one.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "a network of its own");
    // SAFETY: the call takes integers, and nobody else has what it makes.
    let socket = unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)) };
    // SAFETY: zeros are a request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l', b'o'].map(|letter| letter as libc::c_char));
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the kernel reads the request.
    assert_eq!(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) }, 0, "lo goes up");
}

/// Asks on one connection, or from one port; the other end answers after `delay`. An answer that is empty is not sent.
fn exchange(way: Way, questions: &[Vec<u8>], delay: Duration, answer: impl Fn(&[u8]) -> Vec<u8> + Sync) {
    let heard = |question: &[u8]| {
        std::thread::sleep(delay);
        answer(question)
    };
    let mut room = [0; 4096];
    std::thread::scope(|scope| {
        if way.udp {
            let server = UdpSocket::bind(way.address).expect("the port is free");
            let served = scope.spawn(move || {
                let mut room = [0; 4096];
                for _ in questions {
                    let (length, from) = server.recv_from(&mut room).expect("a question comes");
                    let answer = heard(&room[..length]);
                    if !answer.is_empty() {
                        server.send_to(&answer, from).expect("an answer goes");
                    }
                }
            });
            let client = UdpSocket::bind((way.address.ip(), 0)).expect("there are ports");
            for question in questions {
                client.send_to(question, way.address).expect("a question goes");
                if !answer(question).is_empty() {
                    client.recv(&mut room).expect("an answer comes");
                }
            }
            served.join().expect("the server answers");
            return;
        }
        let server = TcpListener::bind(way.address).expect("the port is free");
        let served = scope.spawn(move || {
            let (mut stream, _) = server.accept().expect("somebody comes");
            let mut room = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut room) {
                stream.write_all(&heard(&room[..length])).expect("an answer goes");
            }
        });
        let mut client = TcpStream::connect(way.address).expect("the server listens");
        client.set_nodelay(true).expect("it is a socket");
        for question in questions {
            client.write_all(question).expect("a question goes");
            if !answer(question).is_empty() {
                let _length = client.read(&mut room).expect("an answer comes");
            }
        }
        drop(client);
        served.join().expect("the server answers");
    });
}

/// A query as it goes over UDP.
fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut query = [id.to_be_bytes(), [1, 0], [0, 1], [0; 2], [0; 2], [0; 2]].concat();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    query.push(0);
    query.extend([kind.to_be_bytes(), [0, 1]].concat());
    query
}

/// The answer: an alias, then an address; errors for names that begin so; none for those that begin with `lost`.
fn resolved(query: &[u8]) -> Vec<u8> {
    let begins = |label: &[u8]| query.get(13..13 + label.len()) == Some(label);
    let code = if begins(b"nx") { 3 } else { 2 * u8::from(begins(b"fail")) };
    if begins(b"lost") {
        return Vec::new();
    }
    let mut answer = query.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    if code == 0 {
        answer[7] = 2;
        // Both of the question's name, which stands behind the header.
        answer.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 12]);
        answer.extend(match query[query.len() - 3] {
            28 => [&[0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16, 0xfd][..], &[0; 14], &[7]].concat(),
            _ => [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 3].into(),
        });
    }
    answer
}

/// `n` queries for a name; `kind` is a type's number.
pub fn dns(way: &str, n: u16, name: &str, kind: u16, delay: Duration) {
    let way = Way::new(way, 53);
    let framed = |message: Vec<u8>| match way.udp || message.is_empty() {
        true => message,
        false => [&(message.len() as u16).to_be_bytes()[..], &message].concat(),
    };
    let queries: Vec<Vec<u8>> = (0..n).map(|id| framed(query(id, name, kind))).collect();
    exchange(way, &queries, delay, |query| framed(resolved(&query[if way.udp { 0 } else { 2 }..])));
}

/// `n` requests on one connection.
pub fn http(way: &str, n: u16, method: &str, path: &str, status: u16, delay: Duration) {
    let request = format!("{method} {path} HTTP/1.1\r\nUser-Agent: skep\r\nHOST: shop.example\r\nAccept: */*\r\n\r\n");
    let body = "hello";
    let response = format!("HTTP/1.1 {status} Such\r\nServer: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let requests = vec![request.into_bytes(); n.into()];
    exchange(Way::new(way, 8080), &requests, delay, |_| response.clone().into_bytes());
}

/// `n` requests on one connection to a proxy, which takes its `own` time for each, and asks another server for it, which
/// takes `delay`.
pub fn proxied(n: u16, path: &str, own: Duration, delay: Duration) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n").into_bytes();
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let listening = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
    let connected = |port: u16| {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens");
        stream.set_nodelay(true).expect("it is a socket");
        stream
    };
    // Each request is answered when `work` is done; to the end of the connection.
    let serve = |server: TcpListener, work: &mut dyn FnMut()| {
        let (mut stream, _) = server.accept().expect("somebody comes");
        let mut room = [0; 4096];
        while let Ok(1..) = stream.read(&mut room) {
            work();
            stream.write_all(response).expect("an answer goes");
        }
    };
    let ask = |stream: &mut TcpStream| {
        stream.write_all(&request).expect("a question goes");
        let _length = stream.read(&mut [0; 4096]).expect("an answer comes");
    };
    let (proxy, server) = (listening(8080), listening(9090));
    std::thread::scope(|scope| {
        scope.spawn(|| serve(server, &mut || std::thread::sleep(delay)));
        scope.spawn(|| {
            let mut upstream = connected(9090);
            serve(proxy, &mut || {
                std::thread::sleep(own);
                ask(&mut upstream);
            });
        });
        let mut client = connected(8080);
        (0..n).for_each(|_| ask(&mut client));
    });
}

/// What a handshake begins with: a record with one message.
fn handshake(message: u8, body: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| (bytes as u16).to_be_bytes();
    [&[22, 3, 1][..], &length(body.len() + 4), &[message, 0], &length(body.len()), body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
}

/// A connection for each of `n` hellos, all for one server's name; a server that knows it not says so.
pub fn hello(way: &str, n: u16, name: &str, delay: Duration) {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let server_name = sized(&[&[0][..], &sized(name.as_bytes())].concat());
    let extensions = [
        extension(0x2a2a, &[]),
        extension(0, &server_name),
        extension(16, &sized(b"\x02h2\x08http/1.1")),
        extension(43, &[6, 0x7a, 0x7a, 3, 4, 3, 3]),
    ];
    let begin = [&[3, 3][..], &[7; 32], &[4], &[1; 4]].concat();
    let ciphers = sized(&[0x13, 1, 0x13, 2, 0xc0, 0x2f]);
    let client = [&begin[..], &ciphers, &[1, 0], &sized(&extensions.concat())].concat();
    let server = [&begin[..], &[0x13, 2, 0], &sized(&extension(43, &[3, 4]))].concat();
    let answer = match name.starts_with("unknown") {
        true => vec![21, 3, 3, 0, 2, 2, 112],
        false => handshake(2, &server),
    };
    for _ in 0..n {
        exchange(Way::new(way, 443), &[handshake(1, &client)], delay, |_| answer.clone());
    }
}

/// Packets to and from the ports of all three that are hardly what they seem: sound ones, cut off or with bytes exchanged.
pub fn noise(n: u16) {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let name = "noise.".repeat(40);
    let sound = [
        query(1, "noise.example", 1),
        query(2, &name, 28),
        resolved(&query(3, "noise.example", 1)),
        resolved(&query(4, "noise.example", 28)),
        b"GET /noise?a HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999999\r\n\r\n".to_vec(),
        handshake(1, &[3; 300]),
        handshake(2, &[255; 300]),
        handshake(1, &[[3, 3].as_slice(), &[7; 33], &[0, 2, 1, 1, 1, 0, 0, 9, 0, 0, 255, 255, 255, 255]].concat()),
    ];
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).expect("the port is free");
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are ports");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)).expect("the port is free");
    let (at, listens) = (client.local_addr().expect("bound"), listener.local_addr().expect("bound"));
    for _ in 0..n {
        let mut packet = sound[random(sound.len())].clone();
        for _ in 0..random(4) {
            let place = random(packet.len());
            packet[place] = random(256) as u8;
        }
        packet.truncate(1 + random(packet.len()));
        server.send_to(&packet, at).expect("it goes");
        client.send_to(&packet, (Ipv4Addr::LOCALHOST, 53)).expect("it goes");
        let mut stream = TcpStream::connect(listens).expect("it listens");
        let mut other = listener.accept().expect("somebody came").0;
        stream.write_all(&packet).expect("it goes");
        other.write_all(&packet).expect("it goes");
        let _length = stream.read(&mut [0; 4096]).expect("it comes");
        // The sockets' own room is small.
        let _length = (server.recv(&mut [0; 4096]), client.recv(&mut [0; 4096]));
    }
}
