"""What the reference page finds under `utils`: `pprint`, and nothing else."""
