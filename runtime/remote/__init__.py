"""A model in a server, behind the same face as a file."""
