"""Label Studio and the assist server in one command, with projects to try. Talks to both as any other program does."""
