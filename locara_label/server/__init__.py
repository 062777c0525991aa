"""The server that Label Studio and own clients ask; the home of Starlette, uvicorn and the Prometheus client."""
