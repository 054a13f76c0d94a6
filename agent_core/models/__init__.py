"""Models: what replies to the messages of a run."""
