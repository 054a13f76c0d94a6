"""A small OpenAI-compatible model server for demos and tests: scripted answers, faults on request, or a local model."""
