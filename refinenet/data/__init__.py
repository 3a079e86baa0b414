"""Labelled images: official layouts, descriptions, checks, and what training makes of them."""
