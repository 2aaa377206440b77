"""The proof of exactness: `logproc run` is killed again and again while logs grow and rotate, then all is recounted.

`python -m tests.torture --kills 1000` or `make torture`; docs/exactness.md tells what it shows.
"""
