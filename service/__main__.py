"""The `spatial` command."""

import sys


def main() -> None:
    try:
        from service.cli import spatial
    except ModuleNotFoundError as missing:
        # The distribution without extras is the client: messages and stubs, and none of what the command needs.
        sys.exit(
            f"spatial: {missing.name} is not installed; the command comes with `pip install 'spatial-service[server]'`"
        )
    spatial()


if __name__ == "__main__":
    main()
