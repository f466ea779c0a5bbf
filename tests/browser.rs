//! The pages in a real browser: `web/test/browser.mjs` plays them as a person would, against a server as it comes.

#[expect(dead_code, reason = "shared by all integration tests; each uses a part of it")]
mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use support::{TestServer, run_bounded};

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The browser's driver library, pinned in `web/test/package.json`.
fn driver(folder: &Path) {
    if folder.join("node_modules/playwright-core").is_dir() {
        return;
    }
    assert!(is_there("npm"), "npm is missing: run scripts/test, which installs it");
    let mut command = Command::new("npm");
    command.args(["install", "--no-package-lock", "--no-audit", "--no-fund"]).current_dir(folder);
    let (status, stdout, stderr) = run_bounded(command, Duration::from_secs(180));
    assert!(status.success(), "npm could not install the browser's driver: {stdout}{stderr}");
}

#[test]
fn the_pages_work_in_a_browser() {
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    assert!(Path::new(&chromium).exists(), "{chromium} is missing: install chromium or name one in CHROMIUM");
    assert!(is_there("node"), "node is missing: run scripts/test, which installs it");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/test");
    driver(&folder);
    let server = TestServer::as_shipped();
    let shots = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("browser");
    let mut command = Command::new("node");
    command.arg("browser.mjs").args(["--url", &server.http(), "--ops", &server.ops_url(), "--shots"]).arg(&shots);
    command.env("CHROMIUM", &chromium).current_dir(&folder);
    let (status, stdout, stderr) = run_bounded(command, Duration::from_secs(400));
    assert!(status.success(), "{stdout}\n{stderr}\nscreenshots: {}", shots.display());
    assert!(stdout.contains(", 0 failed") && !stdout.contains("# 0 passed"), "{stdout}");
}
