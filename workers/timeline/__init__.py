"""The timeline of a run: what its events tell of model turns, tool calls, attempts and pauses. Pure: reads nothing."""
