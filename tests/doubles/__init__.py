"""Doubles of the vendors' services: small servers on this machine that speak the vendor's exact protocol.

Each is named a double. What they answer is what is known of the vendor from docs, threads and probes.
"""
