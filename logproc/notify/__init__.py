"""Alerts → people: one module a channel, what is to be delivered, and the relay."""
