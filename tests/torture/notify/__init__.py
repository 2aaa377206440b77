"""The proof of delivery: `notify` and the relay are killed again and again while alerts come and channels fail.

`python -m tests.torture.notify --rounds 1000`; docs/delivery.md tells what it shows.
"""
