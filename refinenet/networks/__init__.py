"""The networks; each constructor is the architecture."""
