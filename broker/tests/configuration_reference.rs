//! `docs/configuration.md` is made from the tables of `config/`; `DOCS=write` makes it anew.

#![allow(clippy::unwrap_used)]

extern crate ottla as broker;

use std::fmt::Write as _;
use std::path::Path;

use broker::config::broker_keys::broker_configs;
use broker::config::changes_while_running;
use broker::config::def::ConfigDef;
use broker::config::resource::GROUP_CONFIGS;
use broker::config::topic::TOPIC_CONFIGS;

const INTRODUCTION: &str = "\
# Configuration

Made from the tables in `broker/src/config`; `DOCS=write cargo test -p ottla --test configuration_reference` makes it anew.

Ottla reads Kafka's `server.properties`, with Kafka's names, defaults and rules. `--override key=value` sets a single key.
Of the same key in several places the later of these counts: the file, the environment, options such as `--data-dir`,
`--override`; and over them what AlterConfigs sets, for all brokers and for this one.

`OTTLA_X_Y` in the environment is the key `ottla.x.y`. `OTTLA_PASSWORD_NAME` is a password (`--sasl-user`, `--add-scram`, `ottla users add`),
`OTTLA_KAFKA_ENV=true` is `--kafka-env`, and what Kubernetes sets for a service that is called ottla means nothing.

With `--kafka-env` Kafka's variables count, as the image apache/kafka reads them:

* `KAFKA_X_Y` is the key `x.y`; two underscores are one, three are a hyphen. `KAFKA_CFG_X_Y` is the same. Values are read as
  in a properties file, where a backslash has a meaning. They are UTF-8.
* What is for scripts and JVMs is passed over: `KAFKA_HEAP_OPTS`, `KAFKA_JMX_PORT` and the like. `KAFKA_LOG4J_ROOT_LOGLEVEL` is the
  level of the log, unless `--log-level` or `RUST_LOG` says another.
* Without a file `/mnt/shared/config/server.properties` is read, if it is there. Where there is neither a file nor a variable,
  the broker listens on port 9092 of every interface, and clients connect to localhost.
* `CLUSTER_ID` (default `5L6g3nShT-eMCtK--X86sw`) is the cluster of a data directory that is new. Elsewhere it means nothing.
* Without `KAFKA_LISTENERS` the advertised listeners are opened on every interface.
* With `SSL://` among `KAFKA_ADVERTISED_LISTENERS`, `KAFKA_SSL_KEYSTORE_FILENAME`, `KAFKA_SSL_KEYSTORE_CREDENTIALS` and
  `KAFKA_SSL_KEY_CREDENTIALS` name files in `/etc/kafka/secrets`; with `KAFKA_SSL_CLIENT_AUTH` those of the truststore do, too.
* Listeners with SASL take their login modules from the JAAS file that `-Djava.security.auth.login.config=` in `KAFKA_OPTS`
  names: from the section `LISTENER.KafkaServer`, else `KafkaServer`. `sasl.jaas.config` of a listener goes over it.
* `KAFKA_CREATE_TOPICS=NAME:PARTITIONS:REPLICAS[:POLICY],...` names topics as `--create-topic` does.
  `KAFKA_CREATE_TOPICS_SEPARATOR` has other characters that stand between them.

The keys below have an effect. Of the others:

* A value that cannot be used stops the start with one line that says why.
* **A key that protects stops the start** until Ottla can do what it asks for: another authorizer than Kafka's own,
  GSSAPI in a build without it, plugins, policies, controllers elsewhere
  (`process.roles=broker`), and whatever looks like one of them mistyped. So do SASL keys where no listener asks for a log-in,
  and SSL keys where none encrypts. With its default or empty value such a
  key asks for nothing. AlterConfigs refuses them as well.
* A key that somebody might miss is a warning. The remaining keys of Kafka's have nothing to do here and are one line in the
  log, all together.
* An unknown key is named together with the key that was most likely meant.

What may change while the broker runs, and how far, is what Kafka 4.4 allows. SIGHUP reads certificates and the token of metrics again, nothing else.

SSL keys are read for each listener that encrypts: `listener.name.LISTENER.KEY` (the name in lower case) goes over `KEY`.
";

fn rows<'a>(page: &mut String, title: &str, rows: impl Iterator<Item = &'a ConfigDef>) {
    write!(
        page,
        "\n## {title}\n\n| key | default | meaning |\n|---|---|---|\n"
    )
    .unwrap();
    for row in rows {
        let default = match row.default {
            None => "unset".to_owned(),
            Some("") => "empty".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let while_running = match changes_while_running(row) {
            true => " May change while the broker runs.",
            false => "",
        };
        let (name, documentation) = (row.name, row.documentation);
        writeln!(
            page,
            "| `{name}` | {default} | {documentation}{while_running} |"
        )
        .unwrap();
    }
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let used = || broker_configs().values().filter(|row| !row.unused);
    let is_own = |row: &&ConfigDef| row.name.starts_with("ottla.");
    rows(&mut page, "Ottla's own keys", used().filter(is_own));
    rows(
        &mut page,
        "Kafka's broker keys",
        used().filter(|row| !is_own(row)),
    );
    let topic = TOPIC_CONFIGS.iter().map(|topic| &topic.def);
    rows(
        &mut page,
        "Topics",
        topic.filter(|row| !row.unused && !row.internal),
    );
    let of_consumers = |row: &&ConfigDef| row.name.starts_with("consumer.") && !row.internal;
    rows(
        &mut page,
        "Consumer groups",
        GROUP_CONFIGS.iter().filter(of_consumers),
    );
    page
}

#[test]
fn the_reference_says_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if std::env::var_os("DOCS").is_some_and(|value| value == "write") {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == page(),
        "docs/configuration.md is old: DOCS=write makes it anew"
    );
}
