//! What every handler of the edge works with.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use access::token::TokenKeys;
use actors::{Catalogue, Core, Env};
use metrics_exporter_prometheus::PrometheusHandle;
use protocol::{PlayerId, ProviderId};

use crate::config::{Config, Provider, seed::DemoPlayer};

/// Shared by all listeners.
pub struct Edge {
    pub core: Core,
    pub config: Config,
    pub catalogue: Arc<Catalogue>,
    pub env: Arc<dyn Env>,
    pub tokens: TokenKeys,
    pub providers: HashMap<ProviderId, Provider>,
    /// Who may log in without a password, by key; empty without the demo.
    pub demo: HashMap<String, DemoSeat>,
    pub metrics: PrometheusHandle,
    pub connections: AtomicU64,
    pub connection_ids: AtomicU64,
    /// Set when the server drains: no new connections, not ready.
    pub stopping: AtomicBool,
    pub stop: tokio::sync::watch::Receiver<bool>,
}

/// A demo player with the pseudonym its key stands for.
#[derive(Clone, Debug)]
pub struct DemoSeat {
    pub player: PlayerId,
    pub tenant: protocol::TenantId,
    /// `None` for the load tester's players, who are not listed.
    pub shown: Option<DemoPlayer>,
}

impl Edge {
    pub fn is_ready(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed) && self.core.floor.shared().wallets.are_ready()
    }

    pub fn reply_timeout(&self) -> Duration {
        Duration::from_millis(self.config.actors.reply_timeout_ms)
    }
}
