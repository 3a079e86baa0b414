"""What a training keeps: its state, its run folder, and what it says of itself."""
