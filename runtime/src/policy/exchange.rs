//! An exchange: other policies as they are written, for those that are at work at the same places. All of them or none.

use super::control::{self, Request};
use super::form;
use super::site::Site;
use crate::diagnostic::Diagnostic;
use crate::threads;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// A policy at work, and the rules that it is to have.
struct Seat {
    place: String,
    socket: PathBuf,
    rules: Value,
}

/// Exchanges the rules at each site, one site after the other; gives what their holders say, by place.
///
/// # Errors
/// As [`Site::find`] and [`control::ask`]; staged policies on either side. Then those that were exchanged already are
/// taken back.
pub fn exchange(sites: &[Site], within: Option<Duration>) -> Result<Vec<(String, Value)>, Diagnostic> {
    let seats = sites.iter().map(Seat::of).collect::<Result<Vec<_>, _>>()?;
    let mut answers = Vec::new();
    for (at, seat) in seats.iter().enumerate() {
        let request = Request::Swap { rules: seat.rules.clone(), within };
        match control::ask(&seat.place, &seat.socket, &request) {
            Ok(answer) => answers.push((seat.place.clone(), answer)),
            Err(error) => {
                for done in &seats[..at] {
                    // It may be gone by now; then there is nothing to take back.
                    let _gone = control::ask(&done.place, &done.socket, &Request::Rollback { all: false });
                }
                return Err(error);
            }
        }
    }
    Ok(answers)
}

impl Seat {
    /// Looks for the site's policy, from a thread that may be in its network namespace.
    fn of(site: &Site) -> Result<Seat, Diagnostic> {
        threads::aside(|| Seat::find(site))
    }

    fn find(site: &Site) -> Result<Seat, Diagnostic> {
        let place = site.find()?.to_string();
        let socket = control::path(&place);
        let status = control::ask(&place, &socket, &Request::Status)?;
        if site.staged.is_some() || status["staged"].is_array() {
            let message = format!("`{}` has staged policies, which cannot be exchanged", site.name);
            return Err(Diagnostic::script(message).help("skep policy rollback, then skep policy apply"));
        }
        Ok(Seat { place, socket, rules: form::written(&site.view.rules) })
    }
}
