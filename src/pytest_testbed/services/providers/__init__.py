"""The three ways to get a service: a container, local binaries, a server somebody named."""
