"""HTTP: the wire contract over the chat service. Everything that knows a status code or a header lives here."""
