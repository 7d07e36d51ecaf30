"""Imports: rows gathered into chunks, staged, sifted, written and remembered. `importer.py` says how they are used."""
