"""The way out of a sandbox whose network is an allowlist: a proxy outside that no tool can talk past."""
