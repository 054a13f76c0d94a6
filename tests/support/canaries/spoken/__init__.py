"""A project in which everything that is said holds a canary, which no log may sing."""
