"""`python -m tuning.cli`, as the command `adaptertune`."""

from tuning.cli.app import main

if __name__ == "__main__":
    main()
