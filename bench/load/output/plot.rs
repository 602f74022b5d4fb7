//! A line plot as inline SVG: axes with titles, ticks that a person can read, one line for each series. It knows nothing of runs.
//! Colours are the page's (CSS variables), so that it fits light and dark; the numbers that the pointer shows are in `data-plot`.

use std::fmt::Write;

use serde_json::json;

use super::html_text::escaped;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 54.0;
/// As many colours as the page defines; further lines begin again, dashed.
pub const COLOURS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    Linear,
    Log,
    /// A percentile's distance from 100 on a logarithmic scale: 90, 99 and 99.9 are equally far apart.
    Percentile,
}

/// What the numbers of an axis are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    Seconds,
    Micros,
    PerSecond,
    Percentile,
    Cores,
    Mebibytes,
}

#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub title: &'static str,
    pub scale: Scale,
    pub unit: Unit,
    /// Linear axes only: begins at 0, so that lengths can be compared.
    pub from_zero: bool,
}

pub struct Line {
    pub name: String,
    pub colour: usize,
    pub dashed: bool,
    pub points: Vec<(f64, f64)>,
}

pub struct Plot {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    /// A level to compare with, and its name.
    pub limit: Option<(f64, String)>,
}

impl Axis {
    pub const TIME: Axis =
        Axis { title: "time since the start (s)", scale: Scale::Linear, unit: Unit::Seconds, from_zero: true };
    pub const RATE: Axis =
        Axis { title: "operations per second", scale: Scale::Linear, unit: Unit::PerSecond, from_zero: true };
    pub const LATENCY: Axis =
        Axis { title: "latency (log scale)", scale: Scale::Log, unit: Unit::Micros, from_zero: false };
    pub const PERCENTILE: Axis =
        Axis { title: "percentile (%)", scale: Scale::Percentile, unit: Unit::Percentile, from_zero: false };
    pub const CORES: Axis = Axis { title: "CPU (cores)", scale: Scale::Linear, unit: Unit::Cores, from_zero: true };
    pub const MEMORY: Axis =
        Axis { title: "resident memory (MiB)", scale: Scale::Linear, unit: Unit::Mebibytes, from_zero: true };
}

impl Scale {
    /// Where a value lies, in units of the scale.
    fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Log => value.max(1e-9).log10(),
            Scale::Percentile => -((100.0 - value).max(1e-9) / 100.0).log10(),
        }
    }
}

