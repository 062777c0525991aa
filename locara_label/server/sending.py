"""Videos that come as the body of a request: piece by piece into a private file, never all of one in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from anyio import CapacityLimiter, fail_after, to_thread
from starlette.requests import Request

from locara_label.engine.video_files import Coming, VideoFile, VideoFiles
from locara_label.errors import BadRequest
from locara_label.server.places import BODY_S

_AT_ONCE = 1 << 20
"""Bytes that are written together; they come in pieces of some 64 kB."""


async def received(request: Request, files: VideoFiles, total_s: float, threads: CapacityLimiter) -> VideoFile:
    """All of a request's body as a file; free it.

    Args:
        request: of which nothing was read yet.
        files: which bound it.
        total_s: that all of it may take; no piece may take more than `BODY_S`.
        threads: that may write.

    Raises:
        BadRequest: request.slow; request.too_large, see `Guards`.
        BadVideo, QueueFull, FetchFailed, MissingRuntime: see `VideoFiles.begin` and `Coming`.
        ClientDisconnect: the client left.
    """
    coming = await to_thread.run_sync(files.begin, limiter=threads)
    try:
        try:
            with fail_after(total_s):
                await _write(request, coming, threads)
        except TimeoutError:
            raise BadRequest(f"the video did not arrive within {total_s:g} s", code="request.slow") from None
        return await to_thread.run_sync(coming.end, limiter=threads)
    except BaseException:
        coming.drop()
        raise


async def _write(request: Request, coming: Coming, threads: CapacityLimiter) -> None:
    waiting = bytearray()
    async with aclosing(_pieces(request)) as pieces:
        async for piece in pieces:
            waiting += piece
            if len(waiting) >= _AT_ONCE:
                await to_thread.run_sync(coming.write, bytes(waiting), limiter=threads)
                waiting.clear()
    if waiting:
        await to_thread.run_sync(coming.write, bytes(waiting), limiter=threads)


async def _pieces(request: Request) -> AsyncGenerator[bytes, None]:
    stream = aiter(request.stream())
    while True:
        try:
            with fail_after(BODY_S):
                piece = await anext(stream, None)
        except TimeoutError:
            raise BadRequest(f"no more of the body came within {BODY_S} s", code="request.slow") from None
        if piece is None:
            return
        yield piece
