"""The weightless graphs, made by `tools/build_graphs.py`."""
