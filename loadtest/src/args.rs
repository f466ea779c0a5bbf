//! The command line and its bounds: whatever is asked for, a run stays on this machine and ends.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use protocol::GameId;

pub const PLAYERS_MAX: u32 = 100_000;
pub const RUN_MAX_SECONDS: u64 = 3_600;
pub const RATE_PER_SECOND_MAX: f64 = 1_000_000.0;
pub const KILLS_MAX: u32 = 100;
pub const CONNECTIONS_MAX: u32 = 4_096;
/// Operations of one run; at the bound players stop sending, so memory stays under some 2 GB.
pub const OPERATIONS_MAX: u64 = 16_000_000;
/// Left out of percentiles and rates at the start of a run.
pub const WARM_UP: Duration = Duration::from_millis(1_500);

/// Simulates players against a pitboss server on this machine and reconciles every acknowledged operation with its ledger.
#[derive(Clone, Debug, Parser)]
#[command(name = "loadtest", version)]
pub struct Args {
    /// A server that runs already, on a loopback address only: `ws://127.0.0.1:8080`.
    #[arg(long, conflicts_with = "spawn", required_unless_present = "spawn")]
    pub url: Option<String>,
    /// Start a server of its own in a temporary folder.
    #[arg(long)]
    pub spawn: bool,
    #[arg(long)]
    pub players: u32,
    /// Length of the measured window, after a warm-up of 1.5 s.
    #[arg(long)]
    pub seconds: u64,
    /// Operations per second over all players (open loop, latency counts from the intended send time). Absent: closed loop.
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    #[arg(long, value_enum, default_value_t = Mode::Ws)]
    pub mode: Mode,
    /// Replays the same moments of kills, wins and schedules.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Kill the server with SIGKILL this many times while operations are in flight; needs --spawn.
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub kill9: u32,
    /// What is switched on at the server that --spawn starts.
    #[arg(long, value_enum, default_value_t = Scenario::Plain)]
    pub scenario: Scenario,
    /// End standard output with one line: a JSON object of the results.
    #[arg(long)]
    pub json: bool,
    /// Connect all players, do nothing, report the server's memory.
    #[arg(long, conflicts_with_all = ["rate", "kill9"])]
    pub idle: bool,
    /// Keep-alive HTTP connections of provider mode.
    #[arg(long, default_value_t = 64)]
    pub connections: u32,
    /// Stake of one spin or bet, minor units.
    #[arg(long, default_value_t = 20)]
    pub stake: i64,
    /// Game to play; by default `starfall`, in provider mode `starfall-remote`.
    #[arg(long)]
    pub game: Option<GameId>,
    /// Threads that play: 1 runs everything on one thread.
    #[arg(long, default_value_t = 1)]
    pub threads: u8,
    /// The server's binary; by default the one beside this executable, else it is built.
    #[arg(long, value_name = "FILE")]
    pub server: Option<PathBuf>,
    /// Folder to make the temporary folder in. With --url: the data folder of the server, to reconcile with.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Keep the temporary folder.
    #[arg(long)]
    pub keep: bool,
    /// With --url in provider mode: the server's provider listener.
    #[arg(long, value_name = "ADDR", requires = "url")]
    pub provider_address: Option<SocketAddr>,
    /// With --url in provider mode: the signing secret of key `sandbox-1`.
    #[arg(long, requires = "url")]
    pub provider_secret: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Hosted spins over WebSocket.
    Ws,
    /// Signed provider callbacks over keep-alive HTTP: a bet, then its win.
    Provider,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Provider => "provider",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One brand, no bonuses, no limits of players, game cycle of zero.
    Plain,
}

