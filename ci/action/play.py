#!/usr/bin/env python3
"""Plays a composite action as a runner does, without one: ci/action/try.sh tries ours with it.

    play.py FOLDER --into FOLDER [--workspace FOLDER] [--job NAME] [--with INPUT=VALUE]...

FOLDER holds action.yml. What is uploaded ends up below artifacts/, what is for the page of the job in summary.md, and
outputs in outputs.json. Ends with the status of the step that failed, and with 64 at what it does not know: an
expression, an input, a key, an action. Played are run with bash, if, id, env, and of actions that upload only. SIGINT
cancels the job: the step is told at once, asked to end 7.5 s later, and killed another 2.5 s later; what asks for
always() is played all the same."""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import yaml

LONGEST_SUMMARY = 1024 * 1024


class Unknown(Exception):
    pass


class Expression:
    """An expression of a workflow: literals, contexts, !, ==, !=, &&, ||, parentheses and the functions of status."""

    TOKEN = re.compile(r"\s*('(?:[^']|'')*'|[A-Za-z_][\w.-]*|&&|\|\||==|!=|[!()])")

    def __init__(self, text, contexts, functions):
        self.text, self.contexts, self.functions = text, contexts, functions
        self.tokens, at = [], 0
        while text[at:].strip():
            token = self.TOKEN.match(text, at)
            if not token:
                raise Unknown(f"expression {text!r}: found {text[at:].strip()!r}, which is not known here")
            self.tokens.append(token[1])
            at = token.end()
        self.asks_for_status = any(name in self.tokens for name in functions)

    def value(self):
        value = self.alternative()
        if self.tokens:
            raise Unknown(f"expression {self.text!r}: found {self.tokens[0]!r}, expected its end")
        return value

    def next_is(self, *words):
        return bool(self.tokens) and self.tokens[0] in words

    def alternative(self):
        value = self.both()
        while self.next_is("||"):
            self.tokens.pop(0)
            other = self.both()
            value = value or other
        return value

    def both(self):
        value = self.equality()
        while self.next_is("&&"):
            self.tokens.pop(0)
            other = self.equality()
            value = value and other
        return value

    def equality(self):
        value = self.one()
        while self.next_is("==", "!="):
            is_wanted = self.tokens.pop(0) == "=="
            # Upper and lower case are the same to a runner.
            value = (str(value).lower() == str(self.one()).lower()) == is_wanted
        return value

    def one(self):
        if not self.tokens:
            raise Unknown(f"expression {self.text!r}: found its end, expected a value")
        token = self.tokens.pop(0)
        if token == "!":
            return not self.one()
        if token == "(":
            value = self.alternative()
            self.expect(")")
            return value
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token in self.functions:
            self.expect("(")
            self.expect(")")
            return self.functions[token]()
        return self.looked_up(token)

    def expect(self, word):
        if not self.next_is(word):
            raise Unknown(f"expression {self.text!r}: expected {word!r}")
        self.tokens.pop(0)

    def looked_up(self, path):
        value = self.contexts
        for part in path.split("."):
            # A step that was not played has no outputs; one that is not there is a mistake.
            if isinstance(value, Outputs):
                return value.get(part, "")
            if not isinstance(value, dict) or part not in value:
                raise Unknown(f"expression {self.text!r}: found {path}, which is not known here")
            value = value[part]
        return value


class Outputs(dict):
    """The outputs of a step; one that was not set is empty."""


