"""`python -m trtnet` is the `trtnet` command."""

from .cli import main

main()
