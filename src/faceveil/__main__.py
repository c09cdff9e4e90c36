"""`python -m faceveil` is the command `faceveil`."""

from faceveil.cli import main

if __name__ == "__main__":
    main()
