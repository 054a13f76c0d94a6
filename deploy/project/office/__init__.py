"""An agent and its tools."""
