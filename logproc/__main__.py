"""`python -m logproc`."""

from logproc.cli import main

if __name__ == "__main__":
    main()
