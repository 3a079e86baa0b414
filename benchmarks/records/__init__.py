"""What a record of a benchmark holds, read and written strictly."""
