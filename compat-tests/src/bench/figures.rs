//! What a workload measures, and what is to be reached.

use super::contender::Contender;
use super::usage::{Latency, Usage};

/// One measured number.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: String,
    pub unit: &'static str,
    pub value: f64,
}

/// The numbers of one run of one workload, in the order in which they are to be read.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Adds one.
    pub fn push(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        self.0.push(Figure {
            name: name.into(),
            unit,
            value,
        });
    }

    /// Adds the latencies that people ask for.
    pub fn push_latency(&mut self, prefix: &str, latency: &Latency) {
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            self.push(
                format!("{prefix}{name}"),
                "ms",
                latency.quantile_ms(quantile),
            );
        }
    }

    /// Adds what it cost to move `bytes`, and what the generator took for it.
    pub fn push_cost_of_bytes(&mut self, bytes: u64, usage: &Usage) {
        let gigabytes = bytes as f64 / 1e9;
        self.push(
            "throughput",
            "MB/s",
            gigabytes * 1e3 / usage.wall.as_secs_f64(),
        );
        self.push(
            "CPU per GB",
            "s",
            usage.served_cpu().as_secs_f64() / gigabytes,
        );
        self.push_shared(usage);
    }

    /// Adds what it cost to answer `count` requests that are called `what`, and what the generator took for it.
    pub fn push_cost_of(&mut self, what: &str, count: u64, usage: &Usage) {
        let count = count as f64;
        let per_second = count / usage.wall.as_secs_f64();
        self.push(format!("{what}s"), "1/s", per_second);
        self.push(
            format!("CPU per {what}"),
            "us",
            usage.served_cpu().as_secs_f64() * 1e6 / count,
        );
        self.push_shared(usage);
    }

    /// Adds what is of interest beside every load.
    pub fn push_shared(&mut self, usage: &Usage) {
        let percent =
            |cpu: std::time::Duration| 100.0 * cpu.as_secs_f64() / usage.wall.as_secs_f64();
        self.push("broker CPU", "% of a core", percent(usage.broker_cpu));
        if !usage.stores_cpu.is_zero() {
            self.push("stores CPU", "% of a core", percent(usage.stores_cpu));
        }
        self.push("generator CPU", "% of a core", percent(usage.generator_cpu));
        self.push(
            "broker memory",
            "MiB",
            usage.resident_bytes as f64 / f64::from(1 << 20),
        );
    }

    /// The figure of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0
            .iter()
            .find(|figure| figure.name == name)
            .map(|figure| figure.value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Figure> {
        self.0.iter()
    }

    /// Takes over all figures of another run, each name after a prefix.
    pub fn extend(&mut self, prefix: &str, other: &Self) {
        for figure in &other.0 {
            self.push(
                format!("{prefix}{}", figure.name),
                figure.unit,
                figure.value,
            );
        }
    }
}

/// Which way is better, and how far.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Limit {
    /// Whether `value` is within it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }
}

/// A target: one figure against another of the same round, or on its own.
#[derive(Clone, Debug)]
pub struct Target {
    pub contender: &'static str,
    pub figure: String,
    /// What it is divided by.
    pub against: Option<(&'static str, String)>,
    pub limit: Limit,
}

impl Target {
    /// `figure` of `ours` divided by the same figure of `theirs`.
    pub fn ratio(figure: &str, ours: &Contender, theirs: &Contender, limit: Limit) -> Self {
        let against = Some((theirs.name, figure.to_owned()));
        Self {
            contender: ours.name,
            figure: figure.to_owned(),
            against,
            limit,
        }
    }

    /// `figure` divided by another figure of the same contender.
    pub fn to_itself(contender: &Contender, figure: &str, other: &str, limit: Limit) -> Self {
        let against = Some((contender.name, other.to_owned()));
        Self {
            contender: contender.name,
            figure: figure.to_owned(),
            against,
            limit,
        }
    }

    /// `figure` as it is.
    pub fn absolute(contender: &Contender, figure: &str, limit: Limit) -> Self {
        Self {
            contender: contender.name,
            figure: figure.to_owned(),
            against: None,
            limit,
        }
    }
}
