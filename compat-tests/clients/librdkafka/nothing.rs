//! Nothing: this package only names a dependency, see `src/librdkafka.rs`.
