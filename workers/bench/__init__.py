"""The benchmarks that `errandry bench` measures on the machine of whoever wants to know."""
