//! The program as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

fn lab() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("larder-lab"))
}

/// A folder with a trace of 5000 accesses, with sizes.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.txt");
    let line = |step: u64| format!("k{} {}\n", step * step % 500, 10 + step * step % 7);
    fs::write(&path, (0..5000).map(line).collect::<String>()).expect("a file");
    (folder, path)
}

#[test]
fn a_table_with_every_policy() {
    let (_folder, path) = folder();
    let mut names = larder_lab::simulate::all_policies();
    names.extend(
        ["textbook LRU", "optimum", "★", "web: 5,000 accesses", "reachable"].map(str::to_owned),
    );
    let mut assert = lab().arg("simulate").arg(&path).args(["-c", "10%,50"]).assert().success();
    for name in names {
        assert = assert.stdout(contains(name));
    }
    assert.stdout(contains("50 entries")).stderr("");
}

#[test]
fn json_and_csv_agree() {
    let (_folder, path) = folder();
    let run = |format: &str| {
        let mut command = lab();
        command.arg("simulate").arg(&path).args(["-p", "lru,sieve", "-c", "20", format]);
        let output = command.args(["--stripes", "1"]).assert().success();
        String::from_utf8(output.get_output().stdout.clone()).expect("text")
    };
    let json: serde_json::Value = serde_json::from_str(&run("--json")).expect("JSON");
    let outcomes = json[0]["outcomes"].as_array().expect("outcomes");
    let csv = run("--csv");
    let mut csv = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<csv::StringRecord> = csv.records().map(|row| row.expect("a row")).collect();
    assert_eq!((outcomes.len(), rows.len()), (4, 4));
    for (outcome, row) in outcomes.iter().zip(&rows) {
        assert_eq!((&row[0], outcome["policy"].as_str()), ("web", Some(&row[2])));
        let percent = outcome["hit_percent"].as_f64().expect("a number");
        assert_eq!(row[4], format!("{percent:.4}"));
    }
}

#[test]
fn standard_input_sizes_and_times() {
    let csv = "key,size,time\n".to_owned()
        + &(0..2000).map(|step| format!("{},{},{}\n", step % 40, 5, step)).collect::<String>();
    let mut command = lab();
    command.args(["simulate", "-", "--format", "csv", "--csv-key", "key", "--csv-size", "size"]);
    command.args(["--csv-time", "time", "--sizes", "-c", "1KiB", "--ttl", "100s", "-p", "lru"]);
    command.write_stdin(csv).assert().success().stdout(
        // 40 keys that live for 100 s and are asked for every 40 s: two of three are hits.
        contains("stdin: 2,000 accesses").and(contains("expired")).and(contains("66.")),
    );
}

#[test]
fn who_has_the_newest_first_is_told() {
    let csv: String = (0..100).rev().map(|step| format!("{},{step}\n", step % 3)).collect();
    let mut command = lab();
    command.args(["simulate", "-", "-p", "lru", "--csv-time", "2", "--ttl", "5s"]).write_stdin(csv);
    command
        .assert()
        .success()
        .stderr("stdin: 99 accesses are older than one before them: not sorted?\n");
}

