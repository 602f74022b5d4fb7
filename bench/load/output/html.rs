//! The HTML report: one page that needs nothing but itself, of one run or of several on top of each other. It shows what
//! saved runs hold and computes nothing but places on paper.

use std::fmt::Write;

use crate::output::html_text::escaped;
use crate::output::plot::{Axis, COLOURS, Line, Plot, Unit, value};
use crate::output::saved::{Point, SavedRun, Search, Summary};
use crate::output::table::{CEILING_SHARE_MAX, grouped};
use crate::workload::OpKind;

/// A run and what the page calls it. Runs of one name have one colour: rounds of the same measurement.
pub struct NamedRun {
    pub name: String,
    pub run: SavedRun,
}

pub fn page(title: &str, runs: &[NamedRun]) -> String {
    let mut body = format!("<h1>{}</h1>\n", escaped(title));
    body += &runs_table(runs);
    body += &latency_table(runs);
    match runs {
        [single] => body += &figure(percentiles_of_kinds(single)),
        _ => OpKind::ALL.into_iter().for_each(|kind| body += &figure(percentiles(kind, runs))),
    }
    body += &figure(over_time("Rate", Axis::RATE, runs, |point| Some(point.rate)));
    if runs.iter().any(|named| named.run.summary.planned_rate_end.is_some()) {
        let planned = over_time("Planned rate", Axis::RATE, runs, |point| point.planned_rate);
        body += &figure(planned);
    }
    body += &figure(match runs {
        [single] => percentiles_over_time(single),
        _ => over_time("p99 latency", Axis::LATENCY, runs, |point| point.p99_us),
    });
    body += &figure(against_rate(runs));
    body += &figure(over_time("Server CPU", Axis::CORES, runs, |point| point.server_cores));
    let mebibytes = |point: &Point| point.server_resident_kib.map(|kib| kib as f64 / 1024.0);
    body += &figure(over_time("Server memory", Axis::MEMORY, runs, mebibytes));
    for named in runs {
        if let Some(search) = &named.run.summary.search {
            body += &search_table(&named.name, search);
        }
    }
    body += &commands(runs);
    let (css, js) = (include_str!("page.css"), include_str!("page.js"));
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{css}</style>\n</head>\n<body>\n{body}<script>\n{js}</script>\n</body>\n</html>\n"
    )
}

/// Of each run the number of its colour, and whether that is used up.
fn colours(runs: &[NamedRun]) -> impl Iterator<Item = (usize, bool, String, &SavedRun)> {
    let mut names: Vec<&str> = Vec::new();
    runs.iter().enumerate().map(move |(index, named)| {
        let colour = names.iter().position(|name| *name == named.name).unwrap_or_else(|| {
            names.push(&named.name);
            names.len() - 1
        });
        let earlier = runs[..index].iter().filter(|other| other.name == named.name).count();
        let name = if earlier > 0 { format!("{} ({})", named.name, earlier + 1) } else { named.name.clone() };
        (colour % COLOURS, colour >= COLOURS, name, &named.run)
    })
}

fn lines<'a>(runs: &'a [NamedRun], points: impl Fn(&SavedRun) -> Vec<(f64, f64)> + 'a) -> Vec<Line> {
    let lines = colours(runs).map(|(colour, dashed, name, run)| Line { name, colour, dashed, points: points(run) });
    lines.filter(|line| !line.points.is_empty()).collect()
}

/// Runs laid over each other, one kind of operation.
fn percentiles(kind: OpKind, runs: &[NamedRun]) -> Plot {
    let title = format!("Latency by percentile: {}", kind.name());
    let lines = lines(runs, |run| distribution(kind, run));
    Plot { title, x: Axis::PERCENTILE, y: Axis::LATENCY, lines, limit: None }
}

