//! The same questions to Kafka's authorizer, in a Java of its own, and to ours.
//!
//! Names that begin with `*` are left out: Kafka takes them for beginnings of the entry on everything and passes it over. So are
//! addresses that Java would write otherwise: Kafka compares their text.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use broker::acl::{Acl, AclIndex, AclOperation, PatternKind, Permission, ResourceKind};
use broker::authorizer::{Asker, Audit, Authorizer, Resource};
use broker::net::session::Principal;
use compat_tests::available;
use compat_tests::java::KafkaTools;
use compat_tests::toolchain::seed;
use protocol_shim::access::Operation;
use rand::prelude::IndexedRandom as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

const SETS: usize = 600;
const QUESTIONS: usize = 20;
const NAMES: &[&str] = &[
    "a",
    "ab",
    "abc",
    "abd",
    "b",
    "ba",
    "h",
    "hardcode",
    "hardcodes",
    "ä",
    "äb",
];
const PATTERNS: &[&str] = &["a", "ab", "abc", "b", "h", "hard", "hardcode", "ä", "*"];
const PRINCIPALS: &[&str] = &[
    "User:ann",
    "User:bob",
    "User:root",
    "Group:ann",
    "User:CN=x:y",
];
const HOSTS: &[&str] = &["10.0.0.1", "10.0.0.2", "0:0:0:0:0:0:0:1"];
const RANGES: &[&str] = &[
    "10.0.0.0/31",
    "10.0.0.2/32",
    "10.0.0.0/8",
    "192.168.0.0/16",
    "::/64",
    "::1/128",
    "10.0.0.1/33",
];
const KINDS: &[ResourceKind] = &[
    ResourceKind::Topic,
    ResourceKind::Group,
    ResourceKind::TransactionalId,
];

fn one<T: Copy>(rng: &mut StdRng, of: &[T]) -> T {
    *of.choose(rng).expect("there is one")
}

fn any_acl(rng: &mut StdRng) -> Acl {
    let anybody = [PRINCIPALS, &["User:*"]].concat();
    let anywhere = [HOSTS, RANGES, &["*"; 6]].concat();
    // Mostly what the questions are about.
    let operations = [AclOperation::ALL, &[AclOperation::Read, AclOperation::All]].concat();
    Acl {
        resource: one(rng, KINDS),
        pattern: one(rng, PatternKind::ALL),
        name: one(rng, PATTERNS).into(),
        principal: one(rng, &anybody).into(),
        host: one(rng, &anywhere).into(),
        operation: one(rng, &operations),
        permission: one(
            rng,
            &[Permission::Allow, Permission::Allow, Permission::Deny],
        ),
    }
}

fn named(kind: ResourceKind, name: &str) -> Resource<'_> {
    match kind {
        ResourceKind::Group => Resource::Group(name),
        ResourceKind::TransactionalId => Resource::TransactionalId(name),
        _ => Resource::Topic(name),
    }
}

/// What is asked, and what we say, a line each.
fn conversation(rng: &mut StdRng) -> Result<(String, Vec<bool>)> {
    let (mut asked, mut said) = (String::new(), Vec::new());
    for _ in 0..SETS {
        let allows_everyone = rng.random();
        let authorizer = Authorizer::standard(["User:root", "User:CN=x:y"], allows_everyone);
        writeln!(asked, "begin\tUser:root; User:CN=x:y;\t{allows_everyone}")?;
        let mut acls = AclIndex::default();
        for _ in 0..rng.random_range(0..14) {
            let acl = any_acl(rng);
            if acls.contains(&acl) {
                continue;
            }
            let Acl {
                name,
                principal,
                host,
                ..
            } = &acl;
            let (resource, pattern) = (acl.resource.code(), acl.pattern.code());
            let (operation, permission) = (acl.operation.code(), acl.permission.code());
            writeln!(
                asked,
                "acl\t{resource}\t{pattern}\t{name}\t{principal}\t{host}\t{operation}\t{permission}"
            )?;
            acls.add(Uuid::new_v4(), &Arc::new(acl));
        }
        for _ in 0..QUESTIONS {
            let (principal, host) = (one(rng, PRINCIPALS), one(rng, HOSTS));
            let (kind, name) = principal.split_once(':').context("Type:name")?;
            let principal_asked = Principal {
                kind: kind.into(),
                name: name.into(),
            };
            let asker = Asker {
                principal: &principal_asked,
                host: host.parse()?,
                acls: &acls,
                api: "test",
                audit: Audit::Filtering,
            };
            let operation = one(rng, &Operation::ALL);
            let code = operation as i8;
            if rng.random_bool(0.25) {
                writeln!(asked, "any\t2\t{principal}\t{host}\t{code}")?;
                said.push(authorizer.allows_on_any_topic(asker, operation));
            } else {
                let (kind, name) = (one(rng, KINDS), one(rng, NAMES));
                writeln!(
                    asked,
                    "may\t{}\t{name}\t{principal}\t{host}\t{code}",
                    kind.code()
                )?;
                said.push(authorizer.allows(asker, operation, named(kind, name)));
            }
        }
    }
    Ok((asked, said))
}

#[test]
fn whatever_entries_there_are_we_decide_as_kafkas_authorizer_does() -> Result<()> {
    let Some(tools) = available(KafkaTools::new())? else {
        return Ok(());
    };
    let (asked, said) = conversation(&mut StdRng::seed_from_u64(seed()))?;
    let mut kafka = tools.command("Decisions", &[]);
    let mut kafka = kafka.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = kafka.stdin.take().context("it was piped")?;
    let text = asked.clone();
    let writing = thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = kafka.wait_with_output()?;
    writing.join().expect("no panic")?;
    ensure!(output.status.success(), "{}", output.status);
    let answers = String::from_utf8(output.stdout)?;
    let answers: Vec<bool> = answers.lines().map(|line| line == "ALLOWED").collect();
    ensure!(
        answers.len() == said.len(),
        "{} answers to {} questions",
        answers.len(),
        said.len()
    );
    ensure!(
        answers.contains(&true) && answers.contains(&false),
        "it asks for both"
    );
    let mut set: Vec<&str> = Vec::new();
    let mut number = 0;
    for line in asked.lines() {
        match line.split('\t').next() {
            Some("begin") => set = vec![line],
            Some("acl") => set.push(line),
            _ => {
                let (kafka, ours) = (answers[number], said[number]);
                ensure!(
                    kafka == ours,
                    "{line}\nKafka: {kafka}, Ottla: {ours}\n{}",
                    set.join("\n")
                );
                number += 1;
            }
        }
    }
    Ok(())
}
