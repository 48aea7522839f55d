"""The `trtnet` command."""
