"""Run the command line by ``python -m labelreg``, if the command ``labelreg`` is not installed."""

from labelreg.cli import main

if __name__ == "__main__":
    main()
