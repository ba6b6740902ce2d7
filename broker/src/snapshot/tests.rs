use std::fs;
use std::path::Path;

use storage::log::SnapshotFile;

use super::manifest::{Manifest, check, crc_of, mark_unfinished};
use super::restore::restore;
use super::*;
use crate::config::BrokerConfig;
use crate::server::{Server, StartError};

fn manifest(dir: &Path, path: &str) -> Manifest {
    fs::create_dir_all(dir.join("t-0")).unwrap();
    fs::write(dir.join("t-0/file"), b"content").unwrap();
    let (bytes, crc) = crc_of(&dir.join("t-0/file")).unwrap();
    Manifest {
        release: "1".to_owned(),
        cluster_id: "c".to_owned(),
        node_id: 1,
        made_ms: 5,
        files: vec![SnapshotFile {
            path: path.into(),
            bytes,
            crc,
            is_shared: true,
        }],
    }
}

#[test]
fn a_manifest_is_read_back_and_what_is_none_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Manifest::read(dir.path()).unwrap_err();
    assert!(missing.contains("is not a snapshot"), "{missing}");
    mark_unfinished(dir.path()).unwrap();
    let unfinished = Manifest::read(dir.path()).unwrap_err();
    assert!(unfinished.contains("broken off"), "{unfinished}");
    let written = manifest(dir.path(), "t-0/file");
    written.write(dir.path()).unwrap();
    assert_eq!(Manifest::read(dir.path()), Ok(written));
    let place = dir.path().join(SNAPSHOT_MANIFEST);
    let text = fs::read_to_string(&place).unwrap();
    fs::write(&place, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    let newer = Manifest::read(dir.path()).unwrap_err();
    assert!(
        newer.contains("take the release of Ottla that made it, 1"),
        "{newer}"
    );
    for cut in [0, 1, text.len() / 2, text.len() - 3] {
        fs::write(&place, &text[..cut]).unwrap();
        let damaged = Manifest::read(dir.path()).unwrap_err();
        assert!(damaged.contains("damaged"), "{damaged}");
    }
}

#[test]
fn a_file_that_is_not_what_it_was_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let written = manifest(dir.path(), "t-0/file");
    written.write(dir.path()).unwrap();
    check(dir.path(), &written.files[0]).unwrap();
    for damaged in ["contenT", "conten", "content+"] {
        fs::write(dir.path().join("t-0/file"), damaged).unwrap();
        let told = check(dir.path(), &written.files[0]).unwrap_err();
        assert!(told.contains("is damaged"), "{told}");
        let target = dir.path().with_extension(damaged);
        let told = restore(dir.path(), &target, false, |_, _| {}).unwrap_err();
        assert!(told.contains("is damaged"), "{told}");
        assert!(is_snapshot(&target), "it says that it is not finished");
        fs::remove_dir_all(target).unwrap();
    }
}

#[test]
fn no_manifest_names_a_file_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["../x", "/etc/passwd", "t-0/../../x", ""] {
        manifest(dir.path(), path).write(dir.path()).unwrap();
        let refused = Manifest::read(dir.path()).unwrap_err();
        assert!(refused.contains("outside"), "{path}: {refused}");
    }
}

#[tokio::test]
async fn no_broker_starts_on_a_snapshot_or_on_what_is_left_of_one() {
    let dir = tempfile::tempdir().unwrap();
    mark_unfinished(dir.path()).unwrap();
    let properties = [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", dir.path().to_str().unwrap()),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let (config, _) = BrokerConfig::from_properties(properties.into()).unwrap();
    let refused = Server::start(config).await.err().expect("refused");
    assert!(matches!(refused, StartError::Snapshot(_)), "{refused}");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is touched"
    );
}

#[test]
fn a_snapshot_is_made_where_nothing_is_and_not_in_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("x"), "").unwrap();
    for (to, expected) in [
        (data.join("inside/deep"), "lies in the data directory"),
        (data.clone(), "lies in the data directory"),
        ("relative".into(), "absolute"),
        (dir.path().to_owned(), "not empty"),
    ] {
        let refused = check_place(&data, &to).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
    check_place(&data, &dir.path().join("beside")).unwrap();
}
