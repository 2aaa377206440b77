"""`logproc report`: a range of time against the targets, and thresholds fitted to what was seen."""