/// A single run, all kinds of operations.
fn percentiles_of_kinds(named: &NamedRun) -> Plot {
    let kinds = OpKind::ALL.into_iter().map(|kind| (kind, distribution(kind, &named.run)));
    let lines = kinds.filter(|(_, points)| !points.is_empty()).enumerate().map(|(number, (kind, points))| {
        let (colour, dashed) = (number % COLOURS, number >= COLOURS);
        Line { name: kind.name().to_owned(), colour, dashed, points }
    });
    let (title, lines) = ("Latency by percentile".to_owned(), lines.collect());
    Plot { title, x: Axis::PERCENTILE, y: Axis::LATENCY, lines, limit: None }
}

fn distribution(kind: OpKind, run: &SavedRun) -> Vec<(f64, f64)> {
    let all = run.distribution_us.get(kind.name()).cloned().unwrap_or_default();
    // The highest latency of all stands where the scale ends for as many measurements as there were.
    let count = run.summary.latency_us.get(kind.name()).map_or(1, |latency| latency.count).max(2);
    let last = 100.0 - 100.0 / count as f64;
    all.into_iter().map(|(percentile, latency)| (percentile.min(last), latency)).collect()
}

/// A point stands in the middle of its interval.
fn middle(point: &Point) -> f64 {
    point.seconds + point.interval_seconds / 2.0
}

/// Intervals far shorter than the others (the rest at the end) say little.
fn whole_intervals(run: &SavedRun) -> impl Iterator<Item = &Point> {
    let longest = run.series.iter().map(|point| point.interval_seconds).fold(0.0, f64::max);
    run.series.iter().filter(move |point| point.interval_seconds >= longest / 2.0)
}

fn over_time(title: &str, y: Axis, runs: &[NamedRun], take: impl Fn(&Point) -> Option<f64>) -> Plot {
    let points =
        |run: &SavedRun| whole_intervals(run).filter_map(|point| Some((middle(point), take(point)?))).collect();
    Plot { title: format!("{title} over time"), x: Axis::TIME, y, lines: lines(runs, points), limit: None }
}

fn percentiles_over_time(named: &NamedRun) -> Plot {
    type Take = fn(&Point) -> Option<f64>;
    let takes: [(&str, Take); 4] = [
        ("p50", |point| point.p50_us),
        ("p99", |point| point.p99_us),
        ("p99.9", |point| point.p99_9_us),
        ("highest", |point| point.max_us),
    ];
    let lines = takes.into_iter().enumerate().map(|(colour, (name, take))| {
        let points = whole_intervals(&named.run).filter_map(|point| Some((middle(point), take(point)?))).collect();
        Line { name: name.into(), colour, dashed: false, points }
    });
    let lines = lines.filter(|line| !line.points.is_empty()).collect();
    Plot { title: "Latency over time".into(), x: Axis::TIME, y: Axis::LATENCY, lines, limit: None }
}

