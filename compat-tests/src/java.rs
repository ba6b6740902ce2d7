//! Kafka's own Java client and command-line tools, from Maven Central.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::go::sources;
use crate::toolchain::{crate_dir, find, prepare_once, run};

/// A command that runs a program of `clients/java/capabilities` with Kafka's client in a version, built on first use.
///
/// A class whose name ends in `SinceN` or `UntilN` is for the versions from N on, or up to N.
///
/// # Errors
/// As [`KafkaTools::new`]; the compiler's output where it does not build.
pub fn client(version: &str, program: &str) -> Result<Command> {
    let dir = crate_dir().join("clients/java/capabilities");
    let major: u32 = version.split('.').next().unwrap_or_default().parse()?;
    let mut classes = classes_in(&dir)?;
    classes.retain(|path| {
        let class = path.file_stem().unwrap_or_default().to_string_lossy();
        is_for(&class, major)
    });
    let name = format!("kafka-clients-{version}");
    let class_path = built(&name, &dir, &classes, version)?;
    Ok(java(&class_path, program))
}

/// A command that runs a class of `clients/java/PROGRAM`, or of the jars of its `pom.xml`; built on first use.
///
/// # Errors
/// As [`client`].
pub fn program(program: &str, main: &str) -> Result<Command> {
    Ok(java(&class_path(program)?, main))
}

/// The class path of [`program`].
///
/// # Errors
/// As [`client`].
pub fn class_path(program: &str) -> Result<String> {
    let clients = crate_dir().join("clients/java");
    let dir = clients.join(program);
    let mut classes = classes_in(&dir)?;
    // How each of them tells what it can do.
    classes.push(clients.join("capabilities/Capability.java"));
    built(&format!("java-{program}"), &dir, &classes, "")
}

/// Has the jars of the directory's `pom.xml` and the compiled classes ready, and gives the class path.
fn built(name: &str, source: &Path, classes: &[PathBuf], client_version: &str) -> Result<String> {
    find("javac")?;
    find("mvn")?;
    let dir = crate_dir().join(".cache").join(name);
    let libs = format!("{}/libs/*", dir.display());
    let mut inputs = format!("{client_version} {}", sources(source)?);
    for path in classes.iter().filter(|path| !path.starts_with(source)) {
        inputs += &std::fs::read_to_string(path)?;
    }
    prepare_once(&dir, &inputs, || {
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(source.join("pom.xml"));
        maven.args([
            "dependency:copy-dependencies",
            &format!("-Dclient.version={client_version}"),
        ]);
        run(maven.arg(format!("-DoutputDirectory={}/libs", dir.display())))?;
        let mut compiler = Command::new("javac");
        compiler
            .args(["-nowarn", "-cp", &libs, "-d"])
            .arg(dir.join("classes"))
            .args(classes);
        run(&mut compiler).map(|_| ())
    })?;
    Ok(format!("{}/classes:{libs}", dir.display()))
}

fn java(class_path: &str, main: &str) -> Command {
    let mut java = Command::new("java");
    java.arg("-Xmx256m").args(SHORT_LIVED);
    java.args(["-cp", class_path, main]);
    java
}

/// A program that runs for seconds ends before the better compiler has paid for itself.
const SHORT_LIVED: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// The classes of the programs that are one file each, compiled together on first use.
fn compiled(sources: &Path, libs: &Path) -> Result<PathBuf> {
    let programs = classes_in(sources)?;
    let mut inputs = String::new();
    for path in &programs {
        inputs += &std::fs::read_to_string(path)?;
    }
    let name = libs.file_name().context("the jars have a directory")?;
    let classes = libs.with_file_name(format!("{}-programs", name.display()));
    prepare_once(&classes, &inputs, || {
        let mut compiler = Command::new("javac");
        compiler.arg("-nowarn").arg("-cp").arg(libs.join("*"));
        run(compiler.arg("-d").arg(&classes).args(&programs)).map(|_| ())
    })?;
    Ok(classes)
}

fn classes_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "java")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_for(class: &str, major: u32) -> bool {
    let bound = |word| {
        class
            .rsplit_once(word)
            .and_then(|(_, number)| number.parse::<u32>().ok())
    };
    bound("Since").is_none_or(|first| first <= major)
        && bound("Until").is_none_or(|last| major <= last)
}

/// The jars of `clients/java/pom.xml`, downloaded on first use, and the programs of `clients/java`, compiled then.
pub struct KafkaTools {
    libs: PathBuf,
    /// The directory with the classes of our own programs; there are none of them for another version.
    programs: Option<PathBuf>,
}

impl KafkaTools {
    /// Finds Java and Maven and has the jars ready.
    ///
    /// # Errors
    /// [`crate::Missing`] where there is no Java or Maven; Maven's output where it fails.
    pub fn new() -> Result<Self> {
        Self::prepare(None)
    }

