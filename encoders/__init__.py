"""Encoders: arrows from media into spaces. One module or folder each; a spec's first word is its name."""
