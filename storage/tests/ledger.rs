//! Both ledgers pass the one suite.

use std::sync::Arc;

use storage::{Ledger, ledger::BoxFuture, ledger_test_suite, memory::MemoryLedger, sqlite::SqliteLedger, testing::Place};
use tempfile::TempDir;

struct OnDisk(TempDir);

impl Place for OnDisk {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Ledger>> {
        Box::pin(async { Arc::new(SqliteLedger::open(self.0.path(), Default::default()).await.unwrap()) as Arc<dyn Ledger> })
    }
}

struct InMemory(MemoryLedger);

impl Place for InMemory {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Ledger>> {
        Box::pin(async { Arc::new(self.0.clone()) as Arc<dyn Ledger> })
    }
}

ledger_test_suite!(sqlite, OnDisk(TempDir::new().unwrap()));
ledger_test_suite!(memory, InMemory(MemoryLedger::new(1)));
ledger_test_suite!(memory_of_four_shards, InMemory(MemoryLedger::new(4)));
