"""The thresholds of the settings as Prometheus rules: what is recorded, what alerts, and the trials that prove it."""
