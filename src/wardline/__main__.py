"""`python -m wardline` is the command `wardline`."""

from wardline.cli import main

main()
