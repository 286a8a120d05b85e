"""Small helpers that know nothing of ViTs: tables of text, the parser of command lines, and checks of options."""
