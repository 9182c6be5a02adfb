"""A trace, and the fields of the log, over the real processes of `offhook run`."""

import json
from pathlib import Path
from typing import Any

from testing.commands import Process, until
from testing.roles import in_thread, listening, site

# Each process tells its spans to a file of its own.
BOT = """
import logging, os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from offhook import Message, Offhook, RetryLater
from offhook.observe.opentelemetry import OpenTelemetryObserver

spans = Path(f"spans-{os.getpid()}.jsonl").open("a", buffering=1)
exporter = ConsoleSpanExporter(out=spans, formatter=lambda span: span.to_json(indent=None) + "\\n")
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

app = Offhook(observers=[OpenTelemetryObserver()])

@app.message()
def answer(message: Message) -> str:
    with trace.get_tracer("bot").start_as_current_span("think"):
        logging.getLogger("bot").info("thinking")
    if message.attempt == 1:
        raise RetryLater(0.01)
    return "done"
"""

WANTED = ["handle message", "handle message", "receive message", "send", "think", "think"]


async def test_one_trace_leads_from_the_webhook_through_the_attempts_to_the_reply(
    tmp_path: Path,
) -> None:
    async with site(tmp_path, BOT, OFFHOOK_ADMIN_BIND="127.0.0.1:0") as here:
        with here.run("one") as machine:
            await listening(machine)
            sid = (await here.simulator.text("a secret")).sid
            told = tmp_path / "one"
            await in_thread(lambda: until(lambda: len(spans(told, sid)) >= len(WANTED)))

            found = spans(told, sid)
            assert sorted(span["name"] for span in found) == WANTED
            assert len({span["file"] for span in found}) == 2, "two processes have told it"
            (admin,) = machine.children("process.admin_main")
            assert not (told / f"spans-{admin}.jsonl").exists(), "it has no use for the bot"
            runs = {s["context"]["span_id"] for s in found if s["name"] == "handle message"}
            assert {s["parent_id"] for s in found if s["name"] == "think"} == runs
            assert "a secret" not in json.dumps(found)

            thoughts = [line for line in lines(machine) if line["logger"] == "bot"]
            assert [(line["sid"], line["attempt"]) for line in thoughts] == [(sid, 1), (sid, 2)]


def spans(directory: Path, sid: str) -> list[dict[str, Any]]:
    """Return the spans of a message's trace, and which process has told each."""
    found = [
        {**json.loads(line), "file": file.name}
        for file in directory.glob("spans-*.jsonl")
        for line in file.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]
    return [span for span in found if span["context"]["trace_id"] == f"0x{sid[2:]}"]


def lines(process: Process) -> list[dict[str, Any]]:
    whole, _, _ = process.output.rpartition("\n")  # it may be writing the last line
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
