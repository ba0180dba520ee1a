"""Put a text under a pull request, in place of its own earlier text.

BODY, PULL_REQUEST (its number), GITHUB_API_URL, GITHUB_REPOSITORY and GITHUB_TOKEN come from the workflow. Python's own
library is enough, so this job installs nothing beside a token that may write.
"""

import json
import os
import urllib.request
from typing import Any

MOST = 65_000
"""A comment may have 65,536 characters."""


def main() -> None:
    """Write the comment. Its first line, a marker, finds the earlier one."""
    body = os.environ["BODY"]
    marker = body.splitlines()[0]
    if len(body) > MOST:
        body = f"{body[:MOST].rsplit(chr(10), 1)[0]}\n\nThe rest is in the summary of the job."
    issues = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/issues"
    comments = f"{issues}/{int(os.environ['PULL_REQUEST'])}/comments"
    page = 1
    while found := call("GET", f"{comments}?per_page=100&page={page}"):
        for comment in found:
            # Anybody may write the marker; only the workflow's own comment is replaced.
            if comment["user"]["type"] == "Bot" and comment["body"].startswith(marker):
                call("PATCH", f"{issues}/comments/{comment['id']}", {"body": body})
                return
        page += 1
    call("POST", comments, {"body": body})


def call(method: str, url: str, content: dict[str, str] | None = None) -> Any:
    """One request to GitHub's interface; the parsed answer."""
    request = urllib.request.Request(
        url,
        json.dumps(content).encode() if content else None,
        {"Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}", "Accept": "application/vnd.github+json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
