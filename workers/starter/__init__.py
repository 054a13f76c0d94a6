"""The starter: a small project of real files that `errandry init` copies."""