impl Args {
    /// Refuses what is out of bounds, each with its name, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        within("--players", self.players.into(), 1, PLAYERS_MAX.into())?;
        within("--seconds", self.seconds, 1, RUN_MAX_SECONDS)?;
        within("--kill9", self.kill9.into(), 0, KILLS_MAX.into())?;
        within("--connections", self.connections.into(), 1, CONNECTIONS_MAX.into())?;
        within("--threads", self.threads.into(), 1, 8)?;
        // Said here: clap drops a `requires` whose argument conflicts with one that is given.
        let of_own_server = self.kill9 > 0 || self.keep || self.server.is_some();
        ensure!(self.spawn || !of_own_server, "--kill9, --keep and --server need --spawn");
        ensure!(self.stake > 0, "--stake {} must be above zero", self.stake);
        if let Some(rate) = self.rate {
            let allowed = rate.is_finite() && rate > 0.0 && rate <= RATE_PER_SECOND_MAX;
            ensure!(allowed, "--rate {rate} must be above 0 and at most {RATE_PER_SECOND_MAX}");
        }
        if let Some(url) = &self.url {
            loopback_address(url)?;
            let complete = self.provider_address.is_some() && self.provider_secret.is_some();
            ensure!(self.mode == Mode::Ws || complete, "--url in provider mode needs --provider-address and --provider-secret");
        }
        if let Some(address) = self.provider_address {
            ensure!(
                address.ip().is_loopback(),
                "--provider-address {address} is not a loopback address; load stays on this machine"
            );
        }
        Ok(())
    }

    /// The game that is played.
    pub fn game(&self) -> Result<GameId> {
        let default = if self.mode == Mode::Ws { "starfall" } else { "starfall-remote" };
        self.game.map_or_else(|| default.parse().context("the name of the default game"), Ok)
    }
}

fn within(name: &str, value: u64, least: u64, most: u64) -> Result<()> {
    ensure!((least..=most).contains(&value), "{name} {value} must be from {least} to {most}");
    Ok(())
}

/// The address of a `ws://` URL, which must be a loopback one: this program never loads anyone else's machine.
pub fn loopback_address(url: &str) -> Result<SocketAddr> {
    let Some(rest) = url.strip_prefix("ws://") else { bail!("--url {url} must begin with ws://") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = match authority.strip_prefix("localhost") {
        Some(port) => format!("127.0.0.1{port}"),
        None => authority.to_owned(),
    };
    let address = match authority.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) => {
            let ip = authority.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            let ip = ip.ok().with_context(|| format!("--url {url} must name a loopback address; load stays on this machine"))?;
            SocketAddr::new(ip, 80)
        }
    };
    ensure!(address.ip().is_loopback(), "--url {url} is not a loopback address; load stays on this machine");
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_loaded() {
        for good in [
            "ws://127.0.0.1:8080",
            "ws://127.0.0.1:8080/ws",
            "ws://localhost:1",
            "ws://[::1]:9/ws",
            "ws://127.9.9.9",
            "ws://localhost",
        ] {
            assert!(loopback_address(good).is_ok(), "{good}");
        }
        for bad in [
            "ws://10.0.0.1:80",
            "ws://example.com",
            "wss://127.0.0.1",
            "http://127.0.0.1",
            "ws://localhost.example.com:80",
            "ws://0.0.0.0:1",
            "ws://127.0.0.1@example.com",
        ] {
            assert!(loopback_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bounds_are_refused_by_name() {
        let parse = |line: &str| Args::try_parse_from(line.split(' ')).map_err(anyhow::Error::from).and_then(|args| args.check());
        assert!(parse("loadtest --spawn --players 200 --seconds 20").is_ok());
        for (line, name) in [
            ("loadtest --spawn --players 0 --seconds 20", "--players"),
            ("loadtest --spawn --players 2 --seconds 999999", "--seconds"),
            ("loadtest --spawn --players 2 --seconds 2 --rate=-1", "--rate"),
            ("loadtest --url ws://127.0.0.1:1 --players 2 --seconds 2 --kill9 2", "--spawn"),
            ("loadtest --url ws://127.0.0.1:1 --players 2 --seconds 2 --mode provider", "--provider-secret"),
            ("loadtest --players 2 --seconds 2", "--url"),
        ] {
            let error = format!("{:#}", parse(line).expect_err(line));
            assert!(error.contains(name), "{line}: {error}");
        }
    }
}
