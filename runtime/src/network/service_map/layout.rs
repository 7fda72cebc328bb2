//! Where peers stand in a drawing: in columns, whom somebody asks to the right of who asks. Pure.

use super::draw::peers;
use super::{Peer, ServiceMap};
use std::collections::BTreeMap;

/// Column and row of every peer.
pub fn places(map: &ServiceMap) -> BTreeMap<&Peer, (usize, usize)> {
    let peers: Vec<&Peer> = peers(map).into_keys().collect();
    let number = |peer: &Peer| peers.binary_search(&peer).unwrap_or(0);
    let mut servers = vec![Vec::new(); peers.len()];
    let mut clients = vec![Vec::new(); peers.len()];
    for (edge, _) in map.edges() {
        let (client, server) = (number(&edge.client), number(&edge.server));
        if client != server && !servers[client].contains(&server) {
            servers[client].push(server);
            clients[server].push(client);
        }
    }
    let column = columns(&servers, &clients);
    let mut row = vec![0; peers.len()];
    for current in 0..=column.iter().copied().max().unwrap_or(0) {
        let mut inside: Vec<usize> = (0..peers.len()).filter(|peer| column[*peer] == current).collect();
        // Near those that ask them, so that few edges cross.
        inside.sort_by_key(|peer| {
            let before = clients[*peer].iter().filter(|client| column[**client] < current);
            let (count, sum) = before.fold((0, 0), |(count, sum), client| (count + 1, sum + row[*client] * 1024));
            (sum / count.max(1), *peer)
        });
        inside.into_iter().enumerate().for_each(|(at, peer)| row[peer] = at);
    }
    peers.iter().enumerate().map(|(at, peer)| (*peer, (column[at], row[at]))).collect()
}

/// The longest way from those that nobody asks; what leads back in a circle does not count.
fn columns(servers: &[Vec<usize>], clients: &[Vec<usize>]) -> Vec<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut state = vec![State::New; servers.len()];
    let (mut finished, mut back) = (Vec::new(), Vec::new());
    let mut roots: Vec<usize> = (0..servers.len()).collect();
    roots.sort_by_key(|peer| !clients[*peer].is_empty());
    for root in roots {
        let mut stack = vec![(root, 0)];
        while let Some((peer, next)) = stack.pop() {
            if next == 0 && state[peer] != State::New {
                continue;
            }
            state[peer] = State::Open;
            match servers[peer].get(next) {
                Some(server) => {
                    stack.push((peer, next + 1));
                    match state[*server] {
                        State::New => stack.push((*server, 0)),
                        State::Open => back.push((peer, *server)),
                        State::Done => {}
                    }
                }
                None => {
                    state[peer] = State::Done;
                    finished.push(peer);
                }
            }
        }
    }
    let mut column = vec![0; servers.len()];
    for peer in finished.into_iter().rev() {
        for server in servers[peer].iter().filter(|server| !back.contains(&(peer, **server))) {
            column[*server] = column[*server].max(column[peer] + 1);
        }
    }
    column
}
