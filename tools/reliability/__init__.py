"""The reliability laboratory: commands with broken files, failing writes, kills, dying cameras."""
