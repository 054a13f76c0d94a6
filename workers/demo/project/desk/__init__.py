"""The demo's agent and its tools."""
