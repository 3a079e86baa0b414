"""How near to the machine's limit a backend comes."""
