"""What many requests say together: one-second buckets of log time → diagnosed alerts with a life."""
