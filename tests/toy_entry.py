"""Stands in for an entry point where sweeps are tested: it counts, as a run trains. Ends as one does: cli.run(main)."""

import json
import signal
import sys
import time
from pathlib import Path

SETTINGS = {"train.updates": 5, "seed": 0, "rate": 0.5, "hidden": "(8,8)", "fails_at": -1, "pause": 0.0}


def read(arguments):
    settings = dict(SETTINGS)
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if name in ("config", "workdir", "note", "init_from"):
            continue
        if name.removeprefix("config.") not in SETTINGS:
            raise ValueError(f"flag --{name} is not known")
        settings[name.removeprefix("config.")] = type(SETTINGS[name.removeprefix("config.")])(value)
    return settings


def check_each():
    for line in sys.stdin:
        try:
            print(json.dumps({"config": read(json.loads(line))}))
        except ValueError as error:
            print(json.dumps({"refused": str(error)}))


def main():
    settings = read(sys.argv[1:])
    folder = Path(next(argument for argument in sys.argv if argument.startswith("--workdir=")).partition("=")[2])
    heard = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *told: heard.append(told[0]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").unlink(missing_ok=True)
    given = [word.partition("=")[2] for word in sys.argv if word.startswith("--init_from=")]
    begun = {"init_from": given[0]} if given else {}
    (folder / "config.json").write_text(
        json.dumps({"entry": "toy", "config": settings | begun, "starts": [{"command": sys.argv}]})  # as cli.open_run
    )
    record = folder / "metrics.jsonl"
    done = len(record.read_text().splitlines()) if record.exists() else 0
    while done < settings["train.updates"]:
        if heard:
            print(f"stopped at update {done}")
            sys.exit(0 if heard[0] == signal.SIGTERM else 130)
        if done == settings["fails_at"]:
            print("bad numbers at update", done)
            sys.exit(1)
        time.sleep(settings["pause"])
        done += 1
        with record.open("a") as lines:
            lines.write(json.dumps({"step": done}) + "\n")
    (folder / "summary.json").write_text(json.dumps({"train_steps": done}))


if __name__ == "__main__":
    check_each() if "--check_each" in sys.argv else main()
