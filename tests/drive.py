"""A small Google Drive on 127.0.0.1: enough of its public links for the real downloader.

As Drive does for large files, it answers a link with a page and a form to confirm, whose address hands out the file.

    with Drive() as drive:
        drive.files["LINK"] = b"..."
        drive.page = QUOTA  # instead of what is asked for

`drive.log` lists what arrived, as "uc", "download" and "download from 5000".
"""

import re
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from tests.loopback import Loopback, Quiet

CONFIRM = (
    "<html><head><title>Google Drive - Virus scan warning</title></head><body>"
    '<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">'
    '<input type="submit" value="Download anyway"/><input type="hidden" name="id" value="{link}">'
    '<input type="hidden" name="export" value="download"><input type="hidden" name="confirm" value="t">'
    '<input type="hidden" name="uuid" value="11-22"></form></body></html>'
)
QUOTA = (
    200,
    "<html><head><title>Google Drive - Quota exceeded</title></head><body>"
    '<p class="uc-error-caption">Sorry, you can&#39;t view or download this file at this time.</p>\n'
    '<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently. Please try again.</p>'
    "</body></html>",
)
MOVED = 404, "<html><head><title>Error 404 (Not Found)!!1</title></head></html>"
SIGN_IN = 200, "<html><head><title>Google Drive: Sign-in</title></head></html>"


class Drive(Loopback):
    """The server; an answer ends at the first of `breaks`, places in the file, that lies in it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.page: tuple[int, str] | None = None
        self.breaks: list[int] = []
        self.ranges = True
        self.meanwhile: Callable[[], None] = lambda: None
        self.log: list[str] = []
        super().__init__(Handler, "drive")


class Handler(Quiet):
    drive: Drive

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        fields = {name: values[0] for name, values in parse_qs(asked.query).items()}
        content = self.drive.files.get(fields.get("id", ""))
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        self.drive.log.append(asked.path[1:] + (f" from {span[1]}" if span else ""))
        if self.drive.page is not None or content is None:
            self.answer_page(*(self.drive.page or MOVED))
        elif asked.path == "/download" and fields.get("confirm") == "t" and fields.get("uuid") == "11-22":
            self.answer_file(content, int(span[1]) if span and self.drive.ranges else 0)
        else:
            self.answer_page(200, CONFIRM.format(link=fields["id"]))

    def answer_page(self, status: int, page: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page.encode())))
        self.end_headers()
        self.wfile.write(page.encode())

    def answer_file(self, content: bytes, start: int) -> None:
        self.send_response(206 if start else 200)
        for name, value in {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": 'attachment; filename="model.pth"',
            "Content-Length": str(len(content) - start),
            "Last-Modified": "Tue, 01 Apr 2025 00:00:00 GMT",
            **({"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}),
            **({"Accept-Ranges": "bytes"} if self.drive.ranges else {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        end = min([place for place in self.drive.breaks if place > start], default=len(content))
        with suppress(ConnectionError):  # whoever goes on asks for the whole first, and drops the answer
            self.wfile.write(content[start:end])
            self.drive.meanwhile()
        self.close_connection = True
