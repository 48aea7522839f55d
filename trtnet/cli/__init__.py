"""The `trtnet` command.

`commands.py` has one function for each command, with its help; what a command does is in the file of its name.

Where to add: a command as a function with `@app.command()` in `commands.py`, with an example in its help, and a test
of what it prints in tests/cli/test_commands.py.
"""
