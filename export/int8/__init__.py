"""Where INT8 goes, on which ranges, and at what loss."""
