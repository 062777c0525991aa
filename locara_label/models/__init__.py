"""One file for each model family. Arrays in, values out: no paths, no settings, no network."""
