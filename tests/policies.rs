//! Policies at work, in network namespaces of the test's own: real connections at each place, what is left when a process
//! is killed, times that are kept under load, and rules that are exchanged while packets flow.

#[path = "policies/exchange.rs"]
mod exchange;
#[path = "policies/flows.rs"]
mod flows;
#[path = "policies/lives.rs"]
mod lives;
#[path = "policies/places.rs"]
mod places;
#[path = "policies/script.rs"]
mod script;
#[path = "policies/written.rs"]
mod written;

use skep_tests::setting;
