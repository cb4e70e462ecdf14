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
        count = (heard.get("checkpoint") or {"count": 0})["count"]
        say(type="ready", name="echo")
    elif heard["type"] == "message":
        count, excerpt = count + 1, json.dumps(heard["payload"])[:200]
        result = {"kind": "echo", "title": heard["kind"], "body": excerpt}
        say(type="result", ids=[heard["id"]], results=[result], checkpoint={"count": count})
    elif heard["type"] == "close":
        break
