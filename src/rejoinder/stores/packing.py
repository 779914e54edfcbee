"""Events made small for the years: deflated, with a dictionary of what most of them say anyway.

A draft's data is one JSON object and so begins with `{`; what is packed begins with the number of its dictionary. A
dictionary never changes, since files are full of what was packed with it: a better one gets a number of its own.
"""

import zlib

SMALL = 64
"""Bytes below which nothing is won."""

_FIRST = b"\x01"

_DICTIONARY = (
    b'"model":["{"session":{"id":"ses_","title":null,"system_prompt":null,"params":{},"metadata":{},"head":"msg_","last_seq":0}'
    b',"request_hash":"","part":"content","reasoning","offset":,"text":""}{"message_id":"msg_","reason":"'
    b'"error":{"code":"server_restarted","message":"The server was stopped while it wrote this reply."}'
    b'"status":"interrupted""status":"failed""status":"stopped""role":"tool","tool_calls":[{"id":"call_","type":"function",'
    b'"function":{"name":"","arguments":"{\\"content":[{"type":"text","text":"{"type":"image_url","image_url":{"url":"data:image/'
    b'{"message_id":"msg_","attempt":1,"model":"openai:","upstream_model":"","system_prompt":null,"prefill":"","params":{},'
    b'"sha256":""}"models":["openai:"],"params":{"temperature":'
    b"the and that with for you this have not are from can your will is in of to a it be on as or "
    b'{"message":{"id":"msg_","session_id":"ses_","parent_id":null,"parent_id":"msg_","role":"user","content":"'
    b'","reasoning":"","tool_calls":[],"tool_call_id":null,"status":"completed","model":null,"finish_reason":null,"usage":null,'
    b'"error":null,"attempts":[],"continues":null,"siblings":[],"metadata":{},"created_at":"2026-","ended_at":"2026-'
    b'"},"request_hash":"{"message":{"id":"msg_","session_id":"ses_","parent_id":"msg_","role":"assistant","content":"","reasoning":"",'
    b'"tool_calls":[],"tool_call_id":null,"status":"streaming","model":null,"finish_reason":null,"usage":null,"error":null,'
    b'"attempts":[],"continues":null,"siblings":[],"metadata":{},"created_at":"2026-","ended_at":null},"models":["'
    b'","reasoning":"","tool_calls":[],"tool_call_id":null,"status":"completed","model":"openai:","finish_reason":"stop","usage":'
    b'{"input_tokens":,"output_tokens":,"source":"provider"},"error":null,"attempts":[{"model":"openai:","error":null}],'
    b'"continues":null,"siblings":[],"metadata":{},"created_at":"2026-","ended_at":"2026-"}}'
)


def packed(data: bytes) -> bytes:
    """As small as it gets; as it is where that is smaller, or where it has been packed."""
    if len(data) < SMALL or is_packed(data):
        return data
    packer = zlib.compressobj(level=6, wbits=-15, zdict=_DICTIONARY)
    small = _FIRST + packer.compress(data) + packer.flush()
    return small if len(small) < len(data) else data


def unpacked(data: bytes) -> bytes:
    if not is_packed(data):
        return data
    return zlib.decompressobj(wbits=-15, zdict=_DICTIONARY).decompress(data[1:])


def is_packed(data: bytes) -> bool:
    return data.startswith(_FIRST)
