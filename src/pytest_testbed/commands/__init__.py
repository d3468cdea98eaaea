"""The command line: `ps`, `stop` and `prune`. It reads the ledger; no host process loads any of this."""
