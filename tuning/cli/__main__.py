"""`python -m tuning.cli`, as the command `adaptertune`."""

from tuning.stop_signals import command_ended_by_signals

if __name__ == "__main__":
    with command_ended_by_signals():
        from tuning.cli.app import main

        main()
