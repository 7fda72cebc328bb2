//! A flame graph of one run, drawn by inferno: an SVG to open in a browser, where a click zooms and Ctrl-F searches.

use crate::error::Error;
use crate::palette::Family;
use crate::profile::{Profile, ValueType};
use crate::{fold, unit};
use inferno::flamegraph as inferno;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

/// How a graph is drawn.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// In the place of the profile's.
    pub title: Option<String>,
    /// In the place of the total.
    pub subtitle: Option<String>,
    /// Which of the profile's types of values gives the widths.
    pub value: usize,
    /// The root on top, growing down.
    pub icicle: bool,
    /// In pixels; the window's width where it is not given.
    pub width: Option<usize>,
}

/// Draws a profile. The same profile gives the same text. One without samples gives a graph that says so.
///
/// # Errors
/// No such type of value; those of `out`.
pub fn write(profile: &Profile, options: &Options, out: &mut dyn Write) -> Result<(), Error> {
    let of = value_type(profile, options.value)?;
    let stacks = fold::merged(profile, options.value);
    let graph = Graph {
        title: options.title.clone().unwrap_or_else(|| profile.title.clone()),
        subtitle: options.subtitle.clone().unwrap_or_else(|| subtitle(profile, options.value, of)),
        of,
        values: stacks.into_iter().map(|(stack, value)| (stack, value.to_string())).collect(),
        colours: Some(colours(profile)),
        negated: false,
    };
    graph.draw(options, out)
}

/// The type of number `value`, which may come from a command line.
pub(crate) fn value_type(profile: &Profile, value: usize) -> Result<&ValueType, Error> {
    let types = profile.types.len();
    profile.types.get(value).ok_or_else(|| Error::new(format!("no type {value} of values: the profile has {types}")))
}

/// `1,980 samples in 20.0 s`
fn subtitle(profile: &Profile, value: usize, of: &ValueType) -> String {
    let mut text = unit::show(profile.total(value), &of.unit);
    if !unit::speaks(&of.unit) || of.kind != "cpu" {
        text = format!("{text} {}", of.kind);
    }
    if profile.duration > Duration::ZERO {
        let elapsed = u64::try_from(profile.duration.as_nanos()).unwrap_or(u64::MAX);
        text = format!("{text} in {}", unit::show(elapsed, "nanoseconds"));
    }
    text
}

/// Of each name in folded text the family that gives its colour.
fn colours(profile: &Profile) -> BTreeMap<String, Family> {
    let frames = profile.stacks.iter().flat_map(|stack| &stack.frames);
    frames.map(|frame| (fold::name(frame), Family::of(frame))).collect()
}

/// What is drawn, before anything is chosen about how.
pub(crate) struct Graph<'a> {
    pub title: String,
    pub subtitle: String,
    pub of: &'a ValueType,
    /// Folded stacks, each with its value, or two values to compare.
    pub values: Vec<(String, String)>,
    /// None where colours tell the difference of two values.
    pub colours: Option<BTreeMap<String, Family>>,
    /// Of two values the first is the newer.
    pub negated: bool,
}

