//! The server under test: found or built, started in a folder of its own, killed, restarted and measured.

use std::{
    ffi::OsStr,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout, Command},
};

use crate::{
    args::Scenario,
    provider::{KEY_ID, PROVIDER_ID},
    run::Addresses,
};

/// From the start of the process to its line of readiness.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// From SIGINT to the end of the process; a drain of a deep queue takes its time.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Below the range the kernel hands out to connecting sockets: a client that keeps connecting to a port nobody listens on
/// could otherwise be given that port itself, and keep the restarted server from binding it.
const PORTS: std::ops::Range<u16> = 15_000..30_000;
const PORT_ATTEMPTS_MAX: u32 = 200;

/// Addresses the server is told to listen on, so that it comes back to the same ones.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub http: SocketAddr,
    pub provider: SocketAddr,
    pub internal: SocketAddr,
}

impl Ports {
    /// Three free ports.
    pub fn find(random: &mut impl Rng) -> Result<Self> {
        let mut found = Vec::new();
        for _ in 0..PORT_ATTEMPTS_MAX {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, random.random_range(PORTS)));
            // The listeners are held until all are found, so they differ.
            if let Ok(listener) = TcpListener::bind(address) {
                found.push((address, listener));
            }
            if let [(http, _), (provider, _), (internal, _)] = found[..] {
                return Ok(Self { http, provider, internal });
            }
        }
        bail!("no free ports in {PORTS:?}")
    }
}

/// The configuration the server is started with.
pub fn config_text(scenario: Scenario, ports: &Ports, players: u32, secret: &str) -> String {
    let Ports { provider, internal, .. } = ports;
    let scenario = match scenario {
        Scenario::Plain => "load",
    };
    format!(
        "scenario = \"{scenario}\"\n\n[listen]\nprovider = \"{provider}\"\ninternal = \"{internal}\"\n\n[demo]\nenabled = false\n\n\
         [load]\nplayers = {players}\n\n[[providers]]\nid = \"{PROVIDER_ID}\"\nname = \"Sandbox Studio\"\nkeys = [{{ id = \"{KEY_ID}\", secret = \"{secret}\" }}]\n"
    )
}

/// Finds `pitboss` beside this executable, or builds it.
pub async fn find_or_build(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        ensure!(given.is_file(), "--server {} is no file", given.display());
        return Ok(given.to_owned());
    }
    let beside = std::env::current_exe()?.with_file_name("pitboss");
    if beside.is_file() {
        return Ok(beside);
    }
    eprintln!("no pitboss beside this executable, so it is built: cargo build --release -p pitboss");
    let arguments = ["build", "--release", "-p", "pitboss", "--message-format=json-render-diagnostics"];
    let built = Command::new("cargo").args(arguments).stderr(Stdio::inherit()).output().await.context("starting cargo")?;
    ensure!(built.status.success(), "cargo build ended with {}", built.status);
    executable_of(&built.stdout).context("cargo named no executable of pitboss")
}

/// The path of `pitboss` in cargo's messages.
fn executable_of(messages: &[u8]) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        executable: Option<PathBuf>,
    }
    let lines = messages.split(|byte| *byte == b'\n').rev();
    let executables = lines.filter_map(|line| serde_json::from_slice::<Artifact>(line).ok()?.executable);
    executables.into_iter().find(|path| path.file_stem() == Some(OsStr::new("pitboss")))
}

/// A running server, or one that was killed and can be started again.
pub struct Server {
    binary: PathBuf,
    folder: PathBuf,
    ports: Ports,
    child: Option<Child>,
    /// What earlier incarnations used, read just before their end.
    used_before: Usage,
}

impl Server {
    /// Writes the configuration and starts the server.
    pub async fn start(binary: PathBuf, folder: &Path, ports: Ports, config: &str) -> Result<(Self, Addresses)> {
        tokio::fs::write(folder.join("loadtest.toml"), config).await?;
        let mut server = Self { binary, folder: folder.to_owned(), ports, child: None, used_before: Usage::default() };
        let addresses = server.launch().await?;
        Ok((server, addresses))
    }

    pub fn data(&self) -> &Path {
        &self.folder
    }

