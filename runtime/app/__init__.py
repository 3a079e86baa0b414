"""What a person runs: segment, inspect, doctor, and the images, videos and overlays behind."""
