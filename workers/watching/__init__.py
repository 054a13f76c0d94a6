"""What Flower shows of runs and calls, keeps of their history, and lets people do."""