    /// The same of another version of Kafka.
    ///
    /// # Errors
    /// As [`KafkaTools::new`].
    pub fn of_version(version: &str) -> Result<Self> {
        Self::prepare(Some(version))
    }

    fn prepare(version: Option<&str>) -> Result<Self> {
        find("java")?;
        find("javac")?;
        find("mvn")?;
        let sources = crate_dir().join("clients/java");
        let pom = sources.join(match version {
            None => "pom.xml",
            Some(_) => "versions/pom.xml",
        });
        let pinned = std::fs::read_to_string(&pom).with_context(|| format!("{}", pom.display()))?;
        let usual = pinned
            .split_once("<kafka.version>")
            .and_then(|(_, rest)| rest.split_once('<'))
            .map(|(version, _)| version)
            .context("the pom names Kafka's version")?;
        let libs = crate_dir().join(match version {
            None => format!(".cache/kafka-{usual}"),
            Some(version) => format!(".cache/kafka-{version}-server"),
        });
        prepare_once(&libs, &pinned, || {
            let mut maven = Command::new("mvn");
            maven
                .args(["-q", "-B", "-f"])
                .arg(&pom)
                .arg("dependency:copy-dependencies");
            if let Some(version) = version {
                maven.arg(format!("-Dkafka.version={version}"));
            }
            maven.arg(format!("-DoutputDirectory={}", libs.display()));
            run(&mut maven).map(|_| ())
        })?;
        let programs = match version {
            None => Some(compiled(&sources, &libs)?),
            Some(_) => None,
        };
        Ok(Self { libs, programs })
    }

    /// The directory of the jars.
    pub fn libs(&self) -> &Path {
        &self.libs
    }

    /// A command that runs a main class of the jars or of `clients/java`.
    pub fn command(&self, main: &str, args: &[&str]) -> Command {
        let mut options = vec!["-Xmx256m"];
        options.extend(SHORT_LIVED);
        self.java(&options, main, args)
    }

    /// The same with all that Java does for programs that run for long: for what is measured.
    pub fn measured(&self, main: &str, args: &[&str]) -> Command {
        self.java(&["-Xmx256m"], main, args)
    }

    /// A command that runs Kafka's server, with `COMPAT_KAFKA_HEAP` (default `-Xms512m -Xmx512m`) and its log at INFO.
    pub fn server(&self, main: &str, args: &[&str]) -> Command {
        let heap =
            std::env::var("COMPAT_KAFKA_HEAP").unwrap_or_else(|_| "-Xms512m -Xmx512m".to_owned());
        let mut options: Vec<&str> = heap.split_whitespace().collect();
        options.extend(["-XX:+UseG1GC", "-Dpeer.log=INFO"]);
        self.java(&options, main, args)
    }

    fn java(&self, options: &[&str], main: &str, args: &[&str]) -> Command {
        let mut java = Command::new("java");
        let log4j = crate_dir().join("clients/java/log4j2.properties");
        java.args(options)
            .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()));
        let mut class_path = self.libs.join("*").into_os_string();
        if let Some(programs) = &self.programs {
            class_path.push(":");
            class_path.push(programs);
        }
        java.arg("-cp").arg(class_path).arg(main).args(args);
        java
    }

    /// Runs a tool to its end and gives what it wrote to stdout.
    ///
    /// # Errors
    /// Its exit code is not 0.
    pub fn run(&self, main: &str, args: &[&str]) -> Result<String> {
        run(&mut self.command(main, args))
    }

    /// What Kafka's log dump says of the files of one kind in the partitions of a topic.
    ///
    /// # Errors
    /// There are no such files; its exit code is not 0.
    pub fn dump_log(
        &self,
        data_dir: &Path,
        topic: &str,
        extension: &str,
        options: &[&str],
    ) -> Result<String> {
        let mut files = Vec::new();
        for partition in std::fs::read_dir(data_dir)? {
            let partition = partition?;
            let name = partition.file_name();
            let of = name.to_str().and_then(|name| name.rsplit_once('-'));
            if of.is_some_and(|(of, _)| of == topic) {
                for file in std::fs::read_dir(partition.path())? {
                    files.push(file?.path());
                }
            }
        }
        files.retain(|path| path.extension().is_some_and(|found| found == extension));
        let data_dir = data_dir.display();
        ensure!(
            !files.is_empty(),
            "no .{extension} files of {topic} in {data_dir}"
        );
        files.sort();
        let files: Vec<_> = files
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let files = files.join(",");
        let args = [options, &["--files", &files]].concat();
        self.run("org.apache.kafka.tools.DumpLogSegments", &args)
    }
}
