//! Graphs against goldens. inferno's script is left out of these, each element has a line.

mod common;

use common::{golden, profile, text};
use skep_flamegraphs::diff::{self, Widths};
use skep_flamegraphs::fold;
use skep_flamegraphs::profile::Profile;
use skep_flamegraphs::svg::{self, Options};

fn drawn(profile: &Profile, options: &Options) -> String {
    text(|out| svg::write(profile, options, out))
}

/// Without the script, one element a line.
fn lines(svg: &str) -> String {
    let (before, script) = svg.split_once("<script").expect("a script");
    let (script, after) = script.split_once("</script>").expect("a script that ends");
    for function in ["function zoom(", "function search(", "history.replaceState"] {
        assert!(script.contains(function), "{function}");
    }
    format!("{before}<script></script>{after}").replace("><", ">\n<")
}

#[test]
fn flame_graph_of_samples() {
    let options = Options { width: Some(800), ..Options::default() };
    let svg = drawn(&profile(), &options);
    assert_eq!(svg, drawn(&profile(), &options), "drawn twice");
    golden("samples.svg", &lines(&svg));
}

#[test]
fn icicle_of_cpu_time() {
    let options = Options {
        title: Some("CPU <time> & more\u{1}".into()),
        subtitle: Some("by hand".into()),
        value: 1,
        icicle: true,
        width: None,
    };
    let svg = drawn(&profile(), &options);
    assert!(svg.contains("vfs_read (70.7 ms, 30.43%)"), "time reads as time");
    golden("icicle.svg", &lines(&svg));
}

#[test]
fn subtitle_of_time_says_how_much() {
    let mut waits = profile();
    waits.types[1].kind = "time".into();
    let svg = drawn(&waits, &Options { value: 1, ..Options::default() });
    assert!(svg.contains(">232 ms in 2.00 s<"), "{}", lines(&svg));
}

#[test]
fn difference_of_two_runs() {
    let before = fold::read("srv;main;parse 40\nsrv;main;read 40\nsrv;main;log 20\n", "monday").profile;
    let after = fold::read("srv;main;parse 20\nsrv;main;read 20\nsrv;main;zip 160\n", "tuesday").profile;
    let drawn = |options: &diff::Options| text(|out| diff::write(&before, &after, options, out));
    let mut options = diff::Options::default();
    options.svg.width = Some(800);
    let normalised = drawn(&options);
    // 40 of 100 before are 80 of 200 now.
    assert!(normalised.contains("parse (20 samples, 10.00%; -30.00%)"));
    assert!(normalised.contains("zip (160 samples, 80.00%; +80.00%)"));
    assert!(normalised.contains("80.0% in new stacks; not drawn: stacks that are gone, 20.0% before"));
    golden("difference.svg", &lines(&normalised));
    options.normalise = false;
    assert!(drawn(&options).contains("parse (20 samples, 10.00%; -10.00%)"));
    options.normalise = true;
    options.widths = Widths::Before;
    let removed = drawn(&options);
    assert!(removed.contains("log (20 samples, 20.00%; -20.00%)"), "what is gone has the width it had");
    assert!(!removed.contains("zip"));
}

#[test]
fn equal_runs_are_white() {
    let svg = text(|out| diff::write(&profile(), &profile(), &diff::Options::default(), out));
    assert!(svg.contains("serve (19 samples, 82.61%; 0.00%)"));
    let (_, frames) = svg.split_once("<svg id=\"frames\"").expect("frames");
    let fills: Vec<_> = frames.split("fill=\"rgb(").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(fills.iter().all(|fill| *fill == "250,250,250"), "{fills:?}");
}

#[test]
fn values_of_different_units_are_not_compared() {
    let mut bytes = profile();
    bytes.types[0].unit = "bytes".into();
    let error = diff::write(&bytes, &profile(), &diff::Options::default(), &mut Vec::new()).expect_err("units");
    assert_eq!(error.to_string(), "values of different units: `bytes` and `count`");
}

#[test]
fn no_samples_is_a_graph_that_says_so() {
    let mut empty = profile();
    empty.stacks.clear();
    empty.title = "a < b".into();
    let svg = drawn(&empty, &Options::default());
    golden("empty.svg", &svg);
    let options = diff::Options::default();
    assert!(text(|out| diff::write(&profile(), &empty, &options, out)).contains("no samples"));
    // All of it new.
    assert!(text(|out| diff::write(&empty, &profile(), &options, out)).contains("+30.43%"));
}

#[test]
fn a_type_that_is_not_there_is_an_error() {
    let options = Options { value: 2, ..Options::default() };
    let error = svg::write(&profile(), &options, &mut Vec::new()).expect_err("no such type");
    assert_eq!(error.to_string(), "no type 2 of values: the profile has 2");
}

#[test]
fn a_function_with_a_value_of_its_own_is_one_rectangle() {
    let profile = fold::read("a 1\na.x 1\na;b 1\n", "t").profile;
    let svg = drawn(&profile, &Options::default());
    assert_eq!(svg.matches("<title>a (2 samples").count(), 1, "{}", lines(&svg));
}

#[test]
fn a_function_has_the_same_colour_in_every_graph() {
    let colour = |folded: &str| {
        let svg = drawn(&fold::read(folded, "t").profile, &Options::default());
        let (_, rest) = svg.split_once("<title>read").expect("the function");
        rest.split("fill=\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
    };
    assert_eq!(colour("main;read 1\n"), colour("x;y;read 7\nz 1\n"));
    assert_ne!(colour("main;read 1\n"), colour("main;read_[k] 1\n"));
}

#[test]
fn values_beyond_drawing_are_an_error() {
    let most = 1u64 << 55;
    let drawn = |folded: &str| svg::write(&fold::read(folded, "t").profile, &Options::default(), &mut Vec::new());
    assert!(drawn(&format!("a {most}\n")).is_ok());
    let error = drawn(&format!("a {}\nb {}\n", u64::MAX, u64::MAX)).expect_err("too much").to_string();
    assert_eq!(error, format!("values too great to draw: their sum is above {most}"));
    let small = fold::read("a 1\n", "t").profile;
    let great = fold::read(&format!("a {most}\nb 1\n"), "t").profile;
    let options = diff::Options { normalise: false, ..diff::Options::default() };
    assert!(diff::write(&great, &small, &options, &mut Vec::new()).is_err());
    assert!(diff::write(&great, &small, &diff::Options::default(), &mut Vec::new()).is_ok());
}
