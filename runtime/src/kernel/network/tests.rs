//! In a network namespace of the test's own, where `lo` is the only interface; and in a cgroup of its own.

use super::*;
use crate::kernel::cgroup;
use crate::kernel::load::load_bare;
use crate::slot::assembler::Insn;
use std::net::UdpSocket;
use std::process::Command as Process;
use std::time::{Duration, Instant};

const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const TC_PASS: i32 = -1;
const TC_DROP: i32 = 2;

/// Runs in a new network namespace with `lo` up; not without privilege.
fn alone(test: impl FnOnce(Interface) + Send + 'static) {
    if super::super::privilege::skips(&["CAP_BPF", "CAP_NET_ADMIN"]) {
        return;
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: takes an integer; the thread, and what it starts, leaves the namespace that others use.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        run("ip", &["link", "set", "lo", "up"]);
        let lo = Interface::named("lo").expect("every namespace has it");
        assert_eq!(Interface::all().expect("they can be listed"), std::slice::from_ref(&lo));
        test(lo);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What a program prints.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Process::new(program).args(arguments).output().expect("it is installed");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A program that does nothing but answer.
fn program(hook: Hook, result: i32) -> OwnedFd {
    let code = [Insn { code: 0xb7, dst: 0, src: 0, off: 0, imm: result }, Insn::exit()];
    load_bare(hook.program_kind(), &code).expect("it is loaded")
}

/// Does a datagram arrive?
fn passes() -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("lo is up");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("it can have one");
    let to = socket.local_addr().expect("it is bound");
    // A drop on the way out is an error of the call.
    let _sent = socket.send_to(b"skep", to);
    socket.recv(&mut [0; 8]).is_ok()
}

#[track_caller]
fn soon(what: impl Fn() -> bool) {
    let since = Instant::now();
    while !what() {
        assert!(since.elapsed() < Duration::from_secs(5), "it does not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn xdp_program_is_exchanged_and_detached_by_its_drop() {
    alone(|lo| {
        let (drops, lets) = (program(Hook::Xdp, XDP_DROP), program(Hook::Xdp, XDP_PASS));
        assert!(passes());
        let attached = Attachment::xdp(drops.as_fd(), &lo, XdpMode::Any).expect("lo takes a generic one");
        assert!(!passes());
        attached.replace(lets.as_fd()).expect("it is exchanged");
        assert!(passes());
        attached.replace(drops.as_fd()).expect("it is exchanged");
        assert!(!passes());
        assert_eq!(lo.xdp_programs().expect("it can be asked").len(), 1);
        drop(attached);
        assert!(passes());
        assert!(lo.xdp_programs().expect("it can be asked").is_empty());
    });
}

#[test]
fn second_xdp_program_is_refused_by_the_name_of_the_first() {
    alone(|lo| {
        let lets = program(Hook::Xdp, XDP_PASS);
        let _first = Attachment::xdp(lets.as_fd(), &lo, XdpMode::Generic).expect("lo takes a generic one");
        let id = attached_programs(Hook::Xdp, Target::Interface(&lo)).expect("it can be asked")[0];
        for mode in [XdpMode::Any, XdpMode::Generic] {
            let error = Attachment::xdp(lets.as_fd(), &lo, mode).expect_err("one is there");
            assert_eq!(error.message, format!("`lo` has an XDP program already: {id} (skep_bare)"));
        }
    });
}

#[test]
fn native_xdp_on_lo_is_refused_with_what_works() {
    alone(|lo| {
        let lets = program(Hook::Xdp, XDP_PASS);
        let error = Attachment::xdp(lets.as_fd(), &lo, XdpMode::Native).expect_err("lo has no driver");
        assert_eq!(error.message, "the driver of `lo` runs no XDP programs");
    });
}

#[test]
fn tc_program_is_exchanged_and_detached_by_its_drop_either_way() {
    alone(|lo| {
        let (drops, lets) = (program(Hook::TcIngress, TC_DROP), program(Hook::TcIngress, TC_PASS));
        let ways = if clsact::is_needed() { &[TcWay::Filter][..] } else { &[TcWay::Link, TcWay::Filter] };
        for (way, egress) in ways.iter().flat_map(|way| [(*way, false), (*way, true)]) {
            let attached = Attachment::tc(drops.as_fd(), &lo, egress, way).expect("it is attached");
            assert!(!passes(), "{way:?} {egress}");
            attached.replace(lets.as_fd()).expect("it is exchanged");
            assert!(passes(), "{way:?} {egress}");
            // A second one stands before it.
            let second = Attachment::tc(drops.as_fd(), &lo, egress, way).expect("it is attached");
            assert!(!passes(), "{way:?} {egress}");
            drop(second);
            assert!(passes(), "{way:?} {egress}");
            attached.replace(drops.as_fd()).expect("it is exchanged");
            drop(attached);
            assert!(passes(), "{way:?} {egress}");
            assert!(!run("tc", &["qdisc", "show", "dev", "lo"]).contains("clsact"), "{way:?} {egress}");
        }
    });
}

#[test]
fn tc_filters_of_others_stay_and_keep_their_qdisc() {
    alone(|lo| {
        let (drops, lets) = (program(Hook::TcIngress, TC_DROP), program(Hook::TcIngress, TC_PASS));
        let first = Attachment::tc(drops.as_fd(), &lo, false, TcWay::Filter).expect("it is attached");
        let mut other = Stub::attach(lets.as_fd(), lo.index, true).expect("it is attached");
        other.stay();
        drop((first, other));
        assert_eq!(run("tc", &["filter", "show", "dev", "lo", "ingress"]), "");
        assert!(run("tc", &["filter", "show", "dev", "lo", "egress"]).contains("skep"));
        assert!(passes());
        // And what was there before is not ours to remove.
        drop(Attachment::tc(drops.as_fd(), &lo, true, TcWay::Filter).expect("it is attached"));
        assert!(run("tc", &["filter", "show", "dev", "lo", "egress"]).contains("skep"));
    });
}

#[test]
fn qdisc_goes_with_the_last_of_our_filters() {
    alone(|lo| {
        let lets = program(Hook::TcIngress, TC_PASS);
        let attach = |egress| Attachment::tc(lets.as_fd(), &lo, egress, TcWay::Filter).expect("it is attached");
        let (ingress, egress) = (attach(false), attach(true));
        drop(ingress);
        assert!(run("tc", &["qdisc", "show", "dev", "lo"]).contains("clsact"));
        drop(egress);
        assert!(!run("tc", &["qdisc", "show", "dev", "lo"]).contains("clsact"));
    });
}

#[test]
fn tc_filter_whose_process_is_gone_passes_everything() {
    alone(|lo| {
        let drops = program(Hook::TcIngress, TC_DROP);
        let mut stub = Stub::attach(drops.as_fd(), lo.index, false).expect("it is attached");
        assert!(!passes());
        // As after SIGKILL: the filter stays, and its map is closed.
        stub.stay();
        drop(stub);
        soon(passes);
        assert!(run("tc", &["filter", "show", "dev", "lo", "ingress"]).contains("skep"));
    });
}

#[test]
fn programs_at_a_hook_are_listed_in_their_order() {
    alone(|lo| {
        if clsact::is_needed() {
            return println!("skipped: needs Linux 6.6");
        }
        let lets = program(Hook::TcEgress, TC_PASS);
        let at = |hook| attached_programs(hook, Target::Interface(&lo)).expect("it can be asked");
        let _first = Attachment::tc(lets.as_fd(), &lo, true, TcWay::Link).expect("it is attached");
        let one = at(Hook::TcEgress);
        let second = program(Hook::TcEgress, TC_PASS);
        let _second = Attachment::tc(second.as_fd(), &lo, true, TcWay::Link).expect("it is attached");
        let two = at(Hook::TcEgress);
        assert!(one.len() == 1 && two.len() == 2 && two[1] == one[0], "{one:?} {two:?}");
        assert!(at(Hook::TcIngress).is_empty());
    });
}

#[test]
fn interface_that_is_not_there_is_an_error_with_those_that_are() {
    alone(|lo| {
        let error = Interface::named("eth7").expect_err("there is none");
        assert_eq!((error.message.as_str(), error.help.as_deref()), ("no interface `eth7`", Some("it has lo")));
        let gone = Interface { name: "eth7".into(), index: lo.index + 4711, ..lo.clone() };
        let lets = program(Hook::TcIngress, TC_PASS);
        for way in [TcWay::Any, TcWay::Filter] {
            let error = Attachment::tc(lets.as_fd(), &gone, false, way).expect_err("it is gone");
            assert_eq!(error.message, "failed to attach to `eth7`: the interface is gone");
        }
        let lets = program(Hook::Xdp, XDP_PASS);
        let error = Attachment::xdp(lets.as_fd(), &gone, XdpMode::Any).expect_err("it is gone");
        assert_eq!(error.message, "failed to attach to `eth7`: the interface is gone");
    });
}

#[test]
fn cgroup_program_decides_for_its_processes_alone() {
    alone(|_| {
        let root = cgroup::mount_point().expect("cgroup v2 is mounted");
        let path = root.join(format!("skep-unit-{}", std::process::id()));
        std::fs::create_dir(&path).expect("a cgroup can be made");
        let folder = File::open(&path).expect("it is there");
        let connects = |inside: bool| {
            let server = std::net::TcpListener::bind("127.0.0.1:0").expect("lo is up");
            let port = server.local_addr().expect("it is bound").port();
            let enter = if inside { format!("echo $$ > {}/cgroup.procs && ", path.display()) } else { String::new() };
            let script = format!("{enter} exec 3<>/dev/tcp/127.0.0.1/{port}");
            Process::new("bash").args(["-c", &script]).output().expect("bash is there").status.success()
        };
        for hook in [Hook::Connect4, Hook::CgroupEgress] {
            let (refuses, lets) = (program(hook, 0), program(hook, 1));
            let target = path.display().to_string();
            let attached = Attachment::cgroup(refuses.as_fd(), hook, &folder, &target).expect("it is attached");
            if hook == Hook::Connect4 {
                assert!(!connects(true) && connects(false));
            }
            let ids = attached_programs(hook, Target::Cgroup(&folder, &target)).expect("it can be asked");
            assert_eq!(ids.len(), 1);
            attached.replace(lets.as_fd()).expect("it is exchanged");
            assert!(connects(true));
            drop(attached);
        }
        drop(folder);
        soon(|| std::fs::remove_dir(&path).is_ok());
    });
}
