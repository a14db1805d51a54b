"""Debian's Chromium without a screen, driven by its DevTools protocol."""

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import time

import aiohttp

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]


class Tab:
    """One tab; notes every address that it asks for."""

    def __init__(self, socket):
        self.socket, self.number, self.requests, self.problems = socket, 0, [], []

    async def call(self, method, **parameters):
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": parameters})
        while True:
            message = json.loads((await self.socket.receive()).data)
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            if message.get("method") == "Runtime.exceptionThrown":
                self.problems.append(message["params"]["exceptionDetails"])
            if message.get("id") == self.number:
                return message["result"]

    async def value(self, script):
        """What a script's last expression, or the promise of it, is."""
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script, seconds=60):
        """Wait until a script says something that is true, and return it."""
        end = time.monotonic() + seconds
        while not (found := await self.value(script)):
            assert time.monotonic() < end, f"{script}: not within {seconds} s"
            await asyncio.sleep(0.1)
        return found

    async def screenshot(self):
        """The tab as a PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", captureBeyondViewport=True))["data"])


@contextlib.asynccontextmanager
async def tab(address, folder, width=1100, height=900):
    """Open an address in a new browser, whose files lie in ``folder``."""
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"],
        stderr=subprocess.DEVNULL,
    )
    try:
        port = folder / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not (port.is_file() and port.read_text().count("\n")):
            assert time.monotonic() < end, "Chromium did not start"
            await asyncio.sleep(0.05)
        host = f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{host}/json") as answer:
                (target,) = [t for t in await answer.json(content_type=None) if t["type"] == "page"]
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                found = Tab(socket)
                for domain in ("Network", "Runtime", "Page"):
                    await found.call(f"{domain}.enable")
                await found.call("Page.navigate", url=address)
                yield found
    finally:
        process.terminate()
        process.wait()