/// p99 at each rate of a ramp in steps or of a search.
fn against_rate(runs: &[NamedRun]) -> Plot {
    let points = |run: &SavedRun| {
        let steps = run.summary.steps.iter().map(|step| (step.rate, step.latency_us.p99));
        let trials =
            run.summary.search.iter().flat_map(|search| &search.trials).map(|trial| (trial.rate, trial.p99_us));
        let mut points: Vec<(f64, f64)> = steps.chain(trials).filter(|(_, p99)| *p99 > 0.0).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let limit = runs.iter().find_map(|named| named.run.summary.search.as_ref());
    let limit =
        limit.map(|search| (search.p99_limit_us, format!("limit {}", value(Unit::Micros, search.p99_limit_us))));
    Plot {
        title: "p99 latency against rate".into(),
        x: Axis { from_zero: false, ..Axis::RATE },
        y: Axis::LATENCY,
        lines: lines(runs, points),
        limit,
    }
}

/// A plot with its heading and legend; nothing where there is nothing to show.
fn figure(plot: Plot) -> String {
    if plot.lines.is_empty() {
        return String::new();
    }
    let legend: String = plot.lines.iter().map(legend_entry).collect();
    let (title, svg) = (escaped(&plot.title), plot.svg());
    format!("<h2>{title}</h2>\n<figure><div class=\"legend\">{legend}</div>{svg}<div class=\"tip\"></div></figure>\n")
}

fn legend_entry(line: &Line) -> String {
    let dashes = if line.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
    let (colour, name) = (line.colour, escaped(&line.name));
    format!(
        "<button type=\"button\" title=\"show or hide\"><svg class=\"c{colour}\" viewBox=\"0 0 26 10\">\
         <path d=\"M0 5H26\"{dashes}/></svg>{name}</button>"
    )
}

/// A table; the first column is text.
fn table(heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let class = |column: usize| if column == 0 { " class=\"text\"" } else { "" };
    let mut out = String::from("<div class=\"wide\"><table><tr>");
    for (column, name) in heading.iter().enumerate() {
        let _ = write!(out, "<th{}>{}</th>", class(column), escaped(name));
    }
    for row in rows {
        out += "</tr>\n<tr>";
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(out, "<td{}>{}</td>", class(column), escaped(cell));
        }
    }
    out + "</tr></table></div>\n"
}

fn runs_table(runs: &[NamedRun]) -> String {
    let heading = [
        "run",
        "workload",
        "connections",
        "in flight",
        "pace",
        "seconds",
        "ops/s",
        "errors",
        "lost",
        "server CPU/op",
        "server cores",
        "server MiB",
        "generator cores",
        "of its ceiling",
    ];
    let rows = colours(runs).map(|(_, _, name, run)| {
        let run = &run.summary;
        let optional = |number: Option<f64>, text: fn(f64) -> String| number.map_or("".to_owned(), text);
        vec![
            name,
            run.workload.clone(),
            run.connections.to_string(),
            run.depth.to_string(),
            pace(run),
            format!("{:.1}", run.seconds),
            grouped(run.rate as u64),
            grouped(run.errors.values().sum()),
            grouped(run.operations_lost),
            optional(run.server_cpu_us_per_operation, |us| format!("{us:.2} µs")),
            optional(run.server_cores, |cores| format!("{cores:.2}")),
            optional(run.server_resident_kib.map(|kib| kib as f64 / 1024.0), |mib| format!("{mib:.0}")),
            format!("{:.2}", run.generator_cores),
            optional(run.share_of_ceiling(), |share| format!("{:.0} %", share * 100.0)),
        ]
    });
    let mut out = table(&heading, rows);
    for (_, _, name, run) in colours(runs) {
        let said = [run.summary.failure.clone(), failed_operations(&run.summary), bottleneck(&run.summary)];
        for text in said.into_iter().flatten() {
            let _ = writeln!(out, "<p class=\"bad\">{}: {}</p>", escaped(&name), escaped(&text));
        }
    }
    out
}

fn pace(run: &Summary) -> String {
    match (run.planned_rate, run.planned_rate_end) {
        (Some(from), Some(to)) => format!("{from} to {to} ops/s"),
        (Some(rate), None) => format!("{rate:.0} ops/s"),
        _ => "closed loop".to_owned(),
    }
}

fn failed_operations(run: &Summary) -> Option<String> {
    let name = |code: &str| run.error_names.get(code).map_or("error", String::as_str).to_owned();
    let texts: Vec<String> =
        run.errors.iter().map(|(code, count)| format!("{count} x {code} {}", name(code))).collect();
    (!texts.is_empty()).then(|| format!("operations failed: {}", texts.join(", ")))
}

fn bottleneck(run: &Summary) -> Option<String> {
    let share = run.share_of_ceiling().filter(|share| *share > CEILING_SHARE_MAX)?;
    Some(format!("the generator ran at {:.0} % of its own ceiling: the server can do more than this", share * 100.0))
}

