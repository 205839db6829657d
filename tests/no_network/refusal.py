"""Refuses network sockets, by an audit hook that nothing in the process can take off again."""

_FAMILIES = (2, 10, 30)  # AF_INET and AF_INET6 of Linux and macOS: `socket` is not loaded for this


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """Raises where a socket of the internet families is made or a name is looked up."""
    made = event == "socket.__new__" and arguments[1] in _FAMILIES
    if made or event in ("socket.getaddrinfo", "socket.gethostbyname"):
        raise RuntimeError(f"this test may not use the network: {event} {arguments[1:]}")
