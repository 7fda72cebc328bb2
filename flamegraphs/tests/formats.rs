//! speedscope's JSON as its schema has it, and folded text as inferno's collapser of `perf script` writes it.

mod common;

use common::{PERIOD, here, profile, text};
use inferno::collapse::Collapse;
use inferno::collapse::perf::{Folder, Options};
use serde_json::Value;
use skep_flamegraphs::profile::Origin;
use skep_flamegraphs::{fold, speedscope};

#[test]
fn speedscope_has_a_profile_for_each_type() {
    let json = text(|out| speedscope::write(&profile(), out));
    let file: Value = serde_json::from_str(&json).expect("json");
    assert_eq!(file["$schema"], "https://www.speedscope.app/file-format-schema.json");
    let frames = file["shared"]["frames"].as_array().expect("frames");
    let main = frames.iter().find(|frame| frame["name"] == "main").expect("main");
    assert_eq!((&main["file"], &main["line"]), (&Value::from("server.c"), &Value::from(40)));
    let profiles = file["profiles"].as_array().expect("profiles");
    let units: Vec<_> = profiles.iter().map(|profile| profile["unit"].as_str()).collect();
    assert_eq!(units, [Some("none"), Some("nanoseconds")]);
    for (profile, total) in profiles.iter().zip([23, 23 * PERIOD]) {
        assert_eq!(profile["type"], "sampled");
        let (samples, weights) = (profile["samples"].as_array(), profile["weights"].as_array());
        let (samples, weights) = (samples.expect("samples"), weights.expect("weights"));
        assert_eq!(samples.len(), weights.len());
        assert_eq!(weights.iter().filter_map(Value::as_u64).sum::<u64>(), total);
        assert_eq!(profile["endValue"], total);
        for frame in samples.iter().filter_map(Value::as_array).flatten() {
            assert!((frame.as_u64().expect("a number") as usize) < frames.len());
        }
        // The root first.
        assert_eq!(frames[samples[0][0].as_u64().expect("a number") as usize]["name"], "server");
    }
}

#[test]
fn folded_text_is_what_infernos_collapser_writes() {
    let mut options = Options::default();
    options.annotate_kernel = true;
    options.annotate_jit = true;
    let mut collapsed = Vec::new();
    let script = here("fixtures/perf-script.txt");
    Folder::from(options).collapse_file(Some(&script), &mut collapsed).expect("collapse");
    let collapsed = String::from_utf8(collapsed).expect("text");
    assert!(collapsed.contains("_[k]") && collapsed.contains("_[j]") && collapsed.contains(";[node];"), "{collapsed}");
    let read = fold::read(&collapsed, "perf");
    assert_eq!((read.bad, read.profile.total(0)), (0, 5 * PERIOD));
    let origins = read.profile.stacks.iter().flat_map(|stack| &stack.frames).map(|frame| frame.origin);
    assert_eq!(origins.filter(|origin| *origin == Origin::Kernel).count(), 6);
    assert_eq!(text(|out| Ok(fold::write(&read.profile, 0, out)?)), collapsed);
}
