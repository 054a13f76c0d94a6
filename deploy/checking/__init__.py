"""What `deploy/check` and `deploy/podman.py` are made of; no part of the product."""
