"""Live: a gateway that replays files by Databento's protocol, and a client with the books behind it."""
