"""What building an engine is made of; export/to_engine.py puts it together."""
