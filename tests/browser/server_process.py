"""The service as a process of its own, which can be killed and started again at the same address."""

import signal
import time
from pathlib import Path
from typing import Any, Self

import httpx

from serving import ServerProcess


class Server:
    def __init__(self, folder: Path) -> None:
        store, models = f"sqlite:///{folder}/chat.db", "scripted:echo,scripted:story"
        self._process = ServerProcess(store, folder / "server.log", lease=2, model=models, title_model="off")

    def __enter__(self) -> Self:
        self.start()
        self.url = self._process.api.url
        self._http = httpx.Client(base_url=self.url, timeout=30)
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()
        self._process.close()

    def start(self) -> None:
        """Returns once the server says where it is: where it was before."""
        self._process.start()

    def kill(self) -> None:
        """As a power cut would: SIGKILL."""
        self._process.signal(signal.SIGKILL)
        self._process.ended()

    def empty(self) -> None:
        """Runs again if it was killed, and holds no session."""
        if not self._process.runs:
            self.start()
        for session in self.get("/v1/sessions?limit=1000")["data"]:
            answer = self._http.delete(f"/v1/sessions/{session['id']}")
            # A page that the test before left may send the deletion that it had kept for an undo just now.
            if answer.status_code != 404:
                answer.raise_for_status()

    def get(self, path: str) -> Any:
        answer = self._http.get(path)
        answer.raise_for_status()
        return answer.json()

    def session(self, *messages: str) -> str:
        """The id of a new session, in which these messages have been answered."""
        answer = self._http.post("/v1/sessions", json={})
        sid: str = answer.json()["id"]
        for content in messages:
            self.say(sid, content)
        return sid

    def say(self, sid: str, content: str) -> Any:
        """Sends a message and waits for the whole reply: `{message, reply}`."""
        answer = self._http.post(
            f"/v1/sessions/{sid}/messages", json={"content": content}, headers={"accept": "application/json"}
        )
        answer.raise_for_status()
        return answer.json()

    def change(self, sid: str, **fields: Any) -> None:
        self._http.patch(f"/v1/sessions/{sid}", json=fields).raise_for_status()

    def delete(self, sid: str) -> None:
        self._http.delete(f"/v1/sessions/{sid}").raise_for_status()

    def wait_until_gone(self, sid: str) -> None:
        deadline = time.monotonic() + 30
        while self._http.get(f"/v1/sessions/{sid}").status_code != 404:
            assert time.monotonic() < deadline, "it was not deleted"
            time.sleep(0.02)

    def start_reply(self, sid: str, content: str) -> None:
        """Sends a message and leaves its reply to be written."""
        self.post(f"/v1/sessions/{sid}/messages", {"content": content}, prefer="respond-async")

    def stop_reply(self, sid: str) -> None:
        """Ends the newest reply."""
        self.post(f"/v1/sessions/{sid}/messages/{self.reply(sid)['id']}/stop", {})

    def post(self, path: str, body: Any, **headers: str) -> Any:
        answer = self._http.post(path, json=body, headers={"accept": "application/json", **headers})
        answer.raise_for_status()
        return answer.json()

    def again(self, sid: str) -> None:
        """Asks for another reply to the last message of a session, and waits for it."""
        asked = self.messages(sid)[-2]["id"]
        answer = self._http.post(f"/v1/sessions/{sid}/messages/{asked}/replies", headers={"accept": "application/json"})
        answer.raise_for_status()

    def messages(self, sid: str) -> list[Any]:
        found: list[Any] = self.get(f"/v1/sessions/{sid}/messages")["data"]
        return found

    def reply(self, sid: str) -> Any:
        """The newest message of a session."""
        return self.messages(sid)[-1]
