//! A flame graph of one run, drawn by inferno: an SVG to open in a browser, where a click zooms and Ctrl-F searches.

use crate::error::Error;
use crate::palette::Family;
use crate::profile::{Profile, ValueType};
use crate::sign::may_act;
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
/// No such type of value; values whose sum is beyond drawing; those of `out`.
pub fn write(profile: &Profile, options: &Options, out: &mut dyn Write) -> Result<(), Error> {
    let of = value_type(profile, options.value)?;
    let stacks = fold::merged(profile, options.value);
    let graph = Graph {
        title: options.title.clone().unwrap_or_else(|| profile.title.clone()),
        subtitle: options.subtitle.clone().unwrap_or_else(|| subtitle(profile, options.value, of)),
        of,
        lines: stacks.into_iter().map(|(stack, value)| Line { stack, value, other: None }).collect(),
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
    // Time of what kind is in the title.
    if !unit::speaks(&of.unit) || !matches!(of.kind.as_str(), "cpu" | "time") {
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

/// One stack of a graph.
pub(crate) struct Line {
    /// Folded, without a value.
    pub stack: String,
    /// What gives the width.
    pub value: u64,
    /// What it is compared with.
    pub other: Option<u64>,
}

/// What is drawn, before anything is chosen about how.
pub(crate) struct Graph<'a> {
    pub title: String,
    pub subtitle: String,
    pub of: &'a ValueType,
    pub lines: Vec<Line>,
    /// None where colours tell the difference of two values.
    pub colours: Option<BTreeMap<String, Family>>,
    /// What they are compared with is the newer.
    pub negated: bool,
}

impl Graph<'_> {
    pub(crate) fn draw(mut self, options: &Options, out: &mut dyn Write) -> Result<(), Error> {
        if self.lines.is_empty() {
            return Ok(out.write_all(self.empty(options).as_bytes())?);
        }
        let sum = |value: fn(&Line) -> u64| self.lines.iter().map(|line| u128::from(value(line))).sum::<u128>();
        if sum(|line| line.value) > MOST || sum(|line| line.other.unwrap_or(0)) > MOST {
            return Err(Error::new(format!("values too great to draw: their sum is above {MOST}")));
        }
        // inferno sorts whole lines, where `a;b` comes behind `a.x`: an `a` with a value of its own would be drawn in two
        // pieces. Frames are sorted one by one here; what inferno takes as it is are flame charts, the last line first.
        self.lines.sort_by(|a, b| b.stack.split(';').cmp(a.stack.split(';')));
        let lines = self.lines.iter().map(|Line { stack, value, other }| match other {
            Some(other) => format!("{stack} {other} {value}"),
            None => format!("{stack} {value}"),
        });
        let lines: Vec<String> = lines.collect();
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
        // What did not change is nearly white.
        let background = if self.colours.is_some() { [255; 3] } else { [226; 3] };
        drawing.bgcolors = Some(inferno::color::BackgroundColor::Flat(colour(background)));
        drawing.negate_differentials = self.negated;
        // Monospaced fonts are 0.60 wide, and inferno takes the margins for room: its own guess, 0.59, lets names run out of
        // their frames.
        drawing.font_width = 0.63;
        drawing.name_type = String::new();
        drawing.palette_map = self.colours.is_some().then_some(&mut palette);
        let mut svg = Vec::new();
        inferno::from_lines(&mut drawing, lines.iter().map(String::as_str), &mut svg)?;
        let svg = String::from_utf8_lossy(&svg);
        Ok(out.write_all(self.finish(&svg).as_bytes())?)
    }

    /// Values in units that read well, a legend, an edge between neighbours of one colour: inferno offers none of them.
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
                    // The root's name is left to the script, which sets none where the width is fixed.
                    let rest = if title.starts_with("all (") && title.ends_with(" 100%)") {
                        rest.replacen("></text>", ">all</text>", 1)
                    } else {
                        rest.into()
                    };
                    text.push_str(&rest);
                }
                None => text.push_str(part),
            }
        }
        text.push_str("</svg>\n");
        text.push_str(end);
        if let Some(style) = text.find("</style>") {
            let edge = if self.colours.is_some() { "white" } else { "rgb(150,150,150)" };
            text.insert_str(style, &format!("#frames > g:not(:hover) > rect {{ stroke:{edge}; stroke-width:0.3; }}\n"));
        }
        let subtitle = text.find("<text id=\"subtitle\"").unwrap_or(text.len());
        if let (Some(colours), Some(end)) = (&self.colours, text[subtitle..].find("</text>")) {
            text.insert_str(subtitle + end, &legend(colours.values().copied().collect()));
        }
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

/// More than a year of nanoseconds. inferno multiplies values by 150 for its colours, and browsers count exactly up to 2^53.
const MOST: u128 = 1 << 55;

/// Below this inferno's own texts have no room, and its arithmetic none either.
const NARROWEST: usize = 200;

fn colour([r, g, b]: [u8; 3]) -> inferno::color::Color {
    inferno::color::Color { r, g, b }
}

/// A title without what XML cannot hold; inferno escapes the rest.
fn fold_text(text: &str) -> String {
    text.chars().filter(|c| !may_act(*c) && !matches!(c, '\u{fffe}' | '\u{ffff}')).collect()
}

fn escape(text: &str) -> String {
    fold_text(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Behind the subtitle: a square and a word for each family that is there.
fn legend(families: BTreeSet<Family>) -> String {
    let labelled = families.into_iter().filter_map(|family| Some((family.middle(), family.label()?)));
    labelled
        .map(|([r, g, b], label)| {
            format!("<tspan dx=\"16\" fill=\"rgb({r},{g},{b})\">\u{25a0}</tspan><tspan dx=\"4\">{label}</tspan>")
        })
        .collect()
}
