"""What every backend costs and what it still sees: measured together, recorded as JSON."""
