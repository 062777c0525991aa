"""`python -m locara_label`: the command, where its script is not on the path."""

from locara_label.cli import main

main()
