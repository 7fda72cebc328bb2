//! speedscope's JSON, one profile for each type of values. Source: speedscope's file-format-spec.ts.

use crate::error::Error;
use crate::profile::{Frame, Profile};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;

/// Writes a profile for speedscope.app. Stacks without a value of a type are left out of its profile.
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, out: &mut dyn Write) -> Result<(), Error> {
    let mut numbers: HashMap<&Frame, usize> = HashMap::new();
    let mut frames = Vec::new();
    let mut stacks = Vec::new();
    for stack in &profile.stacks {
        let stack: Vec<usize> = stack
            .frames
            .iter()
            .map(|frame| {
                *numbers.entry(frame).or_insert_with(|| {
                    frames.push(described(frame));
                    frames.len() - 1
                })
            })
            .collect();
        stacks.push(stack);
    }
    let profiles: Vec<Value> = (0..profile.types.len()).map(|value| sampled(profile, value, &stacks)).collect();
    let file = json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": concat!("skep ", env!("CARGO_PKG_VERSION")),
        "name": profile.title,
        "activeProfileIndex": 0,
        "shared": { "frames": frames },
        "profiles": profiles,
    });
    serde_json::to_writer(&mut *out, &file).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

fn described(frame: &Frame) -> Value {
    let mut value = json!({ "name": frame.name });
    if let Some((file, line)) = &frame.line {
        value["file"] = json!(&**file);
        // The schema has lines from 1.
        if *line > 0 {
            value["line"] = json!(line);
        }
    } else if let Some(module) = &frame.module {
        value["file"] = json!(module.path);
    }
    value
}

fn sampled(profile: &Profile, value: usize, stacks: &[Vec<usize>]) -> Value {
    let of = &profile.types[value];
    let unit = match of.unit.as_str() {
        unit @ ("nanoseconds" | "microseconds" | "milliseconds" | "seconds" | "bytes") => unit,
        _ => "none",
    };
    let weights = profile.stacks.iter().map(|stack| stack.values.get(value).copied().unwrap_or(0));
    let (samples, weights): (Vec<&Vec<usize>>, Vec<u64>) =
        stacks.iter().zip(weights).filter(|(_, weight)| *weight > 0).unzip();
    json!({
        "type": "sampled",
        "name": format!("{} ({})", profile.title, of.kind),
        "unit": unit,
        "startValue": 0,
        "endValue": profile.total(value),
        "samples": samples,
        "weights": weights,
    })
}
