"""What logproc answers over HTTP."""
