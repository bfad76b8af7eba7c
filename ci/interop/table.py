#!/usr/bin/env python3
"""Prints one table of the verdicts of several runs, and says which are not explained.

Usage: table.py RUN-FOLDER…    exit 1 if there is a verdict other than pass, info, unsupported and waived
"""

import json
import sys
from pathlib import Path

EXPLAINED = ("pass", "info", "unsupported", "waived")


def rows(folder):
    """Software, scenario, verdict and why, one for each scenario and verdict; what tests another role is left out."""
    results = json.loads((folder / "results.json").read_text())
    found = {}
    for instance in results["instances"]:
        verdict = instance["outcome"]
        if verdict == "not-applicable":
            continue
        finding = next(iter(instance.get("findings", [])), {})
        broken = finding.get("requirement", "")
        if finding.get("node"):
            broken += f" by {finding['node']}"
        why = {
            "pass": ", ".join(row["id"] for row in instance["requirements"]),
            "unsupported": instance.get("reason", ""),
            "waived": f"{broken}: {instance.get('reason', '')}",
        }.get(verdict, f"{broken}: expected {finding.get('expected')}, found {finding.get('actual')}"
              if finding else instance.get("reason", ""))
        key = (instance["scenario"], verdict, why)
        found.setdefault(key, []).append(instance["options"])
    return results["run"]["sut"]["name"], [(scenario, verdict, why, options)
                                           for (scenario, verdict, why), options in found.items()]


def main():
    counts, unexplained = {}, 0
    for folder in map(Path, sys.argv[1:]):
        name, found = rows(folder)
        print(f"\n{name}")
        if not any(verdict in ("pass", "info", "waived") for _, verdict, _, _ in found):
            print("  nothing was played")
            unexplained += 1
        width = max([len(scenario) for scenario, *_ in found] or [0])
        for scenario, verdict, why, options in found:
            times = f"×{len(options)}" if len(options) > 1 else ""
            print(f"  {scenario:<{width}} {times:>3} {verdict.upper():<12} {why}")
            counts[verdict] = counts.get(verdict, 0) + len(options)
            unexplained += verdict not in EXPLAINED
    print("\n" + " · ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    if unexplained:
        print(f"{unexplained} not explained")
    sys.exit(bool(unexplained))


main()
