//! Walks the ledger and proves it.
