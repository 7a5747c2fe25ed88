//! A small drawing board: axes, lines, bands and dots as inline SVG.
//!
//! Colours come from the page's style by class, so that a plot follows the reader's light or dark
//! theme. Every mark that matters has a shape of its own too, for readers who see no colours.

use std::fmt::Write;

use super::html::escape;

/// The size of a plot and the room around its axes, in units of the drawing.
const WIDTH: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// From values to places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    /// Equal distances for equal differences.
    pub(super) fn linear(from: f64, to: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self { from, to, logarithmic: false }
    }

    /// Equal distances for equal ratios.
    pub(super) fn logarithmic(from: f64, to: f64) -> Self {
        assert!(from > 0.0, "a logarithmic axis has no zero");
        let to = if to > from { to } else { from * 10.0 };
        Self { from, to, logarithmic: true }
    }

    /// The place of a value as a share of the axis; what lies beyond its ends is put at them.
    fn share(self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        share.clamp(0.0, 1.0)
    }

    /// Round values along the axis.
    pub(super) fn ticks(self) -> Vec<f64> {
        if self.logarithmic { self.logarithmic_ticks() } else { self.linear_ticks() }
    }

    fn linear_ticks(self) -> Vec<f64> {
        let raw = (self.to - self.from) / 5.0;
        let magnitude = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * magnitude)
            .find(|&step| step >= raw)
            .unwrap_or(raw);
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).map(|number| number as f64 * step).collect()
    }

    fn logarithmic_ticks(self) -> Vec<f64> {
        let decades = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
        let steps: &[f64] = match self.to / self.from {
            wide if wide > 200.0 => &[1.0],
            narrow if narrow < 6.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            _ => &[1.0, 2.0, 5.0],
        };
        decades
            .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)))
            .filter(|&tick| tick >= self.from * 0.999 && tick <= self.to * 1.001)
            .collect()
    }
}

/// The shape of a mark.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    Circle,
    Square,
}

/// A plot under construction.
pub(super) struct Plot {
    x: Scale,
    y: Scale,
    left: f64,
    height: f64,
    body: String,
}

impl Plot {
    pub(super) fn new(x: Scale, y: Scale) -> Self {
        Self { x, y, left: LEFT, height: 280.0, body: String::new() }
    }

    /// A plot with room for long labels on the left.
    pub(super) fn with_size(x: Scale, y: Scale, left: f64, height: f64) -> Self {
        Self { x, y, left, height, body: String::new() }
    }

    fn place_x(&self, value: f64) -> f64 {
        self.left + self.x.share(value) * (WIDTH - RIGHT - self.left)
    }

    fn place_y(&self, value: f64) -> f64 {
        self.height - BOTTOM - self.y.share(value) * (self.height - BOTTOM - TOP)
    }

    /// The horizontal axis: its name, and marks with labels.
    pub(super) fn x_axis(&mut self, name: &str, ticks: &[(f64, String)]) {
        let bottom = self.height - BOTTOM;
        for (value, label) in ticks {
            let x = self.place_x(*value);
            let _ = writeln!(
                self.body,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 15.0,
                escape(label)
            );
        }
        let _ = writeln!(
            self.body,
            "<path class=\"axis\" d=\"M{:.1} {bottom:.1}H{:.1}\"/>\
             <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            self.left,
            WIDTH - RIGHT,
            f64::midpoint(self.left, WIDTH - RIGHT),
            self.height - 8.0,
            escape(name)
        );
    }

    /// The vertical axis: its name, and marks with labels.
    pub(super) fn y_axis(&mut self, name: &str, ticks: &[(f64, String)]) {
        for (value, label) in ticks {
            let y = self.place_y(*value);
            let _ = writeln!(
                self.body,
                "<path class=\"grid\" d=\"M{:.1} {y:.1}H{:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                self.left,
                WIDTH - RIGHT,
                self.left - 6.0,
                y + 4.0,
                escape(label)
            );
        }
        let middle = f64::midpoint(TOP, self.height - BOTTOM);
        let _ = writeln!(
            self.body,
            "<text class=\"name\" transform=\"translate(13 {middle:.1}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>",
            escape(name)
        );
    }

    /// The vertical axis of things that have names and no order: labels without lines.
    pub(super) fn y_names(&mut self, names: &[(f64, String)]) {
        for (value, name) in names {
            let _ = writeln!(
                self.body,
                "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                self.left - 8.0,
                self.place_y(*value) + 4.0,
                escape(name)
            );
        }
    }

    /// Shades what lies between two values of the horizontal axis.
    pub(super) fn region(&mut self, from: f64, to: f64, label: &str) {
        let (left, right) = (self.place_x(from), self.place_x(to));
        let _ = writeln!(
            self.body,
            "<rect class=\"region\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <text class=\"note\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            right - left,
            self.height - BOTTOM - TOP,
            f64::midpoint(left, right),
            TOP + 13.0,
            escape(label)
        );
    }

    /// A vertical line across the plot.
    pub(super) fn rule(&mut self, at: f64, class: &str) {
        let x = self.place_x(at);
        let bottom = self.height - BOTTOM;
        let _ = writeln!(self.body, "<path class=\"{class}\" d=\"M{x:.1} {TOP}V{bottom:.1}\"/>");
    }

