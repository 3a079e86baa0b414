"""Cameras that speak HTTP and RTSP on this machine, for tests and the reliability laboratory."""
