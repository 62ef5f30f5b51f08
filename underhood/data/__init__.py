"""From files to ``Images``: folders, tables, IDX files and named sets; decoding, cache and split. No torch here."""