fn latency_table(runs: &[NamedRun]) -> String {
    let heading = ["operation", "run", "count", "p50", "p90", "p99", "p99.9", "p99.99", "highest", "mean"];
    let rows = OpKind::ALL.into_iter().flat_map(|kind| {
        colours(runs).filter_map(move |(_, _, name, run)| {
            let latency = run.summary.latency_us.get(kind.name())?;
            let values =
                [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99, latency.max, latency.mean];
            let mut row = vec![kind.name().to_owned(), name, grouped(latency.count)];
            row.extend(values.map(|micros| value(Unit::Micros, micros)));
            Some(row)
        })
    });
    table(&heading, rows)
}

fn search_table(name: &str, search: &Search) -> String {
    let limit = value(Unit::Micros, search.p99_limit_us);
    let found = match search.highest_rate {
        Some(rate) => format!("p99 stays below {limit} up to {} ops/s.", grouped(rate as u64)),
        None => format!("No rate that was tried keeps p99 below {limit}."),
    };
    let rows = search.trials.iter().map(|trial| {
        let planned = trial.planned_rate.map_or("closed loop".to_owned(), |rate| grouped(rate as u64));
        let verdict = trial.reason.clone().unwrap_or_else(|| "kept".into());
        vec![planned, grouped(trial.rate as u64), value(Unit::Micros, trial.p99_us), verdict]
    });
    let table = table(&["planned ops/s", "reached ops/s", "p99", "limit"], rows);
    format!("<h2>Search for the highest rate: {}</h2>\n<p>{}</p>\n{table}", escaped(name), escaped(&found))
}

fn commands(runs: &[NamedRun]) -> String {
    let mut out = String::from("<h2>How it was measured</h2>\n");
    for (_, _, name, run) in colours(runs) {
        let run = &run.summary;
        let (name, servers, command, version) =
            (escaped(&name), escaped(&run.servers), escaped(&run.command), escaped(&run.version));
        let _ = writeln!(
            out,
            "<p><b>{name}</b>: {} keys of {} B, servers {servers}, ringkeeper-load {version}, other processes {:.2} cores, \
             {:.2} stolen by the hypervisor<br><code>{command}</code></p>",
            grouped(run.keys),
            run.value_bytes,
            run.other_cores,
            run.stolen_cores,
        );
    }
    out + "<p class=\"faint\">Latency counts from the moment a request was to be sent: in a closed loop when it was sent, at a \
           planned rate when it was due. Answers with an error are in no latency. Click a legend to hide a line; point at a \
           plot for its values.</p>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::saved::{FORMAT, Latency};

    fn named(name: &str) -> NamedRun {
        let mut run = SavedRun { format: FORMAT.into(), ..SavedRun::default() };
        run.summary.workload = "get".into();
        run.summary.latency_us.insert("get".into(), Latency { count: 1_000, p50: 12.0, ..Latency::default() });
        run.distribution_us.insert("get".into(), vec![(0.0, 10.0), (50.0, 12.0), (99.0, 400.0), (100.0, 900.0)]);
        run.series = (0..5)
            .map(|second| Point {
                seconds: f64::from(second),
                interval_seconds: 1.0,
                rate: 1_000.0,
                p99_us: Some(400.0),
                ..Point::default()
            })
            .collect();
        NamedRun { name: name.into(), run }
    }

    #[test]
    fn a_page_needs_nothing_but_itself() {
        let page = page("a & b", &[named("java"), named("<ours>"), named("java")]);
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "NaN"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("a &amp; b") && page.contains("&lt;ours&gt;") && page.contains("java (2)"));
        assert_eq!(page.matches("<figure>").count(), 3, "percentiles, rate, p99");
        // Two rounds of java in one colour.
        assert_eq!(page.matches("<g class=\"line c0\"").count(), 6);
        assert_eq!(page.matches("<g class=\"line c1\"").count(), 3);
    }
}
