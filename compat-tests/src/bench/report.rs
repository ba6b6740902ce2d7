//! Ratios with their spread, and the absolute figures beside them.

use std::fmt::Write as _;

use super::figures::{Figures, Limit, Target};

/// What follows the name of a contender that is an older binary of the one of that name.
pub const OLDER: &str = " before";

/// All rounds of one workload: by round, by contender.
pub struct Results {
    pub workload: &'static str,
    pub about: &'static str,
    pub rounds: Vec<Vec<(&'static str, Figures)>>,
    pub targets: Vec<Target>,
}

/// The smallest, the middle and the largest of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// `None` for no values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let median = match values.len() {
            0 => return None,
            even if even % 2 == 0 => f64::midpoint(values[even / 2 - 1], values[even / 2]),
            odd => values[odd / 2],
        };
        Some(Self {
            min: values[0],
            median,
            max: values[values.len() - 1],
        })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [min, median, max] = [self.min, self.median, self.max].map(digits);
        if min == max {
            f.write_str(&median)
        } else {
            write!(f, "{median} ({min}..{max})")
        }
    }
}

/// Three significant digits.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 || size == 0.0 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

impl Results {
    /// The value that a target speaks of, over all rounds in which its contenders ran.
    pub fn reached(&self, target: &Target) -> Option<Spread> {
        let in_round = |round: &Vec<(&'static str, Figures)>| {
            let figure = |contender: &str, name: &str| {
                round
                    .iter()
                    .find(|(runner, _)| *runner == contender)?
                    .1
                    .get(name)
            };
            let value = figure(target.contender, &target.figure)?;
            match &target.against {
                None => Some(value),
                Some((contender, name)) => Some(value / figure(contender, name)?),
            }
        };
        Spread::of(self.rounds.iter().filter_map(in_round).collect())
    }

    /// Rows of the table of ratios, as markdown.
    pub fn target_rows(&self) -> String {
        let mut rows = String::new();
        for target in &self.targets {
            let Some(reached) = self.reached(target) else {
                continue;
            };
            let against = match &target.against {
                None => "absolute".to_owned(),
                Some((contender, name)) if *name == target.figure => format!("/ {contender}"),
                Some((_, name)) => format!("/ its own {name}"),
            };
            let limit = match target.limit {
                Limit::AtLeast(limit) => format!("≥ {}", digits(limit)),
                Limit::AtMost(limit) => format!("≤ {}", digits(limit)),
            };
            let verdict = if target.limit.holds(reached.median) {
                "yes"
            } else {
                "**no**"
            };
            let Target {
                contender, figure, ..
            } = target;
            // Writing to a string cannot fail.
            let _ = writeln!(
                rows,
                "| {} | {figure} | {contender} {against} | {reached} | {limit} | {verdict} |",
                self.workload
            );
        }
        rows
    }

    /// A row of the table of ratios for each figure that a contender and its older binary have.
    pub fn older_rows(&self) -> String {
        let mut rows = String::new();
        let Some(round) = self.rounds.first() else {
            return rows;
        };
        for (contender, figures) in round {
            let Some((older, _)) =
                (round.iter()).find(|(name, _)| name.strip_suffix(OLDER) == Some(*contender))
            else {
                continue;
            };
            for figure in figures.iter() {
                let name = figure.name.clone();
                let target = Target {
                    contender,
                    figure: name.clone(),
                    against: Some((older, name)),
                    limit: Limit::AtLeast(0.0),
                };
                if let Some(reached) = self.reached(&target) {
                    let (workload, figure) = (self.workload, &figure.name);
                    // Writing to a string cannot fail.
                    let _ = writeln!(
                        rows,
                        "| {workload} | {figure} | {contender} / before | {reached} | | |"
                    );
                }
            }
        }
        rows
    }

    /// The table of absolute figures, as markdown.
    pub fn figure_table(&self) -> String {
        let mut contenders: Vec<&str> = Vec::new();
        let mut names: Vec<(&str, &str)> = Vec::new();
        for (contender, figures) in self.rounds.iter().flatten() {
            if !contenders.contains(contender) {
                contenders.push(contender);
            }
            for figure in figures.iter() {
                if !names.contains(&(figure.name.as_str(), figure.unit)) {
                    names.push((&figure.name, figure.unit));
                }
            }
        }
        let mut table = format!(
            "### {}\n\n{}\n\n| figure | unit |",
            self.workload, self.about
        );
        for contender in &contenders {
            let _ = write!(table, " {contender} |");
        }
        table.push_str("\n|---|---|");
        table.push_str(&"---:|".repeat(contenders.len()));
        table.push('\n');
        for (name, unit) in names {
            let _ = write!(table, "| {name} | {unit} |");
            for contender in &contenders {
                let runs = self
                    .rounds
                    .iter()
                    .flatten()
                    .filter(|(runner, _)| runner == contender);
                let values = runs.filter_map(|(_, figures)| figures.get(name)).collect();
                let spread = Spread::of(values);
                let _ = write!(
                    table,
                    " {} |",
                    spread.map_or_else(String::new, |s| s.to_string())
                );
            }
            table.push('\n');
        }
        table
    }
}

/// The whole report as markdown.
pub fn markdown(command: &str, machine: &[String], results: &[Results]) -> String {
    let mut text = format!("Command: `{command}`\n\n");
    for line in machine {
        let _ = writeln!(text, "- {line}");
    }
    text.push_str("\nRatios are taken within a round; each is given as median (smallest..largest) over the rounds.\n");
    text.push_str(
        "\n| workload | figure | of | reached | target | met |\n|---|---|---|---:|---:|---|\n",
    );
    for result in results {
        text.push_str(&result.target_rows());
        text.push_str(&result.older_rows());
    }
    for result in results {
        text.push('\n');
        text.push_str(&result.figure_table());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::contender::{KAFKA, OTTLA};

    fn figures(throughput: f64) -> Figures {
        let mut figures = Figures::default();
        figures.push("throughput", "MB/s", throughput);
        figures
    }

    #[test]
    fn a_ratio_is_taken_within_each_round_and_not_between_medians() {
        let rounds = [(30.0, 10.0), (10.0, 10.0), (80.0, 20.0)]
            .map(|(ours, theirs)| vec![("ottla", figures(ours)), ("kafka", figures(theirs))]);
        let target = Target::ratio("throughput", &OTTLA, &KAFKA, Limit::AtLeast(2.0));
        let results = Results {
            workload: "w",
            about: "",
            rounds: rounds.into(),
            targets: vec![target.clone()],
        };
        let expected = Spread {
            min: 1.0,
            median: 3.0,
            max: 4.0,
        };
        assert_eq!(results.reached(&target), Some(expected));
    }

    #[test]
    fn every_figure_is_held_against_that_of_the_older_binary() {
        let rounds = vec![vec![
            ("ottla", figures(3.0)),
            ("ottla before", figures(2.0)),
        ]];
        let results = Results {
            workload: "w",
            about: "",
            rounds,
            targets: Vec::new(),
        };
        assert_eq!(
            results.older_rows(),
            "| w | throughput | ottla / before | 1.50 | | |\n"
        );
    }

    #[test]
    fn a_target_whose_contender_did_not_run_has_no_row() {
        let target = Target::ratio("throughput", &OTTLA, &KAFKA, Limit::AtLeast(2.0));
        let rounds = vec![vec![("ottla", figures(1.0))]];
        let results = Results {
            workload: "w",
            about: "",
            rounds,
            targets: vec![target],
        };
        assert_eq!(results.target_rows(), "");
    }
}
