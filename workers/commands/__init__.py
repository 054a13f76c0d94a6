"""The commands of `errandry`, by what they are about: processes, runs, the people's part of runs, and new projects."""
