//! The load generator against real servers: every workload that has a name, everything that goes wrong, and its page in a real
//! browser. `RINGKEEPER_TEST_SERVER=java` loads Apache ZooKeeper instead.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Kind, Server};

const QUICK: [&str; 6] = ["--keys", "200", "--connections", "8", "--ceiling-seconds", "0"];

fn generator() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper-load"));
    command.stdin(Stdio::null());
    command
}

/// Runs to the end; says the exit code, standard output and standard error.
fn load(address: &str, options: &[&str]) -> (i32, String, String) {
    let output =
        generator().args(["--servers", address]).args(options).output().expect("cannot run the load generator");
    said(&output)
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
}

fn server(home: &Path) -> Server {
    let mut server = Server::new(Kind::under_test(), home);
    server.start();
    server
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_named_workload_runs_without_an_error() {
    let home = tempfile::tempdir().expect("a directory");
    let server = server(home.path());
    let address = server.address().to_string();
    let listed = said(&generator().arg("workloads").output().expect("cannot run the load generator")).1;
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 20, "{listed}");
    for name in names {
        let mut options = vec!["--workload", name, "--json", "--quiet", "--seconds", "0.3", "--warmup-seconds", "0"];
        options.extend(QUICK);
        let (code, result, error) = load(&address, &options);
        assert_eq!(code, 0, "{name}: {error}{result}");
        let result = json(&result);
        assert!(result["operations"].as_u64().is_some_and(|operations| operations > 0), "{name}: {result}");
    }
}

/// Each kind of the mix is measured by itself, in about the shares that the file asks for.
#[test]
fn a_workload_file_says_what_is_sent() {
    let home = tempfile::tempdir().expect("a directory");
    let server = server(home.path());
    let file = home.path().join("mine.toml");
    let text = "keys = 50\n[[operation]]\nkind = \"get\"\nweight = 3\n[[operation]]\nkind = \"multi\"\nsize = 2\nof = [\"create\", \"delete\"]\n";
    std::fs::write(&file, text).expect("write");
    let file = file.to_str().expect("a path");
    let options = ["--workload", file, "--operations", "400", "--warmup-seconds", "0", "--json", "--quiet"];
    let (code, result, error) = load(&server.address().to_string(), &options);
    assert_eq!(code, 0, "{error}");
    let result = json(&result);
    let count = |kind: &str| result["latency_us"][kind]["count"].as_u64().unwrap_or(0);
    assert_eq!((result["workload"].as_str(), count("get") + count("multi")), (Some("mine"), 400));
    assert!((60..140).contains(&count("multi")), "{result}");
    assert!(result["generator_ceiling_rate"].as_f64().is_some_and(|rate| rate > 0.0), "{result}");
}

#[test]
fn a_search_finds_a_rate_or_says_that_there_is_none() {
    let home = tempfile::tempdir().expect("a directory");
    let server = server(home.path());
    let address = server.address().to_string();
    let with = |limit: &str| {
        let mut options =
            vec!["--json", "--quiet", "--seconds", "0.3", "--warmup-seconds", "0", "--search-p99-ms", limit];
        options.extend(QUICK);
        load(&address, &options)
    };
    let (code, result, error) = with("10000");
    assert_eq!(code, 0, "{error}{result}");
    assert!(json(&result)["search"]["highest_rate"].as_f64().is_some_and(|rate| rate > 0.0), "{result}");
    let (code, result, _) = with("0.0001");
    assert_eq!(code, 8, "{result}");
    let result = json(&result);
    assert!(
        result["search"]["highest_rate"].is_null() && result["search"]["trials"].as_array().expect("trials").len() > 3
    );
}

#[test]
fn a_server_that_dies_leaves_what_was_measured() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = server(home.path());
    let (csv, save) = (home.path().join("run.csv"), home.path().join("run.json"));
    let mut options = vec!["--seconds", "60", "--warmup-seconds", "0", "--interval-seconds", "0.2", "--json"];
    options.extend(QUICK);
    let mut command = generator();
    command
        .args(["--servers", &server.address().to_string()])
        .args(options)
        .arg("--csv")
        .arg(&csv)
        .arg("--save")
        .arg(&save);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("cannot run the load generator");
    wait_for_lines(&csv, 8);
    server.kill();
    let (code, result, error) = said(&child.wait_with_output().expect("no end"));
    assert_eq!(code, 6, "{error}");
    assert!(error.contains("connections are lost"), "{error}");
    for text in [result, std::fs::read_to_string(&save).expect("a saved run")] {
        let result = json(&text);
        assert!(result["operations"].as_u64().is_some_and(|operations| operations > 0), "{result}");
        assert!(result["failure"].as_str().is_some_and(|failure| failure.contains("lost")), "{result}");
    }
}

