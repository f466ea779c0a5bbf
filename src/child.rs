//! The sandbox studio as a child process: started, watched, started again, and never outliving the server.

use std::{net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use crate::stop::stopped;
use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
};

/// Carries the signing secret to the child, as hex; arguments are visible to everybody on the machine.
pub const SECRET_ENV: &str = "PITBOSS_SANDBOX_SECRET";
const RESTART_AFTER: Duration = Duration::from_secs(1);
const STOP_MAX: Duration = Duration::from_secs(5);

/// What the child is started with.
#[derive(Clone, Debug)]
pub struct Sandbox {
    pub listen: SocketAddr,
    pub casino: SocketAddr,
    pub provider: String,
    pub key_id: String,
    pub secret_hex: String,
    pub data: PathBuf,
}

/// Starts the child and says where it listens.
pub async fn start(sandbox: &Sandbox) -> anyhow::Result<(Child, SocketAddr)> {
    let mut command = Command::new(std::env::current_exe().context("cannot find the own program")?);
    command
        .arg("sandbox")
        .args(["--listen", &sandbox.listen.to_string()])
        .args(["--casino", &format!("http://{}", sandbox.casino)])
        .args(["--provider", &sandbox.provider])
        .args(["--key-id", &sandbox.key_id])
        .arg("--data")
        .arg(&sandbox.data)
        .env(SECRET_ENV, &sandbox.secret_hex)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    // SAFETY: between fork and exec only these two system calls run; they allocate nothing and touch no lock.
    unsafe {
        command.pre_exec(|| {
            // The child dies with the server, however that dies, and a Ctrl-C in the terminal reaches the server alone.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::setpgid(0, 0);
            Ok(())
        });
    }
    let mut child = command.spawn().context("the sandbox studio does not start")?;
    let stdout = child.stdout.take().context("the sandbox studio has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = lines.next_line().await?.context("the sandbox studio ended at once")?;
    let listen = line.parse().with_context(|| format!("the sandbox studio said {line:?} instead of its address"))?;
    Ok((child, listen))
}

/// Keeps the child running until the server stops.
pub async fn keep(sandbox: Sandbox, mut child: Child, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = stopped(&mut stop) => {
                if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                    // SAFETY: a signal to our own child, which has not been waited for yet.
                    unsafe { libc::kill(pid, libc::SIGTERM) };
                }
                drop(tokio::time::timeout(STOP_MAX, child.wait()).await);
                return;
            }
            status = child.wait() => tracing::error!(?status, "the sandbox studio ended; it is started again"),
        }
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(RESTART_AFTER) => {}
            }
            match start(&sandbox).await {
                Ok((started, _)) => {
                    child = started;
                    break;
                }
                Err(error) => tracing::error!(%error, "the sandbox studio does not start"),
            }
        }
    }
}
