"""What comparing one stage with another is made of; export/verify.py puts it together."""
