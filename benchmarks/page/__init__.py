"""Records as one HTML page: no script, no network, every string from a record escaped."""
