"""The Python client: it sends messages and reads their replies, and does not lose one.

Three rules make that true, and a client in any language does well to keep them. Choose the id of a message
yourself: then a send whose answer was lost is simply sent again, and attaches to its first turn. Keep the seq of the
last event that you have handled, and come back with it. Take a reply for whole only when `message.ended` has told so.

    async with Client("http://127.0.0.1:8000") as client:
        session = await client.create_session()
        async for received in client.send(session.id, "Tell me a story."):
            match received.fact:
                case MessageDelta(part="content", text=text):
                    print(text, end="", flush=True)
                case MessageReset():
                    print("\\n(that broke off; a new attempt begins)")

Lost lines, restarts of the server and answers that say "later" are waited out in here; the code above sees none of
them. What the server refuses is raised as the error of `rejoinder.errors` that has its code.
"""

from rejoinder.client.answers import UnexpectedAnswer
from rejoinder.client.client import Client, new_id
from rejoinder.client.overview import Told
from rejoinder.client.reading import ConnectionLost, Received
from rejoinder.client.shapes import MessageFields, Model, SessionFields, ToolResult, Turn

__all__ = [
    "Client",
    "ConnectionLost",
    "MessageFields",
    "Model",
    "Received",
    "SessionFields",
    "Told",
    "ToolResult",
    "Turn",
    "UnexpectedAnswer",
    "new_id",
]
