"""`python -m zoneaxis`: the command line where the script is not on the path."""

from zoneaxis.cli import main

main()
