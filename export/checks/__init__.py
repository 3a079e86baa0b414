"""What an export checks of the network before and after the graph is made."""
