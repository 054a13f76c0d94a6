"""What people read of runs: calls, events, lists and trees. Every line goes through `workers.terminal`."""
