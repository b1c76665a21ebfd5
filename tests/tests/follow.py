"""Follows a TUF repository with python-tuf, the reference client, and tells what it trusts.

    follow.py FOLDER ROOT URL TOKEN [PATH ...]

FOLDER keeps what the client trusts from one run to the next.
"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater


class Authorized(FetcherInterface):
    """HTTP as the server wants it: with a token, and past any proxy."""

    def __init__(self, token):
        self.token = token
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _fetch(self, url):
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            with self.opener.open(urllib.request.Request(url, headers=headers)) as answer:
                return iter([answer.read()])
        except urllib.error.HTTPError as error:
            raise DownloadHTTPError(str(error), error.code) from error


folder, root, url, token = sys.argv[1:5]
Path(folder, "files").mkdir(parents=True, exist_ok=True)
updater = Updater(
    metadata_dir=folder,
    metadata_base_url=f"{url}/tuf/metadata/",
    target_dir=f"{folder}/files",
    target_base_url=f"{url}/tuf/targets/",
    fetcher=Authorized(token),
    bootstrap=Path(root).read_bytes(),
)
updater.refresh()
told = {}
for role in ["root", "timestamp", "snapshot", "targets"]:
    told[role] = json.loads(Path(folder, f"{role}.json").read_bytes())["signed"]["version"]
for path in sys.argv[5:]:
    info = updater.get_targetinfo(path)
    told[path] = None if info is None else Path(updater.download_target(info)).stat().st_size
print(json.dumps(told))
