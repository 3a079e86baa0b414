"""How to train: the recipes of the papers, and their options on the command line."""
