"""How good the alerts are: simulated services with known incidents, our detectors and simple ones."""