#[test]
fn who_tells_columns_means_csv() {
    let csv = "time\tkey\n".to_owned()
        + &(0..300).map(|step| format!("{step}\t{}\n", step % 3)).collect::<String>();
    for options in [&["--csv-key", "key"][..], &["--csv-head", "--csv-key", "2"]] {
        let mut command = lab();
        command.args(["simulate", "-", "-p", "lru", "--csv-delimiter", "\\t"]).args(options);
        command.write_stdin(csv.clone()).assert().success().stdout(contains("300 accesses to 3"));
    }
    // But a name that tells otherwise is believed.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runs.lis");
    fs::write(&path, "7 300 0 1\n").expect("a file");
    let mut command = lab();
    command.arg("simulate").arg(&path).args(["-p", "lru", "--csv-key", "key"]);
    command.assert().success().stdout(contains("300 accesses to 300"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_may_have_any_name() {
    use std::os::unix::ffi::OsStringExt;
    let (folder, path) = folder();
    let name = std::ffi::OsString::from_vec(b"caf\xe9.txt".to_vec());
    let strange = folder.path().join(name);
    fs::rename(path, &strange).expect("a file");
    let mut command = lab();
    command.arg("simulate").arg(&strange).args(["-p", "lru"]);
    command.assert().success().stdout(contains("5,000 accesses"));
}

#[test]
fn a_report_is_one_file() {
    let (folder, path) = folder();
    let report = folder.path().join("out.html");
    let mut command = lab();
    command.arg("simulate").arg(&path).arg("--report").arg(&report).args(["-p", "lru,adaptive"]);
    command.assert().success().stderr(contains("out.html"));
    let page = fs::read_to_string(&report).expect("a report");
    assert!(page.contains("reachable hit ratio") && page.contains("\"trace\":\"web\""));
    assert!(!page.contains("src=") && !page.contains("<link"), "it needs nothing else");
}

#[test]
fn who_has_seen_enough_is_not_troubled() {
    let (folder, path) = folder();
    let report = folder.path().join("out.html");
    let program = || process::Command::new(assert_cmd::cargo::cargo_bin!("larder-lab"));
    let run = |options: &[&str]| {
        let mut command = program();
        command.arg("simulate").arg(&path).args(["-p", "lru"]).args(options);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        // As `head` does when it has its lines.
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("an end");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for options in [&[][..], &["--json"], &["--csv"]] {
        assert_eq!(run(options), (Some(0), String::new()), "{options:?}");
    }
    let (code, said) = run(&["--report", report.to_str().expect("text")]);
    assert!(code == Some(0) && said.contains("out.html"), "{said}");
    assert!(fs::metadata(&report).expect("a report").len() > 1000);
    // Standard error is not read either.
    let mut command = program();
    command.arg("curve").arg(&path).arg("--check").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_the_work() {
    let (folder, path) = folder();
    let mut command = lab();
    command.arg("simulate").arg(&path).arg("--report").arg(folder.path().join("no/such.html"));
    command.assert().code(2).stdout("").stderr(contains("such.html: No such file"));
}

#[test]
fn curves_with_a_check() {
    let (_folder, path) = folder();
    let mut command = lab();
    command.arg("curve").arg(&path).args(["-c", "5%..100%:4", "-p", "lru,fifo", "--check"]);
    command.assert().success().stdout(contains("fifo").and(contains("106 entries"))).stderr(
        // Few keys: LRU's curve is exact.
        predicate::str::is_match(r"lru +0\.00 +0\.00 +1\.0 ×").expect("a pattern"),
    );
}

#[test]
fn bad_lines_end_it_or_are_counted() {
    let (folder, _path) = folder();
    let path = folder.path().join("bad.txt");
    fs::write(&path, "a 1\nb one\nc 1\n").expect("a file");
    let place = format!("{}, line 2: \"one\" is no size", path.display());
    lab().arg("simulate").arg(&path).assert().code(2).stderr(contains(place));
    let mut lenient = lab();
    lenient.arg("simulate").arg(&path).arg("--skip-bad");
    lenient.assert().success().stdout(contains("1 bad lines left out"));
}

#[test]
fn what_cannot_be_is_explained() {
    let (_folder, path) = folder();
    let explained = |options: &[&str], why: &str| {
        lab().arg("simulate").arg(&path).args(options).assert().code(2).stderr(contains(why));
    };
    explained(&["-p", "mru"], "known are adaptive");
    explained(&["-c", "many"], "is no capacity");
    explained(&["-c", "1MiB"], "--sizes");
    explained(&["--ttl", "1m"], "no times");
    explained(&["--stripes", "3"], "power of two");
    let years = path.with_extension("csv");
    fs::write(&years, "a,0\na,300000000\n").expect("a file");
    let mut command = lab();
    command.arg("simulate").arg(&years).args(["--csv-time", "2", "--ttl", "1h"]);
    command.assert().code(2).stderr(contains("takes 9 years"));
    let csv = path.with_extension("csv");
    fs::write(&csv, "key;size\na;1\n").expect("a file");
    for (options, why) in [
        (["--csv-key", "key"], "line 1: no column is called \"key\": there is \"key;size\""),
        (["--csv-delimiter", ";"], "line 1: \"size\" is no size (if it is a head: --csv-head)"),
    ] {
        let mut command = lab();
        command.arg("simulate").arg(&csv).args(options).args(["--csv-size", "2"]);
        command.assert().code(2).stderr(contains(why));
    }
    let missing = Path::new("no/such.trace");
    // The file and the cause, each once.
    let once =
        "larder-lab: no/such.trace: cannot be read: No such file or directory (os error 2)\n";
    lab().arg("curve").arg(missing).assert().code(2).stderr(once);
}
