//! Drawings: charts of panels one below the other, and what they are made of.
//!
//! A drawing brings its own background and follows the reader's choice of light or dark; its colours can be told apart by
//! those who see some of them alike (Okabe and Ito's).

use std::fmt::Write;

/// Width of a drawing, in its own units.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 20.0;
const GAP: f64 = 30.0;
/// Colours on white and on black.
const COLOURS: [(&str, &str); 6] = [
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff8c42"),
    ("#009e73", "#2bd4a0"),
    ("#b0579a", "#e69fce"),
    ("#8a6d00", "#f0e442"),
    ("#555555", "#bbbbbb"),
];

/// A line or a cloud of points.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Which colour, counted from 0.
    pub(crate) colour: usize,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) mark: Mark,
}

/// How the points of a series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Joined by a line.
    Line,
    /// The same, thin and dashed: what is expected.
    Dashes,
    /// A value holds until the next one.
    Steps,
    /// Two points each are the ends of a bar.
    Bars,
    /// The same, wide and at least so long that it can be seen.
    BoldBars,
    /// The same, faint.
    FaintBars,
    /// A cross on each.
    Crosses,
    /// Joined by a line, and a dot on each.
    Dots,
}

/// One pair of axes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Panel {
    /// What is drawn upwards, with its unit.
    pub(crate) label: String,
    pub(crate) height: f64,
    pub(crate) series: Vec<Series>,
    /// The least and greatest value, where the series do not decide.
    pub(crate) range: Option<(f64, f64)>,
}

/// A drawing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    /// What is drawn to the right, with its unit.
    pub(crate) label: String,
    pub(crate) range: (f64, f64),
    /// Each power of ten takes the same width.
    pub(crate) logarithmic: bool,
    /// Colour, mark and meaning.
    pub(crate) legend: Vec<(usize, Mark, String)>,
    pub(crate) panels: Vec<Panel>,
}

impl Chart {
    /// As SVG.
    pub(crate) fn render(&self) -> String {
        let top = 86.0;
        let height = top + self.panels.iter().map(|p| p.height + GAP).sum::<f64>() + 26.0;
        let mut out = head(height, &format!("{}. {}", self.title, self.subtitle));
        text(&mut out, 16.0, 26.0, "title", &self.title);
        text(&mut out, 16.0, 46.0, "note", &self.subtitle);
        self.draw_legend(&mut out);
        let mut y = top;
        for (i, panel) in self.panels.iter().enumerate() {
            self.draw(&mut out, panel, y, i + 1 == self.panels.len());
            y += panel.height + GAP;
        }
        let _ = write!(
            out,
            "<text class=\"axis\" text-anchor=\"middle\" x=\"{:.0}\" y=\"{:.0}\">",
            LEFT / 2.0 + WIDTH / 2.0,
            height - 12.0
        );
        let _ = writeln!(out, "{}</text>\n</svg>", escape(&self.label));
        out
    }

    fn draw_legend(&self, out: &mut String) {
        let mut x = 16.0;
        for (colour, mark, meaning) in &self.legend {
            let y = 66.0;
            let shape = match mark {
                Mark::Bars | Mark::BoldBars | Mark::FaintBars => format!("M{x:.0} {:.0}v10", y - 9.0),
                Mark::Crosses => cross(x, y - 4.0),
                _ => format!("M{x:.0} {:.0}h18", y - 4.0),
            };
            let _ = writeln!(out, "<path class=\"{} c{colour}\" d=\"{shape}\"/>", class(*mark));
            if *mark == Mark::Dots {
                let _ = writeln!(
                    out,
                    "<circle class=\"f{colour}\" cx=\"{:.0}\" cy=\"{:.0}\" r=\"3\"/>",
                    x + 9.0,
                    y - 4.0
                );
            }
            let wide = if matches!(mark, Mark::Bars | Mark::BoldBars | Mark::FaintBars | Mark::Crosses) {
                8.0
            } else {
                24.0
            };
            text(out, x + wide, y, "axis", meaning);
            x += wide + 16.0 + 6.6 * meaning.chars().count() as f64;
        }
    }

    fn draw(&self, out: &mut String, panel: &Panel, top: f64, last: bool) {
        let (low, high) = panel.range.unwrap_or_else(|| span(&panel.series));
        let bottom = top + panel.height;
        let up = |v: f64| bottom - (v - low) / (high - low) * panel.height;
        for tick in ticks(low, high, (panel.height / 32.0) as usize) {
            let y = up(tick);
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.0}\"/>", WIDTH - RIGHT);
            end_text(out, LEFT - 6.0, y + 4.0, &number(tick));
        }
        let (left, right) = self.range;
        let steps = if self.logarithmic { decades(left, right) } else { ticks(left, right, 12) };
        for tick in steps {
            let x = self.across(tick);
            let _ = writeln!(out, "<path class=\"grid\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>");
            if last {
                let _ = write!(
                    out,
                    "<text class=\"axis\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">",
                    bottom + 16.0
                );
                let _ = writeln!(out, "{}</text>", number(tick));
            }
        }
        let middle = top + panel.height / 2.0;
        let _ = write!(
            out,
            "<text class=\"axis\" text-anchor=\"middle\" transform=\"translate(16 {middle:.0}) rotate(-90)\">"
        );
        let _ = writeln!(out, "{}</text>", escape(&panel.label));
        for series in &panel.series {
            let points: Vec<(f64, f64)> =
                series.points.iter().map(|&(x, y)| (self.across(x), up(y.clamp(low, high)))).collect();
            draw_series(out, series, &points);
        }
        let _ =
            writeln!(out, "<path class=\"frame\" d=\"M{LEFT} {top:.1}V{bottom:.1}H{:.0}\"/>", WIDTH - RIGHT);
    }

    fn across(&self, x: f64) -> f64 {
        let (left, right) = self.range;
        let scale = |v: f64| if self.logarithmic { v.max(1e-12).log10() } else { v };
        LEFT + (scale(x) - scale(left)) / (scale(right) - scale(left)) * (WIDTH - LEFT - RIGHT)
    }
}

