"""The agents and tools that the benchmarks run."""
