#!/usr/bin/env python3
"""Runs the cases of a folder of tests: run.py SUITE [OPTION…] [CASE…]

Each runs in a process of its own and for a limited time, with one line for the reader when it has ended, and a last line that
counts them: passed, failed, and skipped because something is missing here. Nobody has to be told of a case:

    def case_name(scene):              in a file of Python, which gets a scene (see fixture/scene.py)
        \"\"\"what it proves\"\"\"

    case_name() { # what it proves     in a file of shell; the suite's run.sh --case NAME runs it

One of them works at a time. Beside it run those that would leave the machine idle, or do not care how fast it is:

    @waits                             above the def: it waits most of the time, and measures nothing
    @spins                             the same while something of it keeps a processor busy

What is nearly written so is an error. A case fails with the first thing that fails, and is skipped by `raise Skipped("why")`, or by
ending with status 77. Its output is in target/SUITE/NAME.log, and is shown when it fails; what it has made below target/SUITE/NAME
stays then.

    --help, --list        the cases of the suite
    --limit SECONDS       that a case may take (600)
    --one-by-one          nothing runs beside anything
    --namespace           each case has a mount namespace of its own
    --backend NAME        who serves: stellwerk, or for comparison qsd or ccw; see fixture/backends.py
"""
import argparse
import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

sys.dont_write_bytecode = True
from fixture.backends import BACKENDS
from fixture.common import TARGET, Skipped

SKIPPED = 77
PREFIX = "case_"
TO_END = 60  # seconds that a case has to end what it has started
# What a case does most of the time, and how many of these run at once.
WORKS, AT_ONCE = "works", {"works": 1, "waits": 3, "spins": 1}


class Case(NamedTuple):
    """A case, and where it is."""
    name: str
    what: str
    file: Path
    does: str = WORKS


# ---- finding them -------------------------------------------------------------------------------------------------