/// The part of an axis that is shown, in units of its scale, and where its ticks are.
struct Range {
    scale: Scale,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Range {
    fn new(axis: Axis, values: impl Iterator<Item = f64> + Clone) -> Range {
        let places = values.map(|value| axis.scale.place(value)).filter(|place| place.is_finite());
        let low = places.clone().fold(f64::INFINITY, f64::min);
        let high = places.fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        match axis.scale {
            Scale::Linear if axis.from_zero => Range::linear(low.min(0.0), high),
            Scale::Linear => Range::linear(low, high),
            Scale::Log => Range::log(low, high),
            Scale::Percentile => Range::percentile(high),
        }
    }

    /// In steps of 1, 2, 2.5 or 5 times a power of ten.
    fn linear(low: f64, high: f64) -> Range {
        let high = if high > low { high } else { low + 1.0 };
        let rough = (high - low) / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let low = (low / step).floor() * step;
        let steps = ((high - low) / step - 1e-9).ceil().max(1.0) as usize;
        let ticks = (0..=steps).map(|number| low + number as f64 * step).collect();
        Range { scale: Scale::Linear, low, high: low + steps as f64 * step, ticks }
    }

    /// Over a few powers of ten with what lies between them, over many with the powers alone.
    fn log(low: f64, high: f64) -> Range {
        let (low, high) =
            if high - low < 0.3 { ((low + high) / 2.0 - 0.15, (low + high) / 2.0 + 0.15) } else { (low, high) };
        let steps: &[f64] = match high - low {
            span if span < 0.8 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            span if span < 2.5 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let powers = (low.floor() as i32 - 1)..=(high.ceil() as i32);
        let all: Vec<f64> = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power))).collect();
        // Round outwards to the next ticks.
        let first = all.iter().rposition(|tick| tick.log10() <= low + 1e-9).unwrap_or(0);
        let last = all.iter().position(|tick| tick.log10() >= high - 1e-9).unwrap_or(all.len() - 1);
        let ticks = all[first..=last].to_vec();
        Range { scale: Scale::Log, low: all[first].log10(), high: all[last].log10(), ticks }
    }

    fn percentile(high: f64) -> Range {
        let high = high.clamp(2.0, 7.0);
        let all = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999, 99.99999];
        let ticks = all.into_iter().filter(|tick| Scale::Percentile.place(*tick) <= high + 1e-6).collect();
        Range { scale: Scale::Percentile, low: 0.0, high, ticks }
    }

    /// From 0 at the low end to 1 at the high end.
    fn share(&self, value: f64) -> f64 {
        ((self.scale.place(value) - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

impl Plot {
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Range::new(self.x, points().map(|point| point.0));
        let y = Range::new(self.y, points().map(|point| point.1).chain(self.limit.iter().map(|limit| limit.0)));
        let at_x = |value: f64| LEFT + x.share(value) * (WIDTH - LEFT - RIGHT);
        let at_y = |value: f64| HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM);
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let mut out = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" data-plot=\"{}\">",
            escaped(&self.title),
            escaped(&self.data(at_x, at_y))
        );
        for tick in &y.ticks {
            let (at, label) = (at_y(*tick), label(self.y.unit, *tick));
            put(&mut out, format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>"));
            let (text_x, text_y) = (LEFT - 8.0, at + 4.0);
            put(&mut out, format_args!("<text x=\"{text_x}\" y=\"{text_y:.1}\" text-anchor=\"end\">{label}</text>"));
        }
        for tick in &x.ticks {
            let (at, label, text_y) = (at_x(*tick), label(self.x.unit, *tick), bottom + 19.0);
            put(&mut out, format_args!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>"));
            put(&mut out, format_args!("<text x=\"{at:.1}\" y=\"{text_y}\" text-anchor=\"middle\">{label}</text>"));
        }
        put(&mut out, format_args!("<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>"));
        let (middle_x, middle_y, title_y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0, HEIGHT - 10.0);
        let (x_title, y_title) = (self.x.title, self.y.title);
        put(
            &mut out,
            format_args!(
                "<text class=\"title\" x=\"{middle_x}\" y=\"{title_y}\" text-anchor=\"middle\">{x_title}</text>"
            ),
        );
        put(
            &mut out,
            format_args!(
                "<text class=\"title\" x=\"18\" y=\"{middle_y}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {middle_y})\">{y_title}</text>"
            ),
        );
        if let Some((level, name)) = &self.limit {
            let at = at_y(*level);
            put(&mut out, format_args!("<path class=\"limit\" d=\"M{LEFT} {at:.1}H{right}\"/>"));
            let (text_x, text_y, name) = (LEFT + 8.0, at - 6.0, escaped(name));
            put(&mut out, format_args!("<text x=\"{text_x}\" y=\"{text_y:.1}\">{name}</text>"));
        }
        for (number, line) in self.lines.iter().enumerate() {
            put_line(&mut out, number, line, at_x, at_y);
        }
        put(&mut out, format_args!("<path class=\"cursor\" d=\"M0 {TOP}V{bottom}\" visibility=\"hidden\"/></svg>"));
        out
    }

    /// What the page's script shows at the pointer: names, places and labels of all points.
    fn data(&self, at_x: impl Fn(f64) -> f64, at_y: impl Fn(f64) -> f64) -> String {
        let lines = self.lines.iter().map(|line| {
            let points = line.points.iter().map(|(x, y)| {
                json!([
                    (at_x(*x) * 10.0).round() / 10.0,
                    (at_y(*y) * 10.0).round() / 10.0,
                    label(self.x.unit, *x),
                    value(self.y.unit, *y)
                ])
            });
            json!({"name": line.name, "colour": line.colour % COLOURS, "points": points.collect::<Vec<_>>()})
        });
        json!({"x": self.x.title, "lines": lines.collect::<Vec<_>>()}).to_string()
    }
}

fn put_line(out: &mut String, number: usize, line: &Line, at_x: impl Fn(f64) -> f64, at_y: impl Fn(f64) -> f64) {
    let colour = line.colour % COLOURS;
    let places: Vec<(f64, f64)> = line.points.iter().map(|(x, y)| (at_x(*x), at_y(*y))).collect();
    let dashes = if line.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    put(out, format_args!("<g class=\"line c{colour}\" data-line=\"{number}\">"));
    put(out, format_args!("<path d=\"M{}\"{dashes}/>", path.join("L")));
    // Few points are measurements that a person wants to see one by one.
    if places.len() <= 40 {
        for (x, y) in &places {
            put(out, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>"));
        }
    }
    put(out, format_args!("</g>"));
}

fn put(out: &mut String, text: std::fmt::Arguments) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

/// A tick, as short as it can be said.
fn label(unit: Unit, number: f64) -> String {
    match unit {
        Unit::Micros => value(unit, number),
        Unit::PerSecond => shortened(number),
        Unit::Percentile => trimmed(number, 5),
        Unit::Seconds | Unit::Cores | Unit::Mebibytes => trimmed(number, 2),
    }
}

/// A number with its unit.
pub fn value(unit: Unit, number: f64) -> String {
    match unit {
        Unit::Seconds => format!("{} s", trimmed(number, 2)),
        Unit::Micros if number >= 1e6 => format!("{} s", significant(number / 1e6)),
        Unit::Micros if number >= 1e3 => format!("{} ms", significant(number / 1e3)),
        Unit::Micros => format!("{} µs", significant(number)),
        Unit::PerSecond => format!("{} ops/s", shortened(number)),
        Unit::Percentile => format!("{} %", trimmed(number, 5)),
        Unit::Cores => format!("{} cores", trimmed(number, 2)),
        Unit::Mebibytes => format!("{} MiB", trimmed(number, 1)),
    }
}

fn shortened(number: f64) -> String {
    match number {
        number if number >= 1e6 => format!("{}M", significant(number / 1e6)),
        number if number >= 1e3 => format!("{}k", significant(number / 1e3)),
        number => trimmed(number, 1),
    }
}

/// Three significant digits, without zeros at the end.
fn significant(number: f64) -> String {
    trimmed(
        number,
        if number >= 100.0 {
            0
        } else if number >= 10.0 {
            1
        } else {
            2
        },
    )
}

fn trimmed(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_numbers_that_people_use() {
        let linear = Range::linear(0.0, 103_000.0);
        assert_eq!(linear.ticks, [0.0, 20_000.0, 40_000.0, 60_000.0, 80_000.0, 100_000.0, 120_000.0]);
        assert_eq!(
            Range::linear(85_000.0, 96_000.0).ticks,
            [84_000.0, 86_000.0, 88_000.0, 90_000.0, 92_000.0, 94_000.0, 96_000.0]
        );
        let log = Range::log(130f64.log10(), 1_900f64.log10());
        assert_eq!(
            log.ticks.iter().map(|tick| tick.round()).collect::<Vec<_>>(),
            [100.0, 200.0, 500.0, 1_000.0, 2_000.0]
        );
        let wide = Range::log(0.0, 6.0);
        assert_eq!(wide.ticks.len(), 7);
        let percentile = Range::percentile(3.5);
        assert_eq!(percentile.ticks, [0.0, 50.0, 90.0, 99.0, 99.9]);
    }

    #[test]
    fn ninety_ninety_nine_and_so_on_are_equally_far_apart() {
        let range = Range::percentile(4.0);
        let places = [0.0, 90.0, 99.0, 99.9, 99.99].map(|percentile| (range.share(percentile) * 100.0).round());
        assert_eq!(places, [0.0, 25.0, 50.0, 75.0, 100.0]);
    }

    #[test]
    fn numbers_carry_a_unit_of_their_size() {
        let micros = [0.5, 12.0, 999.0, 1_500.0, 2_000_000.0].map(|micros| value(Unit::Micros, micros));
        assert_eq!(micros, ["0.5 µs", "12 µs", "999 µs", "1.5 ms", "2 s"]);
        assert_eq!(
            [500.0, 5_000.0, 20_000.0, 2_500_000.0].map(|rate| label(Unit::PerSecond, rate)),
            ["500", "5k", "20k", "2.5M"]
        );
    }

    #[test]
    fn nothing_to_show_is_still_a_plot() {
        let axes = (Axis::TIME, Axis::LATENCY);
        let plot = Plot { title: "<nothing>".into(), x: axes.0, y: axes.1, lines: Vec::new(), limit: None };
        let svg = plot.svg();
        assert!(svg.contains("&lt;nothing&gt;") && svg.ends_with("</svg>") && !svg.contains("NaN"), "{svg}");
    }
}