    /// Starts the process and waits until it says that it is ready.
    pub async fn launch(&mut self) -> Result<Addresses> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(&self.folder).arg("--listen").arg(self.ports.http.to_string());
        command.arg("--config").arg(self.folder.join("loadtest.toml")).arg("--no-demo");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        end_with_parent(&mut command);
        let mut child = command.spawn().with_context(|| format!("starting {}", self.binary.display()))?;
        let stdout = child.stdout.take().context("the server's standard output")?;
        self.child = Some(child);
        let ready = tokio::time::timeout(READY_TIMEOUT, self.wait_until_ready(stdout)).await;
        match ready.unwrap_or_else(|_| Err(anyhow::anyhow!("the server was not ready within {READY_TIMEOUT:?}"))) {
            Ok(addresses) => Ok(addresses),
            Err(error) => bail!("{error:#}; {}", self.log_tail().await),
        }
    }

    async fn wait_until_ready(&self, stdout: ChildStdout) -> Result<Addresses> {
        #[derive(Deserialize)]
        struct Ready {
            ready: bool,
            http: SocketAddr,
            provider: SocketAddr,
        }
        let mut lines = BufReader::new(stdout).lines();
        let mut log = tokio::fs::OpenOptions::new().append(true).open(self.log_path()).await?;
        while let Some(line) = lines.next_line().await? {
            match serde_json::from_str::<Ready>(&line) {
                Ok(Ready { ready: true, http, provider }) => {
                    // Whatever else it prints must not fill the pipe; the task ends with the server.
                    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                    return Ok(Addresses { http, provider });
                }
                _ => log.write_all(format!("{line}\n").as_bytes()).await?,
            }
        }
        bail!("the server ended before it was ready")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The last lines the server wrote, for a report of its failure.
    pub async fn log_tail(&self) -> String {
        const TAIL_LINES: usize = 20;
        let log = tokio::fs::read(self.log_path()).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<_> = text.lines().rev().take(TAIL_LINES).collect();
        format!("the server's last lines:\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }

    fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Whether the process has ended by itself.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// SIGKILL, without any warning.
    pub async fn kill(&mut self) -> Result<()> {
        self.used_before = self.usage();
        let mut child = self.child.take().context("no server to kill")?;
        child.start_kill()?;
        child.wait().await?;
        Ok(())
    }

    /// SIGINT, then waits for the drain. An error when it does not stop cleanly.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // SAFETY: kill(2) takes plain numbers; the child is not reaped yet, so its id is still its own.
        let sent = unsafe { libc::kill(pid as libc::pid_t, libc::SIGINT) };
        ensure!(sent == 0, "sending SIGINT: {}", std::io::Error::last_os_error());
        match tokio::time::timeout(STOP_TIMEOUT, child.wait()).await {
            Ok(status) => {
                let status = status?;
                ensure!(status.success(), "the server ended with {status}");
                Ok(())
            }
            Err(_) => {
                child.kill().await?;
                bail!("the server did not stop within {STOP_TIMEOUT:?}")
            }
        }
    }

    /// What all incarnations together have used so far.
    pub fn usage(&self) -> Usage {
        let now = self.pid().and_then(|pid| Usage::of(&pid.to_string())).unwrap_or_default();
        Usage {
            cpu_us: self.used_before.cpu_us + now.cpu_us,
            bytes_written: self.used_before.bytes_written + now.bytes_written,
            rss_mib: now.rss_mib,
        }
    }
}

/// Asks the kernel to end the server when this program ends, however it ends.
fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub cpu_us: u64,
    pub bytes_written: u64,
    pub rss_mib: f64,
}

impl Usage {
    /// Of a process by its number, or of `self`.
    pub fn of(process: &str) -> Option<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}")).ok();
        // Another user's process hides `io`; then bytes are unknown and reported as zero.
        let io = read("io").unwrap_or_default();
        Self::parse(&read("stat")?, &io, &read("status")?)
    }

    fn parse(stat: &str, io: &str, status: &str) -> Option<Self> {
        // The name in the second field may hold spaces and parentheses; user and system time are fields 14 and 15.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        let number = |text: &str, name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse::<u64>().ok())
        };
        Some(Self {
            cpu_us: ticks * 1_000_000 / ticks_per_second(),
            bytes_written: number(io, "write_bytes:").unwrap_or(0),
            rss_mib: number(status, "VmRSS:")? as f64 / 1_024.0,
        })
    }
}

fn ticks_per_second() -> u64 {
    // SAFETY: sysconf(3) only reads a constant of the system.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}

/// Lets this process, and the server it starts, open as many files as the system allows.
pub fn raise_open_files_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write the one local struct of the right type. A refusal leaves the limit as it was.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_past_a_hostile_name() {
        let stat = "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 300 200 0 0 20 0 9 0 1";
        let usage = Usage::parse(stat, "rchar: 1\nwrite_bytes: 4096\n", "Name:\tx\nVmRSS:\t   2048 kB\n").unwrap();
        assert_eq!(usage, Usage { cpu_us: 500 * 1_000_000 / ticks_per_second(), bytes_written: 4096, rss_mib: 2.0 });
        assert!(Usage::of("self").is_some_and(|usage| usage.rss_mib > 0.0));
    }

    #[test]
    fn the_built_server_is_found_in_cargos_messages() {
        let messages = b"{\"reason\":\"compiler-artifact\",\"executable\":null}\n{\"executable\":\"/x/release/pitboss\"}\n{\"reason\":\"build-finished\"}\n";
        assert_eq!(executable_of(messages), Some(PathBuf::from("/x/release/pitboss")));
        assert_eq!(executable_of(b"{}\nnonsense"), None);
    }

    #[test]
    fn ports_differ_and_lie_below_the_ephemeral_range() {
        let ports = Ports::find(&mut rand::rng()).unwrap();
        let numbers = [ports.http.port(), ports.provider.port(), ports.internal.port()];
        assert!(numbers.iter().all(|port| PORTS.contains(port)));
        assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2] && numbers[0] != numbers[2]);
    }
}
