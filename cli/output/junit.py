"""A comparison as JUnit XML, which Jenkins, GitLab, Azure and GitHub actions show: a test a metric.

Source: the schema of the Jenkins xUnit plugin, junit-10.xsd.
"""

import re
import xml.etree.ElementTree as ET  # builds only; what is parsed elsewhere is never XML

from telemetry.compare.diff.result import Diff, MetricChange
from telemetry.compare.terms import Verdict
from telemetry.safe_text import clean

CLASS_NAME = "telemetry.diff"
NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def junit_xml(diff: Diff, *, fails: bool) -> str:
    """The document: the deciding metric fails where the command does, no other ever.

    Args:
        diff: The comparison.
        fails: Whether the verdict ends the command with an exit code.
    """
    suite = ET.Element("testsuite", name="telemetry diff")
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(diff).items():
        ET.SubElement(properties, "property", name=name, value=_text(value))
    deciding = diff.metrics[0].name if diff.metrics else "verdict"
    _decide(ET.SubElement(suite, "testcase", _names(deciding)), diff, fails=fails)
    for metric in diff.metrics[1:]:
        _describe(ET.SubElement(suite, "testcase", _names(metric.name)), metric)
    counts = {
        "tests": str(len(suite.findall("testcase"))),
        "failures": str(len(suite.findall("testcase/failure"))),
        "errors": "0",
        "skipped": str(len(suite.findall("testcase/skipped"))),
    }
    suite.attrib.update(counts)
    suites = ET.Element("testsuites", counts)
    suites.append(suite)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, "unicode") + "\n"


def _decide(case: ET.Element, diff: Diff, *, fails: bool) -> None:
    if fails:
        found = ET.SubElement(case, "failure", type=diff.verdict, message=_text(diff.reason))
        found.text = _text(diff.reason)
    elif diff.verdict is Verdict.INCONCLUSIVE:
        ET.SubElement(case, "skipped", message=_text(diff.reason))
    said = [f"{diff.verdict}: {diff.reason}", *diff.warnings]
    said += [f"new finding {found.detector}: {found.message}" for found in diff.new_findings]
    ET.SubElement(case, "system-out").text = "\n".join(map(_text, said))


def _describe(case: ET.Element, metric: MetricChange) -> None:
    if metric.verdict is Verdict.INCONCLUSIVE:
        ET.SubElement(case, "skipped", message=_text(metric.reason))
    ET.SubElement(case, "system-out").text = _text(f"{metric.verdict}: {metric.reason}")


def _properties(diff: Diff) -> dict[str, str]:
    return {
        "verdict": diff.verdict,
        "margin": f"{diff.margin:g}",
        "base": ", ".join(run.run for run in diff.base),
        "candidate": ", ".join(run.run for run in diff.candidate),
        **({"baseline_file": diff.baseline_file} if diff.baseline_file else {}),
    }


def _names(metric: str) -> dict[str, str]:
    return {"classname": CLASS_NAME, "name": _text(metric)}


def _text(text: str) -> str:
    """Text without what XML cannot hold."""
    return NOT_XML.sub("?", clean(text))
