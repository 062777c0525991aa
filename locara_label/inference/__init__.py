"""Sessions in a process of their own: native code that crashes takes no server with it."""
