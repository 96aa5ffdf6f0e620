//! Lines over points as an SVG, which any browser shows.
//!
//! Written by hand because it is all there is to draw: two axes, a few lines, a name at the end of each.

use std::fmt::Write;

/// A line through points, or a level that needs no x.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its points, by x; one alone is drawn as a level across the chart.
    pub points: Vec<(f64, f64)>,
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The x axis.
    pub x: String,
    /// Whether the x axis goes by powers of two.
    pub log_x: bool,
    /// The y axis.
    pub y: String,
    /// Whether the y axis begins at 0, so that twice as high is twice as much.
    pub from_zero: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

/// Size of the whole.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
/// Edges of the frame; the names of the lines stand to its right.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 380.0;
/// Colours that people who see few of them tell apart (Okabe and Ito).
const COLOURS: [&str; 7] = ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// A line of more points has no dots.
const MOST_DOTS: usize = 40;
/// Least distance between two names.
const NAME_HEIGHT: f64 = 16.0;

impl Chart {
    /// The chart as an SVG document. Points without a finite place are left out.
    pub fn svg(&self) -> String {
        let lines: Vec<Line> =
            self.lines.iter().map(Line::drawable).filter(|line| !line.points.is_empty()).collect();
        let points = || lines.iter().flat_map(|line| line.points.iter());
        let scaled = |x: f64| if self.log_x { x.log2() } else { x };
        let xs = Scale::new(points().map(|(x, _)| scaled(*x)), LEFT, RIGHT, 0.0);
        let mut ys = Scale::new(points().map(|(_, y)| *y), BOTTOM, TOP, 0.05);
        if self.from_zero {
            ys.low = 0.0;
        }
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        text(&mut svg, (LEFT, 24.0), "start", &self.title);
        text(&mut svg, ((LEFT + RIGHT) / 2.0, HEIGHT - 16.0), "middle", &self.x);
        let _ = writeln!(
            svg,
            "<text transform=\"translate(18 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (TOP + BOTTOM) / 2.0,
            escaped(&self.y)
        );
        for y in ys.ticks() {
            let at = ys.place(y);
            rule(&mut svg, (LEFT, at), (RIGHT, at), "#dddddd");
            text(&mut svg, (LEFT - 8.0, at + 4.0), "end", &number(y));
        }
        for tick in if self.log_x { xs.powers() } else { xs.ticks() } {
            let at = xs.place(tick);
            rule(&mut svg, (at, BOTTOM), (at, BOTTOM + 5.0), "#000000");
            text(
                &mut svg,
                (at, BOTTOM + 20.0),
                "middle",
                &number(if self.log_x { tick.exp2() } else { tick }),
            );
        }
        rule(&mut svg, (LEFT, BOTTOM), (RIGHT, BOTTOM), "#000000");
        rule(&mut svg, (LEFT, BOTTOM), (LEFT, TOP), "#000000");

        let mut names = Vec::new();
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let at: Vec<(f64, f64)> =
                line.points.iter().map(|(x, y)| (xs.place(scaled(*x)), ys.place(*y))).collect();
            let end = at.last().map_or(BOTTOM, |(_, y)| *y);
            names.push((end, line.name.as_str(), *colour));
            let level = [(LEFT, end), (RIGHT, end)];
            let (path, dash) =
                if at.len() == 1 { (&level[..], " stroke-dasharray=\"6 4\"") } else { (&at[..], "") };
            let path: Vec<String> = path.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
                path.join(" ")
            );
            // So many that they run together are the line already.
            for (x, y) in at.into_iter().take_while(|_| line.points.len() <= MOST_DOTS) {
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
        }
        // From top to bottom, none over another.
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free = f64::MIN;
        for (end, name, colour) in names {
            let at = end.max(free);
            free = at + NAME_HEIGHT;
            let place = (RIGHT + 10.0, at + 4.0);
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
                place.0,
                place.1,
                escaped(name)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

impl Line {
    /// The points that have a place, by x.
    fn drawable(&self) -> Self {
        let finite = |(x, y): &&(f64, f64)| x.is_finite() && *x > 0.0 && y.is_finite();
        let mut points: Vec<(f64, f64)> = self.points.iter().filter(finite).copied().collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { name: self.name.clone(), points }
    }
}

/// From numbers to places.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Spans `values` and a share of margin on both sides.
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64, margin: f64) -> Self {
        let (low, high) =
            values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = match (low <= high, low < high) {
            (true, true) => (low, high),
            (true, false) => (low - 0.5, high + 0.5),
            (false, _) => (0.0, 1.0),
        };
        let margin = (high - low) * margin;
        Self { low: low - margin, high: high + margin, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// About six round numbers.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 6.0;
        let unit = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * unit).find(|step| *step >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil();
        (0..20).map(|i| (first + f64::from(i)) * step).take_while(|tick| *tick <= self.high).collect()
    }

    /// Whole powers of two, about eight at most.
    fn powers(&self) -> Vec<f64> {
        let step = ((self.high - self.low) / 8.0).ceil().max(1.0);
        let first = (self.low / step).ceil();
        (0..20).map(|i| (first + f64::from(i)) * step).take_while(|power| *power <= self.high).collect()
    }
}

/// A number with as many digits as it needs, three after the point at most.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = escaped(text);
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"{colour}\"/>");
}

