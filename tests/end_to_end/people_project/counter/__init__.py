"""An agent whose tools wait for pools and for people."""
