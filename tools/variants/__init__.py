"""Every network in every precision, exported, built, verified: the record of docs/variants.md."""
