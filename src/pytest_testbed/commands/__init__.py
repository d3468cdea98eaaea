"""The command line: `ps`, `stop`, `prune`, `doctor` and `init`. No host process loads any of this."""
