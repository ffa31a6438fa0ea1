"""Uploads and downloads checkpoints on the Hugging Face Hub (extra "hub"), without files that could execute code.

Downloads data sets, too.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hwm_env.errors import CheckpointError, DatasetError, require_extra

FILES: Final = ("config.json", "*.safetensors", "README.md")
"""Patterns of all files of a checkpoint."""
_ID: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")


def is_id(name: str) -> bool:
    """Returns whether a name has the form of a repository id: owner/name or owner/name@revision."""
    return _ID.fullmatch(name) is not None


def download(name: str) -> Path:
    """Downloads a checkpoint, or finds it in the cache, and returns its directory.

    Args:
        name: owner/name or owner/name@revision.

    Raises:
        CheckpointError: the repository does not exist or holds no checkpoint, or the Hub cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    client = require_extra("huggingface_hub", "hub")
    repo_id, _, revision = name.partition("@")
    try:
        directory = Path(client.snapshot_download(repo_id, revision=revision or None, allow_patterns=list(FILES)))
    # The client raises errors of several libraries.
    except Exception as error:
        raise CheckpointError(
            f"unknown checkpoint {name!r}: no such directory, and the Hugging Face Hub returned none ({error}); "
            "correct the name, log in, or download the checkpoint and give its directory"
        ) from error
    if not os.path.isfile(directory / "config.json"):
        raise CheckpointError(
            f"the Hugging Face repository {name!r} holds no config.json; give one with a checkpoint of hwm_env"
        )
    return directory


def download_data(name: str, patterns: Sequence[str]) -> Path:
    """Downloads files of a data set, or finds them in the cache, and returns its directory.

    Args:
        name: owner/name or owner/name@revision.
        patterns: names of the files from the data set's directory, or patterns such as "meta/*".

    Raises:
        DatasetError: the data set does not exist, or the Hub cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    client = require_extra("huggingface_hub", "hub")
    repo_id, _, revision = name.partition("@")
    try:
        directory = client.snapshot_download(
            repo_id, repo_type="dataset", revision=revision or None, allow_patterns=list(patterns)
        )
    # The client raises errors of several libraries.
    except Exception as error:
        raise DatasetError(
            f"unknown data set {name!r}: no such directory, and the Hugging Face Hub returned none ({error}); correct "
            "the name, log in, or download the data set and give its directory"
        ) from error
    return Path(directory)


def push(directory: Path, repo_id: str, *, private: bool) -> str:
    """Uploads a checkpoint directory and returns the URL of the commit; see `hwm_env.checkpoint.push_to_hub`.

    Args:
        directory: a directory written by `hwm_env.checkpoint.save`.
        repo_id: owner/name.
        private: whether a new repository is private.
    """
    client = require_extra("huggingface_hub", "hub")
    try:
        client.create_repo(repo_id, private=private, exist_ok=True)
        commit = client.upload_folder(
            repo_id=repo_id,
            folder_path=directory,
            allow_patterns=list(FILES),
            delete_patterns=["*.safetensors"],
            commit_message="Upload a world model of hwm_env",
        )
    # The client raises errors of several libraries.
    except Exception as error:
        raise CheckpointError(
            f"could not upload to {repo_id!r} on the Hugging Face Hub ({error}); log in with a token that may "
            "write there"
        ) from error
    return str(commit.commit_url)
