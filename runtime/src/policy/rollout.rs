//! A rollout: policies at several places, put there all or none, then each held by a thread of its own, which is in the
//! network namespace of its place.

use super::denial::Denial;
use super::enforcer::Options;
use super::holder::{self, End, Holder};
use super::pinned;
use super::site::Site;
use crate::diagnostic::Diagnostic;
use crate::threads;
use serde_json::Value;
use skep_templates::catalog::Catalog;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is asked of all places.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Enforce from the beginning; else it is an audit.
    pub enforce: bool,
    pub confirm_within: Option<Duration>,
    /// No longer than a policy itself says.
    pub ttl: Option<Duration>,
    /// Never dropped.
    pub guarded: BTreeSet<IpAddr>,
    pub options: Options,
    /// Who wants to see some of what is denied.
    pub denials: Option<SyncSender<Denial>>,
    /// Once set, all end.
    pub over: Arc<AtomicBool>,
}

/// Policies that are in place, as audits.
pub struct Rollout {
    posts: Vec<Post>,
    /// It is still to be done.
    enforce: bool,
}

struct Post {
    name: String,
    place: String,
    orders: Sender<Order>,
    thread: JoinHandle<Outcome>,
}

/// What a thread is told once all are in place. Where nobody is there to tell it, it takes its policy back.
enum Order {
    /// With whom to tell that it is done.
    Enforce(Sender<()>),
    Hold,
    Pin,
}

type Outcome = Result<Option<Ended>, Diagnostic>;

/// What became of a site.
#[derive(Debug)]
pub struct Past {
    pub name: String,
    pub place: String,
    pub ended: Result<Ended, Diagnostic>,
}

/// A policy that is not held any more.
#[derive(Debug)]
pub enum Ended {
    /// With what it has done.
    Over(End, Value),
    /// It stays beyond this process, by the files below this folder.
    Pinned(PathBuf),
}

impl Rollout {
    /// Puts policies in place, all or none. `tell` gets what happens by itself.
    ///
    /// # Errors
    /// As [`Site::find`] and [`Holder::start`], of the first that fails; two sites at one place.
    pub fn start(sites: Vec<Site>, wish: &Wish, catalog: &Catalog, tell: fn(&str)) -> Result<Rollout, Diagnostic> {
        let mut rollout = Rollout { posts: Vec::new(), enforce: wish.enforce };
        for site in sites {
            let (orders, told) = mpsc::channel();
            let (begin, begun) = mpsc::channel();
            let (wish, catalog, name) = (wish.clone(), catalog.clone(), site.name.clone());
            let thread = match threads::start(move || stand(site, wish, &catalog, tell, begin, &told)) {
                Ok(thread) => thread,
                Err(error) => {
                    rollout.give_up();
                    return Err(error);
                }
            };
            // One after the other, so that of several faults the first is told.
            match begun.recv() {
                Ok(place) => rollout.posts.push(Post { name, place, orders, thread }),
                Err(_) => {
                    rollout.give_up();
                    let failed = || Diagnostic::bug(format!("the thread for `{name}` ended"));
                    return Err(thread.join().ok().and_then(Result::err).unwrap_or_else(failed));
                }
            }
        }
        Ok(rollout)
    }

    /// Takes back what is in place.
    fn give_up(self) {
        for Post { orders, thread, .. } in self.posts {
            drop(orders);
            // What it would say is not what failed.
            let _over = thread.join();
        }
    }

    /// Names of the sites, and their places.
    pub fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.posts.iter().map(|post| (post.name.as_str(), post.place.as_str()))
    }

    /// Enforces all of them, if that was asked for: on return it is done.
    pub fn enforce(&mut self) {
        if !std::mem::take(&mut self.enforce) {
            return;
        }
        for post in &self.posts {
            let (done, is_done) = mpsc::channel();
            // A thread that failed says so at its end.
            let _failed = post.orders.send(Order::Enforce(done)).is_err() || is_done.recv().is_err();
        }
    }

    /// Holds all of them until each has ended: see [`Holder::hold`].
    pub fn hold(self) -> Vec<Past> {
        self.order(|| Order::Hold)
    }

    /// Keeps all of them beyond this process, or none: then only what failed is told.
    pub fn pin(self) -> Vec<Past> {
        let mut past = self.order(|| Order::Pin);
        if past.iter().any(|one| one.ended.is_err()) {
            for one in &past {
                if let Ok(Ended::Pinned(folder)) = &one.ended {
                    pinned::take_back(folder);
                }
            }
            past.retain(|one| one.ended.is_err());
        }
        past
    }

    fn order(mut self, order: impl Fn() -> Order) -> Vec<Past> {
        self.enforce();
        for post in &self.posts {
            // A thread that is not there any more says so below.
            let _ended = post.orders.send(order());
        }
        let past = self.posts.into_iter().map(|Post { name, place, thread, .. }| {
            let ended = match thread.join() {
                Ok(Ok(Some(ended))) => Ok(ended),
                Ok(Err(error)) => Err(error),
                Ok(Ok(None)) | Err(_) => Err(Diagnostic::bug(format!("the policy of `{place}` was given up"))),
            };
            Past { name, place, ended }
        });
        past.collect()
    }
}

/// The life of one thread.
fn stand(
    site: Site,
    wish: Wish,
    catalog: &Catalog,
    tell: fn(&str),
    begun: Sender<String>,
    told: &Receiver<Order>,
) -> Outcome {
    let place = site.find()?;
    let name = place.to_string();
    let wanted = holder::Wish {
        name: if site.name == name { String::new() } else { site.name },
        rules: site.view.rules,
        staged: site.staged.map(|view| view.rules),
        ttl: [wish.ttl, site.ttl].into_iter().flatten().min(),
        guarded: wish.guarded,
        options: wish.options,
        denials: wish.denials,
        over: wish.over,
    };
    let mut holder = Holder::start(place, wanted, catalog, tell)?;
    // Who does not wait for it has given up.
    let _given_up = begun.send(name);
    loop {
        return Ok(Some(match told.recv() {
            Ok(Order::Enforce(done)) => {
                holder.enforce(wish.confirm_within)?;
                let _gone = done.send(());
                continue;
            }
            Ok(Order::Pin) => Ended::Pinned(pinned::keep(&mut holder)?),
            Ok(Order::Hold) => Ended::Over(holder.hold()?, holder.status()?),
            Err(_) => return Ok(None),
        }));
    }
}