/// Text of unknown origin as the content of an element.
fn escaped(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lines: Vec<Line>) -> String {
        Chart {
            title: "t".to_owned(),
            x: "x".to_owned(),
            log_x: true,
            y: "y".to_owned(),
            from_zero: false,
            lines,
        }
        .svg()
    }

    fn line(name: &str, points: &[(f64, f64)]) -> Line {
        Line { name: name.to_owned(), points: points.to_vec() }
    }

    #[test]
    fn points_lie_where_their_numbers_say() {
        let svg = chart(vec![line("a", &[(64.0, 2.0), (16.0, 3.0), (32.0, 2.5)])]);
        // By x, 16 at the left edge, 64 at the right one, 32 in the middle; the larger y higher up.
        assert!(svg.contains("points=\"70.0,55.5 315.0,210.0 560.0,364.5\""), "{svg}");
        for tick in [">16<", ">32<", ">64<", ">2.2<"] {
            assert!(svg.contains(tick), "{tick} in {svg}");
        }
    }

    #[test]
    fn a_linear_axis_has_round_numbers_and_a_long_line_no_dots() {
        let points: Vec<(f64, f64)> = (0..=100).map(|i| (f64::from(i), 1.0)).collect();
        let chart = Chart {
            title: String::new(),
            x: String::new(),
            log_x: false,
            y: String::new(),
            from_zero: true,
            lines: vec![line("a", &points[1..])],
        };
        let svg = chart.svg();
        // 1 at the left edge, 100 at the right one; a level of 1 between 0 and 1.55.
        assert!(svg.contains("70.0,160.6") && svg.contains("560.0,160.6"), "{svg}");
        assert!(svg.contains(">20<") && svg.contains(">100<") && !svg.contains("<circle"), "{svg}");
    }

    #[test]
    fn a_single_point_is_a_level_and_what_has_no_place_is_left_out() {
        let svg = chart(vec![
            line("level", &[(100.0, 2.0)]),
            line("b", &[(8.0, 3.0), (f64::NAN, 1.0), (0.0, 1.0), (16.0, 4.0)]),
            line("none", &[(4.0, f64::INFINITY)]),
        ]);
        assert_eq!(svg.matches("stroke-dasharray").count(), 1);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("none<"), "{svg}");
        assert!(chart(Vec::new()).ends_with("</svg>\n"));
    }

    #[test]
    fn names_do_not_lie_over_each_other_and_cannot_break_the_document() {
        let svg = chart(vec![line("<a&b>", &[(1.0, 1.0), (2.0, 1.0)]), line("c", &[(1.0, 1.0), (2.0, 1.0)])]);
        assert!(svg.contains(">&lt;a&amp;b&gt;<"), "{svg}");
        let heights: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("<text x=\"570.0\""))
            .map(|line| line.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(heights.len(), 2);
        assert!((heights[1] - heights[0]).abs() >= NAME_HEIGHT, "{heights:?}");
    }
}
