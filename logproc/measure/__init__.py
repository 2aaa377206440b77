"""Columns → counters and histograms, committed with the cursor, published after the commit."""