impl Graph<'_> {
    pub(crate) fn draw(mut self, options: &Options, out: &mut dyn Write) -> Result<(), Error> {
        if self.values.is_empty() {
            return Ok(out.write_all(self.empty(options).as_bytes())?);
        }
        // inferno sorts whole lines, where `a;b` comes behind `a.x`: an `a` with a value of its own would be drawn in two
        // pieces. Frames are sorted one by one here; what inferno takes as it is are flame charts, the last line first.
        self.values.sort_by(|(a, _), (b, _)| b.split(';').cmp(a.split(';')));
        let lines: Vec<String> = self.values.iter().map(|(stack, values)| format!("{stack} {values}")).collect();
        let mut palette = inferno::color::PaletteMap::default();
        for (name, family) in self.colours.iter().flatten() {
            palette.insert(name, colour(family.shade(name)));
        }
        // The root, which stands for everything.
        palette.insert("", colour(Family::Group.middle()));
        let mut drawing = inferno::Options::default();
        drawing.flame_chart = true;
        drawing.title = fold_text(&self.title);
        drawing.subtitle = Some(fold_text(&self.subtitle));
        drawing.count_name = if unit::speaks(&self.of.unit) { &self.of.unit } else { &self.of.kind }.clone();
        drawing.image_width = options.width.map(|width| width.max(NARROWEST));
        drawing.direction = if options.icicle { inferno::Direction::Inverted } else { inferno::Direction::Straight };
        drawing.text_truncate_direction = inferno::TextTruncateDirection::Right;
        drawing.bgcolors = Some(inferno::color::BackgroundColor::Flat(colour([255, 255, 255])));
        drawing.negate_differentials = self.negated;
        drawing.name_type = String::new();
        drawing.palette_map = self.colours.is_some().then_some(&mut palette);
        let mut svg = Vec::new();
        inferno::from_lines(&mut drawing, lines.iter().map(String::as_str), &mut svg)?;
        let svg = String::from_utf8_lossy(&svg);
        Ok(out.write_all(self.finish(&svg).as_bytes())?)
    }

    /// Values in units that read well, and a legend: neither is inferno's to offer.
    fn finish(&self, svg: &str) -> String {
        let mut text = String::with_capacity(svg.len() + 1024);
        let (body, end) = svg.rsplit_once("</svg>").unwrap_or((svg, ""));
        let mut parts = body.split("<title>");
        text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            text.push_str("<title>");
            match part.split_once("</title>") {
                Some((title, rest)) => {
                    text.push_str(&self.readable(title).unwrap_or_else(|| title.to_owned()));
                    text.push_str("</title>");
                    text.push_str(rest);
                }
                None => text.push_str(part),
            }
        }
        if let Some(colours) = &self.colours {
            text.push_str(&legend(colours.values().copied().collect()));
        }
        text.push_str("</svg>\n");
        text.push_str(end);
        text
    }

    /// `read (12,345,678 nanoseconds, 3.20%)` as `read (12.3 ms, 3.20%)`.
    fn readable(&self, title: &str) -> Option<String> {
        if !unit::speaks(&self.of.unit) {
            return None;
        }
        let (name, value) = title.rsplit_once(" (")?;
        let (number, rest) = value.split_once(&format!(" {}", self.of.unit))?;
        let number = number.replace(',', "").parse().ok()?;
        Some(format!("{name} ({}{rest}", unit::show(number, &self.of.unit)))
    }

    fn empty(&self, options: &Options) -> String {
        let width = options.width.unwrap_or(1200).max(NARROWEST);
        let title = escape(&self.title);
        format!(
            "<?xml version=\"1.0\" standalone=\"no\"?>\n\
             <svg version=\"1.1\" width=\"{width}\" height=\"90\" viewBox=\"0 0 {width} 90\" \
             xmlns=\"http://www.w3.org/2000/svg\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <g font-family=\"monospace\" text-anchor=\"middle\">\n\
             <text id=\"title\" x=\"50%\" y=\"24\" font-size=\"17\">{title}</text>\n\
             <text x=\"50%\" y=\"60\" font-size=\"12\">no samples</text>\n\
             </g>\n</svg>\n"
        )
    }
}

/// Below this inferno's own texts have no room, and its arithmetic none either.
const NARROWEST: usize = 200;

fn colour([r, g, b]: [u8; 3]) -> inferno::color::Color {
    inferno::color::Color { r, g, b }
}

/// A title without what XML cannot hold; inferno escapes the rest.
fn fold_text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')).collect()
}

fn escape(text: &str) -> String {
    fold_text(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Left of the subtitle: a square and a word for each family that is there.
fn legend(families: BTreeSet<Family>) -> String {
    let mut text = String::from("<g id=\"legend\">");
    let mut x = 10;
    for family in families {
        let Some(label) = family.label() else { continue };
        let [r, g, b] = family.middle();
        text.push_str(&format!(
            "<rect x=\"{x}\" y=\"39\" width=\"10\" height=\"10\" fill=\"rgb({r},{g},{b})\"/>\
             <text x=\"{}\" y=\"48\">{label}</text>",
            x + 14
        ));
        x += 28 + 8 * label.len();
    }
    text.push_str("</g>");
    text
}
