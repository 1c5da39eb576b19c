"""The command `adaptertune`, also as `python -m adaptertune`."""

from tuning.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
