"""What becomes of telemetry events: log lines, metrics, spans. Nothing here ever raises into the work."""
