"""The processes: agent workers, tool workers with their sandbox, the command line; nobody imports them."""
