"""Records the golden values again: `python -m tests.golden.regenerate`."""

import json

from tests.golden.cases import CASES, FILE, compute


def main() -> None:
    lines = [f"{json.dumps(name)}: {json.dumps(compute(name))}" for name in CASES]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
