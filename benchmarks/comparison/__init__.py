"""Two records of benchmarks: what became slower, faster, or stayed the same."""
