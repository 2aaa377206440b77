"""`logproc demo`: a stand-in for an inference server, a load on it, the real pipeline behind it, and a live view."""