fn wait_for_lines(file: &Path, lines: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::fs::read_to_string(file).unwrap_or_default().lines().count() < lines {
        assert!(Instant::now() < deadline, "{} does not grow", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn bad_input_is_refused_with_a_reason_and_an_exit_code() {
    let home = tempfile::tempdir().expect("a directory");
    let nobody = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").to_string();
    let nonsense = home.path().join("nonsense.toml");
    std::fs::write(&nonsense, "keys = 10\n[[operation]]\nkind = \"frobnicate\"\n").expect("write");
    let nonsense = nonsense.to_str().expect("a path");
    for (options, code, reason) in [
        (&["--workload", "get"][..], 3, "nothing listens there"),
        (&["--workload", "lock"], 3, "nothing listens there"),
        (&["--workload", "session-churn", "--no-setup", "--warmup-seconds", "0"], 3, "in a row failed"),
        (&["--workload", nonsense], 2, "nonsense.toml:3: unknown variant `frobnicate`"),
        (&["--workload", "no-such-workload"], 2, "no-such-workload"),
        (&["--workload", "/no/such/file.toml"], 2, "No such file"),
        (&["--operations", "0"], 2, "nothing would be measured"),
        (&["--save", "/no/such/directory/run.json"], 1, "cannot write --save"),
        (&["--csv", "/no/such/directory/run.csv"], 1, "cannot write --csv"),
        (&["--html", "/proc/run.html"], 1, "cannot write --html"),
        (&["--hdr-log", "/no/such/directory/run.hlog"], 1, "cannot write --hdr-log"),
        (&["--pid", "4000000000"], 2, "no such process"),
    ] {
        let (found, _, error) = load(&nobody, options);
        assert_eq!(found, code, "{options:?}: {error}");
        assert!(error.contains(reason), "{options:?}: {error}");
    }
}

/// What an earlier run left stays when there is nothing new to put in its place.
#[test]
fn a_run_that_measured_nothing_leaves_no_files() {
    let home = tempfile::tempdir().expect("a directory");
    let nobody = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").to_string();
    let (new, earlier) = (home.path().join("new.json"), home.path().join("earlier.csv"));
    std::fs::write(&earlier, "kept").expect("write");
    let output = generator().args(["--servers", &nobody, "--save"]).arg(&new).arg("--csv").arg(&earlier).output();
    assert_eq!(said(&output.expect("cannot run the load generator")).0, 3);
    assert!(!new.exists());
    assert_eq!(std::fs::read_to_string(&earlier).expect("read"), "kept");
}

#[test]
fn a_server_that_refuses_connections_is_told_as_such() {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = Server::new(Kind::under_test(), home.path());
    server.set("maxClientCnxns", "3");
    server.start();
    // Java counts a connection a little after it has accepted it: a few at once get past its limit.
    for workload in ["get", "lock"] {
        let options = ["--connections", "200", "--keys", "1", "--no-setup", "--workload", workload];
        let (code, _, error) = load(&server.address().to_string(), &options);
        assert_eq!(code, 5, "{workload}: {error}");
        assert!(error.contains("maxClientCnxns"), "{workload}: {error}");
    }
}

/// `/dev/full` can be opened and takes nothing: what was measured is printed all the same.
#[test]
fn a_full_disk_does_not_end_the_run() {
    let home = tempfile::tempdir().expect("a directory");
    let server = server(home.path());
    for file in ["--save", "--hdr-log", "--html"] {
        let mut options = vec!["--json", "--seconds", "0.2", "--warmup-seconds", "0", file, "/dev/full"];
        options.extend(QUICK);
        let (code, result, error) = load(&server.address().to_string(), &options);
        assert_eq!(code, 1, "{file}: {error}");
        assert!(error.contains("cannot write"), "{file}: {error}");
        assert!(json(&result)["operations"].as_u64().is_some_and(|operations| operations > 0), "{file}: {result}");
    }
}

#[test]
fn the_page_is_drawn_by_a_real_browser() {
    let home = tempfile::tempdir().expect("a directory");
    let server = server(home.path());
    let address = server.address().to_string();
    let at = |name: &str| home.path().join(name).to_str().expect("a path").to_owned();
    for (workload, save) in [("mixed", at("a.json")), ("get-list", at("b.json"))] {
        let mut options = vec!["--workload", workload, "--save", &save, "--seconds", "1", "--interval-seconds", "0.1"];
        options.extend(["--warmup-seconds", "0", "--quiet", "--rate", "200..800", "--steps", "3"]);
        options.extend(QUICK);
        let (code, _, error) = load(&address, &options);
        assert_eq!(code, 0, "{workload}: {error}");
    }
    let runs = [format!("one={}", at("a.json")), at("b.json")];
    let page = at("report.html");
    let report =
        generator().args(["report", "--title", "two runs", "--out", &page]).args(&runs).output().expect("a report");
    assert_eq!(said(&report).0, 0, "{report:?}");
    let Some(browser) = browser() else {
        eprintln!("NOT TESTED: no browser (Debian: apt-get install chromium, or run tools/test)");
        return;
    };
    let dom = dom_of(&browser, Path::new(&page), &home.path().join("profile"));
    // get in both; set and list in one each; rate, planned rate, p99 over time and p99 against rate in both.
    assert!(dom.contains("data-drawn=\"7 plots, 12 lines\""), "{}", dom.lines().take(3).collect::<Vec<_>>().join("\n"));
}

fn browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut places = std::env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name)));
    places.find(|place| place.is_file())
}

/// The page after its script has run.
fn dom_of(browser: &Path, page: &Path, profile: &Path) -> String {
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.arg(format!("--user-data-dir={}", profile.display())).arg("--dump-dom");
    command.arg(format!("file://{}", page.display())).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().expect("cannot start the browser");
    let output = end_within(child, Duration::from_secs(120));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A browser that hangs must not hold the tests up.
fn end_within(child: Child, patience: Duration) -> Output {
    let pid = child.id();
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if ended.recv_timeout(patience).is_err() {
            // SAFETY: plain system call on the id of a child that has not been waited for.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
        }
    });
    let output = child.wait_with_output().expect("no end");
    done.send(()).expect("the watchdog waits");
    watchdog.join().expect("no panic");
    output
}