class Player:
    def __init__(self, folder, into, workspace, job, given):
        self.into, self.workspace = into, workspace
        text = (folder / "action.yml").read_text()
        self.action = yaml.safe_load(text)
        known_only(self.action, "action.yml", {"name", "description", "inputs", "outputs", "runs"})
        runs = self.action["runs"]
        known_only(runs, "runs", {"using", "steps"})
        if runs["using"] != "composite":
            raise Unknown(f"found using: {runs['using']}, expected composite")
        inputs = self.action.get("inputs", {})
        known_only(given, "--with", set(inputs))
        values = {}
        for name, described in inputs.items():
            known_only(described, f"input {name}", {"description", "required", "default"})
            if described.get("required") and name not in given:
                raise Unknown(f"input {name} is required and not given")
            values[name] = given.get(name, str(described.get("default", "")))
        self.steps = runs["steps"]
        self.contexts = {
            "inputs": values,
            "github": {"action_path": str(folder), "job": job, "workspace": str(workspace)},
            "steps": {step["id"]: {"outputs": Outputs()} for step in self.steps if "id" in step},
        }
        self.failed_with = 0
        self.running = None
        self.is_cancelled = False

    def play(self):
        for step in self.steps:
            known_only(step, f"step {step.get('name')}", {"name", "id", "if", "shell", "env", "run", "uses", "with"})
            name = step.get("name") or step.get("uses") or step["run"]
            if not self.is_due(step):
                print(f"-- {name}: skipped", flush=True)
                continue
            print(f"-- {name}", flush=True)
            status = self.uploaded(step) if "uses" in step else self.ran(step)
            if status and not self.failed_with:
                print(f"-- {name}: ended with {status}", flush=True)
                self.failed_with = status
        outputs = {name: self.filled(o["value"]) for name, o in self.action.get("outputs", {}).items()}
        (self.into / "outputs.json").write_text(json.dumps(outputs))
        return self.failed_with or (130 if self.is_cancelled else 0)

    def is_due(self, step):
        text = str(step.get("if", "success()")).strip()
        if text.startswith("${{") and text.endswith("}}"):
            text = text[3:-2]
        expression = self.expression(text)
        is_well = not self.failed_with and not self.is_cancelled
        asks = expression.asks_for_status
        return bool(expression.value()) and (asks or is_well)

    def expression(self, text):
        functions = {
            "always": lambda: True,
            "cancelled": lambda: self.is_cancelled,
            "failure": lambda: bool(self.failed_with),
            "success": lambda: not self.failed_with and not self.is_cancelled,
        }
        return Expression(text, self.contexts, functions)

    def filled(self, text):
        def one(found):
            value = self.expression(found[1]).value()
            return str(value).lower() if isinstance(value, bool) else str(value)

        return re.sub(r"\$\{\{(.*?)\}\}", one, str(text))

    def ran(self, step):
        if step.get("shell") != "bash":
            raise Unknown(f"step {step.get('name')}: found shell: {step.get('shell')}, expected bash")
        with tempfile.TemporaryDirectory() as scratch:
            files = {name: pathlib.Path(scratch, name) for name in ["script.sh", "output", "summary", "env", "path"]}
            for file in files.values():
                file.touch()
            files["script.sh"].write_text(self.filled(step["run"]))
            environment = dict(
                os.environ,
                CI="true",
                GITHUB_ACTIONS="true",
                GITHUB_ACTION_PATH=self.contexts["github"]["action_path"],
                GITHUB_ENV=str(files["env"]),
                GITHUB_JOB=self.contexts["github"]["job"],
                GITHUB_OUTPUT=str(files["output"]),
                GITHUB_PATH=str(files["path"]),
                GITHUB_STEP_SUMMARY=str(files["summary"]),
                GITHUB_WORKSPACE=str(self.workspace),
            )
            environment.update({name: self.filled(value) for name, value in step.get("env", {}).items()})
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(files["script.sh"])]
            self.running = subprocess.Popen(
                command, cwd=self.workspace, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
            )
            status = self.waited_for()
            if files["env"].stat().st_size or files["path"].stat().st_size:
                raise Unknown("found something in GITHUB_ENV or GITHUB_PATH, which are not played")
            outputs = outputs_in(files["output"].read_text())
            if "id" in step:
                self.contexts["steps"][step["id"]]["outputs"].update(outputs)
            summary = files["summary"].read_bytes()
            if len(summary) > LONGEST_SUMMARY:
                print(f"::error::the summary has {len(summary)} octets, expected at most {LONGEST_SUMMARY}")
            else:
                with open(self.into / "summary.md", "ab") as page:
                    page.write(summary)
            # A runner counts on a signal as on any failure.
            return status if status >= 0 else 128 - status

    def waited_for(self):
        while not self.is_cancelled:
            try:
                return self.running.wait(0.1)
            except subprocess.TimeoutExpired:
                pass
        for told, patience in [(signal.SIGINT, 7.5), (signal.SIGTERM, 2.5)]:
            self.running.send_signal(told)
            try:
                return self.running.wait(patience)
            except subprocess.TimeoutExpired:
                print(f"-- the step did not end at {told.name}", flush=True)
        os.killpg(self.running.pid, signal.SIGKILL)
        return self.running.wait()

    def cancel(self, *_):
        self.is_cancelled = True

    def uploaded(self, step):
        if not step["uses"].startswith("actions/upload-artifact@"):
            raise Unknown(f"found uses: {step['uses']}, expected actions/upload-artifact")
        given = {name: self.filled(value) for name, value in step.get("with", {}).items()}
        known_only(given, step["uses"], {"name", "path"})
        if not given.get("path"):
            print("::error::Input required and not supplied: path")
            return 1
        target = self.into / "artifacts" / given["name"]
        if re.search(r'["<>|*?\r\n:\\/]', given["name"]) or target.exists():
            print(f"::error::the artifact name {given['name']!r} is not valid, or there is one of this name")
            return 1
        source = self.workspace / given["path"]
        # Nothing to upload is a warning there; here nobody would see it.
        if not source.is_dir() or not any(source.iterdir()):
            print(f"::error::No files were found with the provided path: {given['path']}")
            return 1
        shutil.copytree(source, target)
        return 0


def outputs_in(text):
    outputs, lines = {}, iter(text.splitlines())
    for line in lines:
        equals, heredoc = line.find("="), line.find("<<")
        if heredoc >= 0 and (equals < 0 or heredoc < equals):
            name, end = line.split("<<", 1)
            value = []
            for inner in lines:
                if inner == end:
                    break
                value.append(inner)
            else:
                raise Unknown(f"output {name}: found no line {end}")
            outputs[name] = "\n".join(value)
        elif equals > 0:
            outputs[line[:equals]] = line[equals + 1 :]
        elif line:
            raise Unknown(f"outputs: found {line!r}, expected name=value")
    return outputs


def known_only(table, where, known):
    for key in table:
        if key not in known:
            raise Unknown(f"{where}: found {key}, expected one of {', '.join(sorted(known))}")


def main():
    usage = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usage.add_argument("folder", type=pathlib.Path)
    usage.add_argument("--into", type=pathlib.Path, required=True)
    usage.add_argument("--workspace", type=pathlib.Path, default=pathlib.Path.cwd())
    usage.add_argument("--job", default="conformance")
    usage.add_argument("--with", dest="given", action="append", default=[], metavar="INPUT=VALUE")
    told = usage.parse_args()
    given = dict(one.split("=", 1) for one in told.given)
    told.into.mkdir(parents=True, exist_ok=True)
    try:
        player = Player(told.folder.resolve(), told.into.resolve(), told.workspace.resolve(), told.job, given)
        signal.signal(signal.SIGINT, player.cancel)
        return player.play()
    except Unknown as why:
        print(f"play.py: {why}", file=sys.stderr)
        return 64


sys.exit(main())
