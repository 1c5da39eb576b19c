"""The command `adaptertune`, also as `python -m adaptertune`."""

from tuning.stop_signals import command_ended_by_signals


def main() -> None:
    """Run the command: its entry point."""
    with command_ended_by_signals():
        from tuning.cli.app import main as run

        run()


if __name__ == "__main__":
    main()
