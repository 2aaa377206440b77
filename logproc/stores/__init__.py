"""Records → searchable documents, and the stores that keep them."""
