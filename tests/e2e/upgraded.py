"""A stack that one version deploys after another, from one folder, as its user would."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from popwatch_cli.installation import find_local
from popwatch_cli.local.alert_feed import AlertFeed
from popwatch_cli.local.stack import LocalStack, free_port
from tests.e2e.deployed import Deployed
from tests.older_versions import FIRST_VERSION, PROJECT, unpack

PARTS = ("template.yaml", "functions", "layers", "cli")
OLDER_PARTS = ("template.yaml", "samconfig.toml", "functions", "layers")
"""Older versions have the command in their layer."""

DEPLOY = """
import json
import sys
from pathlib import Path
from {cli}.local.stack import LocalStack
stack = LocalStack(Path.cwd(), Path(".popwatch").absolute(), int(sys.argv[1]), json.loads(sys.argv[2]))
if hasattr(stack, "key"):
    stack.key = "local"  # the only one that older versions know
stack.build()
stack.deploy()
"""
COMMAND = "from {cli}.main import main; main()"


@dataclass(slots=True)
class Clone:
    """A user's clone, in which an older version or this one is checked out, and the local AWS."""

    folder: Path
    cloud: LocalStack
    feed: AlertFeed | None = None

    @classmethod
    @contextmanager
    def beside_cloud(cls, folder: Path) -> Iterator[Self]:
        """An empty clone, and an AWS that goes on as long as the test does."""
        folder.mkdir()
        cloud = LocalStack(PROJECT, folder / ".popwatch", port=free_port(0), key="local")
        try:
            cloud.start()
            yield cls(folder, cloud)
        finally:
            cloud.stop()

    def deploy_older_version(self, version: str = FIRST_VERSION, **parameters: str) -> Deployed:
        """Check out an older version and deploy it."""
        self._empty()
        unpack(self.folder, *OLDER_PARTS, version=version)
        return self._deploy(parameters)

    def deploy_this_version(self, **parameters: str) -> Deployed:
        """Check out this version and deploy it."""
        self._empty()
        for part in PARTS:
            if (PROJECT / part).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(PROJECT / part, self.folder / part, ignore=ignored)
            else:
                shutil.copy(PROJECT / part, self.folder / part)
        return self._deploy(parameters)

    def popwatch(self, *arguments: str) -> str:
        """What `popwatch --local` of the checked-out version prints; sweeps of long ago make it exit with 3."""
        return self.run(COMMAND, "--local", *arguments, codes=(0, 3))

    def run(self, program: str, *arguments: str, codes: Collection[int] = (0,)) -> str:
        """What a program prints that runs on the checked-out version's package, in an empty HOME."""
        home = self.folder.parent / "home"
        home.mkdir(exist_ok=True)
        packages = os.pathsep.join(str(self.folder / part) for part in ("layers/popwatch", "cli"))
        cli = "popwatch_cli" if (self.folder / "cli").exists() else "popwatch.cli"
        environment = {**os.environ, "HOME": str(home), "PYTHONPATH": packages, "COLUMNS": "116"}
        ended = subprocess.run(
            [sys.executable, "-c", program.replace("{cli}", cli), *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode in codes, ended.stdout + ended.stderr
        return ended.stdout

    def _empty(self) -> None:
        for part in PARTS:
            path = self.folder / part
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _deploy(self, parameters: Mapping[str, str]) -> Deployed:
        self.run(DEPLOY, str(self.cloud.port), json.dumps({"ScheduleState": "DISABLED", **parameters}))
        outputs = self.cloud.folder / "outputs.json"
        self.cloud.outputs = dict(json.loads(outputs.read_text())["outputs"])
        installation = find_local(outputs)
        self.feed = self.feed or AlertFeed(installation)  # subscribed once: an upgrade keeps the subscription
        return Deployed(self.cloud, installation, self.feed)
