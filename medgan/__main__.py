"""The command `medgan`, and `python -m medgan`: nothing is imported before Ctrl-C has somewhere to go."""

import sys


def main() -> None:
    """Run the command line and exit."""
    try:
        from medgan.cli import main as run  # noqa: PLC0415 - takes long enough to be interrupted

        run()
    except KeyboardInterrupt:
        print("medgan: interrupted; what was written is whole.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
