//! Sockets, packets and addresses of any source: `sock()`, `skb()`, `sockaddr()` and `in_cidr()`.

fn main() {}