    /// A line through points.
    pub(super) fn line(&mut self, points: &[(f64, f64)], class: &str) {
        let path = self.path(points.iter().copied());
        let _ = writeln!(self.body, "<path class=\"line {class}\" d=\"{path}\"/>");
    }

    /// The area between two lines with the same places on the horizontal axis.
    pub(super) fn band(&mut self, points: &[(f64, f64, f64)], class: &str) {
        let (lower, upper): (Vec<_>, Vec<_>) =
            points.iter().map(|&(x, low, high)| ((x, low), (x, high))).unzip();
        self.area(&lower, &upper, class);
    }

    /// The area between two lines.
    pub(super) fn area(&mut self, one: &[(f64, f64)], other: &[(f64, f64)], class: &str) {
        let path = self.path(one.iter().chain(other.iter().rev()).copied());
        if !path.is_empty() {
            let _ = writeln!(self.body, "<path class=\"band {class}\" d=\"{path}Z\"/>");
        }
    }

    /// One mark with a text that appears under the pointer.
    pub(super) fn mark(&mut self, (x, y): (f64, f64), mark: Mark, class: &str, text: &str) {
        let (x, y) = (self.place_x(x), self.place_y(y));
        let shape = match mark {
            Mark::Circle => format!("circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\""),
            Mark::Square => format!(
                "rect x=\"{:.1}\" y=\"{:.1}\" width=\"8.4\" height=\"8.4\"",
                x - 4.2,
                y - 4.2
            ),
        };
        let name = shape.split(' ').next().unwrap_or_default();
        let _ = writeln!(
            self.body,
            "<{shape} class=\"mark {class}\"><title>{}</title></{name}>",
            escape(text)
        );
    }

    /// Many small dots as one path, which keeps the page small.
    pub(super) fn cloud(&mut self, points: impl IntoIterator<Item = (f64, f64)>, class: &str) {
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(path, "M{:.1} {:.1}h0", self.place_x(x), self.place_y(y));
        }
        if !path.is_empty() {
            let _ = writeln!(self.body, "<path class=\"cloud {class}\" d=\"{path}\"/>");
        }
    }

    /// Many small crosses as one path.
    pub(super) fn crosses(&mut self, points: impl IntoIterator<Item = (f64, f64)>, class: &str) {
        let mut path = String::new();
        for (x, y) in points {
            let (x, y) = (self.place_x(x), self.place_y(y));
            let _ = write!(path, "M{:.1} {:.1}l4 4m0 -4l-4 4", x - 2.0, y - 2.0);
        }
        if !path.is_empty() {
            let _ = writeln!(self.body, "<path class=\"cross {class}\" d=\"{path}\"/>");
        }
    }

    /// A bar from one value of the horizontal axis to another, so high in units of the drawing, with a text that
    /// appears under the pointer.
    pub(super) fn bar(
        &mut self,
        (from, to): (f64, f64),
        y: f64,
        height: f64,
        class: &str,
        text: &str,
    ) {
        let (left, right) = (self.place_x(from), self.place_x(to));
        let top = self.place_y(y) - height / 2.0;
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
             height=\"{height:.1}\"><title>{}</title></rect>",
            right - left,
            escape(text)
        );
    }

    /// A text at the top of the plot, to the right of a value, on a line of its own.
    pub(super) fn note_above(&mut self, at: f64, line: usize, text: &str) {
        let _ = writeln!(
            self.body,
            "<text class=\"note\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            self.place_x(at) + 3.0,
            TOP + 10.0 + 11.0 * line as f64,
            escape(text)
        );
    }

    /// A text at the top of the plot, to the left of a value, on a line of its own.
    pub(super) fn note_before(&mut self, at: f64, line: usize, text: &str) {
        let _ = writeln!(
            self.body,
            "<text class=\"note\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            self.place_x(at) - 4.0,
            TOP + 10.0 + 12.0 * line as f64,
            escape(text)
        );
    }

    /// A text to the right of a place.
    pub(super) fn note(&mut self, (x, y): (f64, f64), text: &str) {
        let _ = writeln!(
            self.body,
            "<text class=\"note\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            self.place_x(x) + 6.0,
            self.place_y(y) + 4.0,
            escape(text)
        );
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (x, y) in points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.place_x(x), self.place_y(y));
        }
        path
    }

    /// The finished plot, described for readers who do not see it.
    pub(super) fn finish(self, description: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            self.height,
            escape(description),
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::linear(0.0, 10.0).ticks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(
            Scale::linear(11_900.0, 12_600.0).ticks(),
            [12_000.0, 12_200.0, 12_400.0, 12_600.0]
        );
        let ticks = Scale::logarithmic(0.4, 30.0).ticks();
        assert_eq!(ticks.len(), 6);
        assert!((ticks[0] - 0.5).abs() < 1e-9 && (ticks[5] - 20.0).abs() < 1e-9);
    }

    #[test]
    fn places_lie_on_the_board_whatever_the_value() {
        let plot = Plot::new(Scale::linear(0.0, 1.0), Scale::logarithmic(1.0, 100.0));
        assert_eq!(plot.place_x(0.0), LEFT);
        assert_eq!(plot.place_x(7.0), WIDTH - RIGHT);
        assert_eq!(plot.place_y(100.0), TOP);
        assert_eq!(plot.place_y(0.0), 280.0 - BOTTOM);
        assert!((plot.place_y(10.0) - f64::midpoint(TOP, 280.0 - BOTTOM)).abs() < 1e-9);
    }
}