def cases(folder):
    """Those of all files of a folder, in the order of their names; or the end, if one is none that can be run."""
    found = []
    for file in sorted([*folder.glob("*.py"), *folder.glob("*.sh")], key=lambda file: file.name):
        found += {".py": cases_of_python, ".sh": cases_of_shell}[file.suffix](file)
    names = [case.name for case in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        sys.exit(f"run.py: two cases of one name: {', '.join(sorted(twice))}")
    return found


def cases_of_python(file):
    """The functions case_… of a file."""
    tree = ast.parse(file.read_text(), file)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith(PREFIX):
            takes = [argument.arg for argument in node.args.args]
            marks = [ast.unparse(mark) for mark in node.decorator_list]
            if node not in tree.body or takes != ["scene"] or not ast.get_docstring(node) or marks not in ([], ["waits"], ["spins"]):
                sys.exit(f"run.py: {file}:{node.lineno}: not written as def {node.name}(scene): with a docstring, what it proves")
    return [Case(node.name.removeprefix(PREFIX), ast.get_docstring(node), file, *map(ast.unparse, node.decorator_list)) for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name.startswith(PREFIX)]


def cases_of_shell(file):
    """The functions case_… of a file."""
    found = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if re.match(rf" *(function +)?{PREFIX}", line):
            case = re.match(rf"{PREFIX}([a-z0-9_]+)\(\) {{ # (.+)", line)
            if not case:
                sys.exit(f"run.py: {file}:{number}: not written as {PREFIX}NAME() {{ # what it proves: {line}")
            found.append(Case(case[1], case[2], file))
    return found


# ---- running them -------------------------------------------------------------------------------------------------

def run_here(case, directory, kind):
    """One case of Python, in this process: its exit status."""
    # Ended from outside, a case ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.stdout.reconfigure(line_buffering=True)
    function = getattr(import_module(f"{case.file.parent.name}.{case.file.stem}"), PREFIX + case.name)
    shutil.rmtree(directory, ignore_errors=True)
    try:
        with kind(directory) as scene:
            function(scene)
    except Skipped as why:
        print(f"skipped: {why}")
        shutil.rmtree(directory, ignore_errors=True)
        return SKIPPED
    except Exception:  # whatever it is, the case has failed
        traceback.print_exc()
        return 1
    shutil.rmtree(directory, ignore_errors=True)
    return 0


def command_of(case, arguments):
    """What runs a case in a process of its own."""
    if case.file.suffix == ".sh":
        return [str(case.file.parent / "run.sh"), "--case", case.name]
    apart = []
    if arguments.namespace:
        apart = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    backend = ["--backend", arguments.backend] if arguments.backend else []
    return [*apart, sys.executable, __file__, arguments.suite, *backend, "--case", case.name]


class Running:
    """A case in a process of its own, with its output in a file."""

    def __init__(self, case, log, arguments):
        self.case, self.log, self.limit = case, log, arguments.limit
        self.began = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(command_of(case, arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            start_new_session=True)

    def took(self):
        """For so many seconds."""
        return time.monotonic() - self.began

    def status(self):
        """Its exit status, or None while it runs. One that has taken too long is ended."""
        if self.process.poll() is None and self.took() > self.limit:
            end([self.process])
            with self.log.open("ab") as output:
                output.write(f"it has not ended within {self.limit} s\n".encode())
            return 124
        return self.process.returncode


def end(processes):
    """Cases, and what they wait for, end; what they have started is ended by themselves."""
    for number, seconds in ((signal.SIGTERM, TO_END), (signal.SIGKILL, None)):
        left = [process for process in processes if process.poll() is None]
        for process in left:
            for pid in (process.pid, *children(process.pid)):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        deadline = time.monotonic() + TO_END
        for process in left:
            try:
                process.wait(seconds and max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass


def children(pid):
    """The processes that a process has started and not yet seen the end of."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def indented(lines):
    """For the reader, below the case's own line."""
    for line in lines:
        print(f"        {line}")


def next_case(todo, running, arguments):
    """The next one that may start now, taken from those that have to be run; None if it has to wait for others."""
    for case in todo:
        alike = [other for other in running if other.case.does == case.does]
        if len(running) < arguments.most and len(alike) < AT_ONCE[case.does]:
            todo.remove(case)
            return case
    return None


def run_all(todo, arguments, out):
    """Runs all of these, as many at once as may; gives each when it has ended, with its exit status."""
    running = []
    try:
        while todo or running:
            while case := next_case(todo, running, arguments):
                running.append(Running(case, out / f"{case.name}.log", arguments))
            for one in running[:]:
                status = one.status()
                if status is not None:
                    running.remove(one)
                    yield one, status
            time.sleep(0.02)
    finally:
        end([one.process for one in running])


def run(found, asked, arguments, out):
    """All of these, or the ones asked for, with a line for each: whether none has failed."""
    ends = {"ok": [], "FAILED": [], "skipped": []}
    for one, status in run_all([case for case in found if not asked or case.name in asked], arguments, out):
        case = one.case
        verdict = {0: "ok", SKIPPED: "skipped"}.get(status, "FAILED")
        ends[verdict].append(case.name)
        print(f"{verdict:7} {case.name:26} {one.took():5.1f} s  {case.what}")
        said = one.log.read_text(errors="replace").splitlines()
        if verdict == "skipped":
            indented(line for line in said if "skipped: " in line)
        if verdict == "FAILED":
            indented(said[-30:])
    missing = [name for name in asked if name not in {case.name for case in found}] if found else ["at all"]
    for name in missing:
        print(f"run.py: there is no case {name}{'; --help lists those that there are' if found else ''}", file=sys.stderr)
    ends["FAILED"] += missing
    if ends["FAILED"]:
        print(f"failed: {' '.join(ends['FAILED'])} (logs in {out})")
    if ends["skipped"]:
        print(f"skipped: {' '.join(ends['skipped'])}")
    print(f"{len(ends['ok'])} passed, {len(ends['FAILED'])} failed, {len(ends['skipped'])} skipped")
    return not ends["FAILED"]


def main():
    """What the command line says."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("suite")
    parser.add_argument("-h", "--help", "--list", action="store_true")
    parser.add_argument("--limit", type=int, default=600)
    parser.add_argument("--one-by-one", action="store_true")
    parser.add_argument("--namespace", action="store_true")
    parser.add_argument("--backend", choices=BACKENDS)
    parser.add_argument("--case")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    arguments = parser.parse_intermixed_args()
    found = cases(Path(__file__).resolve().parent / arguments.suite)
    if arguments.help:
        for case in found:
            print(f"{case.name:26} {case.what}")
        return 0
    out = TARGET / arguments.suite / (arguments.backend or "")
    if arguments.case:
        (case,) = (case for case in found if case.name == arguments.case)
        return run_here(case, out / case.name, BACKENDS[arguments.backend or "stellwerk"])
    out.mkdir(parents=True, exist_ok=True)
    arguments.most = 1 if arguments.one_by_one or len(os.sched_getaffinity(0)) == 1 else len(found)
    # Ended from outside, the cases that run are ended, too.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    sys.stdout.reconfigure(line_buffering=True)
    return 0 if run(found, [name.replace("-", "_") for name in arguments.cases], arguments, out) else 1


if __name__ == "__main__":
    sys.exit(main())
