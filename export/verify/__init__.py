"""Every stage compared with the one before it; verify.py puts it together."""
