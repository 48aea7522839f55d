"""`python -m trtnet` is the `trtnet` command."""

from .cli.commands import main

main()
