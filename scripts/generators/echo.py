#!/usr/bin/env python3
"""The smallest generator: one result a message, and a checkpoint that counts them.

docs/generator-protocol.md describes the lines. What a generator must remember from one message to
the next belongs into the checkpoint, which is stored with the result or not at all.
"""
import json, sys

def say(**line): print(json.dumps(line), flush=True)

for line in sys.stdin.buffer:
    heard = json.loads(line)
    if heard["type"] == "open":
        checkpoint = heard.get("checkpoint")  # or another generator's
        count = checkpoint["echoed"] if type(checkpoint) is dict and "echoed" in checkpoint else 0
        say(type="ready", name="echo")
    elif heard["type"] == "message":
        count, excerpt = count + 1, json.dumps(heard["payload"])[:200]
        result = {"kind": "echo", "title": heard["kind"], "body": excerpt}
        say(type="result", ids=[heard["id"]], results=[result], checkpoint={"echoed": count})
    elif heard["type"] == "close":
        break
