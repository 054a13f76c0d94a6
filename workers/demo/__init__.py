"""The demo: a small project of real files, what is asked of it, and what is shown while its runs go on."""
