"""The machine under the benchmark: what it is, how busy, how hot, how much memory."""