fn draw_series(out: &mut String, series: &Series, points: &[(f64, f64)]) {
    let mut d = String::new();
    match series.mark {
        Mark::Bars | Mark::BoldBars | Mark::FaintBars => points.chunks_exact(2).for_each(|bar| {
            let spare = if series.mark == Mark::BoldBars { 2.5 } else { 0.0 };
            let _ = write!(d, "M{:.1} {:.1}V{:.1}", bar[0].0, bar[0].1 + spare, bar[1].1 - spare);
        }),
        Mark::Crosses => points.iter().for_each(|&(x, y)| d += &cross(x, y)),
        mark => {
            let mut before = None;
            for &(x, y) in points {
                match before {
                    None => drop(write!(d, "M{x:.1} {y:.1}")),
                    Some(_) if mark == Mark::Steps => drop(write!(d, "H{x:.1}V{y:.1}")),
                    // What falls on the same place need not be drawn again.
                    Some((a, b)) if f64::abs(a - x) < 0.05 && f64::abs(b - y) < 0.05 => continue,
                    Some(_) => drop(write!(d, "L{x:.1} {y:.1}")),
                }
                before = Some((x, y));
            }
        }
    }
    let _ = writeln!(out, "<path class=\"{} c{}\" d=\"{d}\"/>", class(series.mark), series.colour);
    if series.mark == Mark::Dots {
        for (x, y) in points {
            let _ =
                writeln!(out, "<circle class=\"f{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>", series.colour);
        }
    }
}

fn cross(x: f64, y: f64) -> String {
    format!("M{:.1} {:.1}l7 7m-7 0l7 -7", x - 3.5, y - 3.5)
}

const fn class(mark: Mark) -> &'static str {
    match mark {
        Mark::Dashes => "line dashes",
        Mark::Bars => "line bars",
        Mark::BoldBars => "line bold",
        Mark::FaintBars => "line bars faint",
        _ => "line",
    }
}

fn head(height: f64, description: &str) -> String {
    let mut style = String::from(
        "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#333}\
         .title{font-size:17px;font-weight:600;fill:#111}.note,.axis{fill:#555}\
         .page{fill:#fff}.grid{stroke:#e4e4e4;fill:none}.frame{stroke:#999;fill:none}\
         .line{fill:none;stroke-width:1.6;stroke-linejoin:round}.dashes{stroke-dasharray:6 4}.bars{stroke-width:2}\
         .bold{stroke-width:3.5}.faint{opacity:.3}",
    );
    let mut dark = String::from(
        "text{fill:#ccc}.title{fill:#f0f0f0}.note,.axis{fill:#aaa}.page{fill:#11151a}.grid{stroke:#2a3038}.frame{stroke:#666}",
    );
    for (i, (light, black)) in COLOURS.iter().enumerate() {
        let _ = write!(style, ".c{i}{{stroke:{light}}}.f{i}{{fill:{light}}}");
        let _ = write!(dark, ".c{i}{{stroke:{black}}}.f{i}{{fill:{black}}}");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\">\n\
         <title>{}</title>\n<style>{style}@media(prefers-color-scheme:dark){{{dark}}}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height:.0}\" rx=\"6\"/>\n",
        escape(description)
    )
}

fn text(out: &mut String, x: f64, y: f64, class: &str, what: &str) {
    let _ = writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(what));
}

fn end_text(out: &mut String, x: f64, y: f64, what: &str) {
    let _ = writeln!(out, "<text class=\"axis\" text-anchor=\"end\" x=\"{x:.1}\" y=\"{y:.1}\">{what}</text>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// From nothing to a round number above everything.
fn span(series: &[Series]) -> (f64, f64) {
    let values = series.iter().flat_map(|s| &s.points).map(|p| p.1);
    let most = values.fold(0.0, f64::max);
    let step = step(most.max(1e-9), 4);
    (0.0, (most / step).ceil().max(1.0) * step)
}

/// A round step that makes about so many of `range`.
fn step(range: f64, count: usize) -> f64 {
    let rough = range / count.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|t| t * power >= rough * 0.999);
    times.unwrap_or(10.0) * power
}

fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let step = step(high - low, count.max(2));
    let first = (low / step - 1e-9).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|&t| t <= high + step * 1e-6).collect()
}

fn decades(low: f64, high: f64) -> Vec<f64> {
    let first = low.log10().ceil() as i32;
    (first..).map(|p| 10_f64.powi(p)).take_while(|&t| t <= high * 1.0001).collect()
}

fn number(x: f64) -> String {
    let text = format!("{x:.4}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_divided_by_round_numbers() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.0, 60.0, 12), (0..=12).map(|i| f64::from(i) * 5.0).collect::<Vec<_>>());
        assert_eq!(decades(0.01, 3.0), [0.01, 0.1, 1.0]);
        assert_eq!(number(0.5), "0.5");
        assert_eq!(number(100.0), "100");
    }

    #[test]
    fn a_drawing_is_well_formed_whatever_its_words() {
        let series = Series { colour: 0, points: vec![(0.0, 1.0), (1.0, 2.0)], mark: Mark::Line };
        let panel = Panel { label: "a < b".into(), height: 100.0, series: vec![series], range: None };
        let chart =
            Chart { title: "A & B".into(), range: (0.0, 1.0), panels: vec![panel], ..Chart::default() };
        let svg = chart.render();
        assert!(svg.contains("A &amp; B") && svg.contains("a &lt; b"), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
