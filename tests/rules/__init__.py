"""The rules for Prometheus, and the configurations of Prometheus and Alertmanager."""
