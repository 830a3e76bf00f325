"""What a worker process owns, without Beam: connectors, secrets, HTTP, hold, receipts, ledger."""
