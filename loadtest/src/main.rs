//! Simulates players against a pitboss server on this machine, and reconciles every acknowledged operation with the ledger.
//! Exits 0 only when the money reconciles.

mod args;
mod export;
#[cfg(test)]
mod fake_server;
mod login;
mod orchestrate;
mod pace;
mod players;
mod progress;
mod provider;
mod reconcile;
mod record;
mod report;
mod run;
mod server;
mod stats;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the money reconciles.
fn run(args: args::Args) -> anyhow::Result<bool> {
    args.check()?;
    let json = args.json;
    let runtime = match args.threads {
        1 => Builder::new_current_thread().enable_all().build()?,
        threads => Builder::new_multi_thread().worker_threads(threads.into()).enable_all().build()?,
    };
    // The server is started from this, the main thread: it is tied to the life of the thread that started it.
    let results = runtime.block_on(orchestrate::orchestrate(args))?;
    println!("{}", results.table());
    if json {
        println!("{}", results.to_json());
    }
    Ok(results.reconciled)
}
