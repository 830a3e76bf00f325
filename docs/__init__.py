"""Pages for the program's users; those on partners and settings are made by `python -m docs.pages`."""
