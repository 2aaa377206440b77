"""Growing files → blocks of whole lines: discover, identify, read, resume."""
