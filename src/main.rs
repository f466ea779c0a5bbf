//! `pitboss`: the casino core as one program.

mod child;
mod config;
mod contracts;
mod edge;
mod export;
mod games;
mod seeding;
mod serve;
mod stop;
mod stores;
mod verify;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use config::Config;
use storage::Ledger;
use stores::Folder;

/// Many small answers and event packs are made and dropped on several threads; the system allocator is slower at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "pitboss", version, about = "A casino core: players, rounds, wallet and ledger in one server.")]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server (also without any command).
    Serve(ServeArgs),
    /// Runs the sandbox studio; the server starts it by itself.
    Sandbox(SandboxArgs),
    /// Walks the ledger and everything derived from it; exits 1 when something does not add up.
    Verify {
        #[command(flatten)]
        store: StoreArgs,
        /// Prints one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Reads the ledger.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Looks at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Writes the contracts.
    #[command(subcommand)]
    Contracts(ContractsCommand),
}

#[derive(Args, Default)]
struct ServeArgs {
    /// The data folder.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where players connect.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seeds no demo players and starts no sandbox.
    #[arg(long)]
    no_demo: bool,
}

#[derive(Args)]
struct StoreArgs {
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct SandboxArgs {
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// The casino's provider listener.
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    casino: String,
    #[arg(long, default_value = "sandbox")]
    provider: protocol::ProviderId,
    #[arg(long, default_value = "sandbox-1")]
    key_id: String,
    #[arg(long, default_value = "data/sandbox")]
    data: PathBuf,
}

#[derive(Subcommand)]
enum LedgerCommand {
    /// Prints every unit as one JSON line.
    Export(StoreArgs),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Prints the configuration in effect, or what is wrong with it.
    Check {
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum ContractsCommand {
    /// Writes OpenAPI, AsyncAPI and the JSON Schemas into a folder.
    Export { dir: PathBuf },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let command = cli.command.unwrap_or(Command::Serve(cli.serve));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("pitboss: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pitboss: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::serve(args.config()?).await?,
        Command::Sandbox(args) => studio(args).await?,
        Command::Verify { store, json } => {
            let (config, folder) = store.open()?;
            let verdict = verify::verify(&folder, &config).await?;
            if json {
                println!("{}", serde_json::to_string(&verdict)?)
            } else {
                verdict.print()
            }
            return Ok(if verdict.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Ledger(LedgerCommand::Export(store)) => {
            let (config, folder) = store.open()?;
            let ledger = stores::ledger(&folder, &config).await?;
            export::export(&ledger, std::io::stdout().lock()).await?;
            ledger.close().await;
        }
        Command::Config(ConfigCommand::Check { config }) => print!("{}", config::check(config.as_deref())?),
        Command::Contracts(ContractsCommand::Export { dir }) => {
            for path in contracts::export(&dir).with_context(|| format!("cannot write to {}", dir.display()))? {
                println!("{}", path.display());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl ServeArgs {
    fn config(self) -> anyhow::Result<Config> {
        let mut overrides = Vec::new();
        overrides.extend(self.data.map(|dir| ("data.dir", dir.display().to_string())));
        overrides.extend(self.listen.map(|listen| ("listen.public", listen.to_string())));
        overrides.extend(self.no_demo.then(|| ("demo.enabled", "false".to_owned())));
        Ok(Config::load(self.config.as_deref(), overrides)?)
    }
}

impl StoreArgs {
    fn open(self) -> anyhow::Result<(Config, Folder)> {
        let overrides = self.data.map(|dir| ("data.dir", dir.display().to_string())).into_iter().collect();
        let config = Config::load(self.config.as_deref(), overrides)?;
        let folder = Folder(config.data.dir.clone());
        anyhow::ensure!(folder.0.is_dir(), "there is no data folder {}", folder.0.display());
        Ok((config, folder))
    }
}

/// Runs the studio until it is told to stop; its first line of output is its address.
async fn studio(args: SandboxArgs) -> anyhow::Result<()> {
    let secret = std::env::var(child::SECRET_ENV).with_context(|| format!("{} must hold the signing secret", child::SECRET_ENV))?;
    let config = sandbox::studio::StudioConfig {
        listen: args.listen,
        casino_url: args.casino,
        provider: args.provider,
        key_id: args.key_id,
        secret: hex::decode(secret.trim()).with_context(|| format!("{} is hex", child::SECRET_ENV))?,
        data_dir: args.data,
        timing: sandbox::studio::Timing::default(),
    };
    let studio = sandbox::studio::Studio::bind(config).await?;
    println!("{}", studio.local_addr()?);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    Ok(studio.serve(stopped).await?)
}
