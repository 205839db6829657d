"""The Model Context Protocol server: registry, wire format, stdio process."""
