//! A server in a folder of its own, with clients for its two doors. Dropping a server stops it and verifies its ledger.
//!
//! Nothing here sleeps and hopes: whatever is waited for has a condition and the deadline [`WAIT_MAX`].

pub mod provider;
pub mod ws;

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for anything a test waits for.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two looks at a condition that cannot be waited on.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a user starts with.
const CONFIG: &str = include_str!("../../config/default.toml");

pub fn pitboss() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pitboss"));
    command.stdin(Stdio::null());
    command
}

/// Runs a command of the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    pitboss().args(arguments).output().expect("pitboss starts")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Looks until the condition holds.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {WAIT_MAX:?} for {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A server of the test's own.
pub struct TestServer {
    folder: TempDir,
    settings: Vec<(String, String)>,
    /// The configuration's text.
    config: String,
    running: Option<Running>,
}

struct Running {
    child: Child,
    ready: Value,
}

impl TestServer {
    /// The demo and thirty players `load-000001`…, without the studio.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same with settings, each a key of the configuration and its value.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::configured(settings, &[])
    }

    /// The same with pieces of `config/default.toml` replaced, for what lies in lists. The pause between two rounds is left
    /// out: few players are to play many rounds.
    pub fn configured(settings: &[(&str, &str)], replaced: &[(&str, &str)]) -> Self {
        let mut config = CONFIG.replace("slot_cycle_ms = 2500", "slot_cycle_ms = 0");
        for (from, to) in replaced {
            assert!(config.contains(from), "the default configuration holds {from:?}");
            config = config.replace(from, to);
        }
        Self::made(settings, config)
    }

    /// As it comes, with the studio.
    pub fn as_shipped() -> Self {
        Self::made(&[("demo.sandbox", "true"), ("scenario", "demo")], CONFIG.to_owned())
    }

    fn made(settings: &[(&str, &str)], config: String) -> Self {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self { folder, settings, config, running: None };
        server.restart();
        server
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn config_file(&self) -> PathBuf {
        let path = self.folder.path().join("pitboss.toml");
        std::fs::write(&path, &self.config).expect("the configuration is written");
        path
    }

    /// The command that serves this folder, with any free ports.
    pub fn command(&self) -> Command {
        let mut command = pitboss();
        command.arg("serve").arg("--data").arg(self.data()).arg("--config").arg(self.config_file());
        for listener in ["PUBLIC", "PROVIDER", "INTERNAL", "SANDBOX"] {
            command.env(format!("PITBOSS__LISTEN__{listener}"), "127.0.0.1:0");
        }
        let defaults = [("demo.sandbox", "false"), ("scenario", "load"), ("load.players", "30")];
        let given = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in defaults.into_iter().chain(given) {
            command.env(format!("PITBOSS__{}", key.replace('.', "__").to_uppercase()), value);
        }
        command
    }

    /// Starts the server on its folder and waits until it says that it is ready.
    pub fn restart(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let log = std::fs::File::create(self.log_path()).expect("the log is created");
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(log);
        // SAFETY: between fork and exec only prctl(2) is called, which allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(|| {
                // A test that is killed leaves no server behind.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.spawn().expect("pitboss starts");
        let stdout = child.stdout.take().expect("its output is piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Whatever comes after the first line only must not fill the pipe.
                drop(sender.send(line));
            }
        });
        let ready = lines.recv_timeout(WAIT_MAX).ok().and_then(|line| serde_json::from_str::<Value>(&line).ok());
        let ready = ready.filter(|ready| ready["ready"] == json!(true));
        let Some(ready) = ready else {
            drop(child.kill());
            drop(child.wait());
            panic!("the server was not ready:\n{}", self.log());
        };
        self.running = Some(Running { child, ready });
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// What the server wrote to its standard error since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn address(&self, name: &str) -> String {
        let ready = &self.running.as_ref().expect("the server runs").ready;
        ready[name].as_str().unwrap_or_else(|| panic!("{ready} names no {name}")).to_owned()
    }

    pub fn http(&self) -> String {
        format!("http://{}", self.address("http"))
    }

    pub fn ws_url(&self) -> String {
        format!("ws://{}/ws", self.address("http"))
    }

    pub fn provider_url(&self) -> String {
        format!("http://{}", self.address("provider"))
    }

    pub fn ops_url(&self) -> String {
        format!("http://{}", self.address("internal"))
    }

    pub fn sandbox_url(&self) -> String {
        format!("http://{}", self.address("sandbox"))
    }

    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("the server runs").child.id()
    }

    /// SIGKILL, without any warning.
    pub fn kill9(&mut self) {
        let mut running = self.running.take().expect("the server runs");
        running.child.kill().expect("it is killed");
        running.child.wait().expect("it ends");
    }

    /// Asks it to stop, and does not wait.
    pub fn interrupt(&self) {
        self.signal(libc::SIGINT);
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.pid()).expect("a process id");
        // SAFETY: kill(2) takes plain numbers; the child is not reaped yet, so its id is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "signal {signal} is sent");
    }

    /// Waits for its end after [`Self::signal`].
    pub fn wait(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the server runs");
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            if let Some(status) = running.child.try_wait().expect("it can be waited for") {
                return status;
            }
            if Instant::now() > deadline {
                drop(running.child.kill());
                drop(running.child.wait());
                panic!("the server did not stop within {WAIT_MAX:?}:\n{}", self.log());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Ctrl-C, then waits for the orderly end.
    pub fn stop(&mut self) {
        self.interrupt();
        let status = self.wait();
        assert!(status.success(), "the server ended with {status}:\n{}", self.log());
    }

    /// `pitboss verify` on the folder of the stopped server.
    pub fn verify(&self) -> Output {
        verify(&self.data())
    }

    /// Every unit of the stopped server's ledger.
    pub fn export(&self) -> Vec<Value> {
        let output = run(&["ledger", "export", "--data", self.data().to_str().expect("a plain path")]);
        assert!(output.status.success(), "the export failed: {}", text(&output.stderr));
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("every line is JSON")).collect()
    }

    /// A GET of the public listener.
    pub async fn get(&self, path: &str) -> Value {
        let response = http_client().get(format!("{}{path}", self.http())).send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("JSON")
    }

    /// A POST of the public listener.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let response = http_client().post(format!("{}{path}", self.http())).json(body).send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("JSON")
    }

    /// The token a demo player connects with.
    pub async fn token(&self, player: &str) -> String {
        let login = self.post("/v1/demo/login", &json!({ "player": player })).await;
        login["token"].as_str().expect("a token").to_owned()
    }

    /// The launch token of a provider's game.
    pub async fn launch(&self, player: &str, game: &str) -> Value {
        self.post("/v1/demo/launch", &json!({ "player": player, "game": game })).await
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test has failed already; its server's words may say why.
            if let Some(mut running) = self.running.take() {
                drop(running.child.kill());
                drop(running.child.wait());
            }
            eprintln!("the server's log:\n{}", self.log());
            return;
        }
        if self.running.is_some() {
            self.stop();
        }
        let output = self.verify();
        assert!(output.status.success(), "the ledger does not verify:\n{}{}", text(&output.stdout), text(&output.stderr));
    }
}

pub fn verify(data: &Path) -> Output {
    run(&["verify", "--data", data.to_str().expect("a plain path")])
}

pub fn http_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(WAIT_MAX).build().expect("a client")
}

/// Runs another program to its end, bounded, and answers how it ended with what it wrote.
pub fn run_bounded(mut command: Command, longest: Duration) -> (ExitStatus, String, String) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            drop(pipe.read_to_end(&mut bytes));
            text(&bytes)
        })
    };
    let stdout = read(Box::new(child.stdout.take().expect("piped")));
    let stderr = read(Box::new(child.stderr.take().expect("piped")));
    let deadline = Instant::now() + longest;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        if Instant::now() > deadline {
            drop(child.kill());
            drop(child.wait());
            panic!("{command:?} did not end within {longest:?}");
        }
        std::thread::sleep(LOOK_EVERY);
    };
    (status, stdout.join().expect("its output is read"), stderr.join().expect("its errors are read"))
}

/// A new id of a request or a transaction.
pub fn new_id() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}
