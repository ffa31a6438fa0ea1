"""Checkpoints on the Hugging Face Hub (the extra "hub"): nothing that could execute code goes up or comes down."""

import os
import re
from pathlib import Path
from typing import Final

from hwm_env.errors import CheckpointError, require_extra

FILES: Final = ("config.json", "*.safetensors", "README.md")
"""All that a checkpoint consists of."""
_ID: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")


def is_id(name: str) -> bool:
    """Whether this has the form of a repository's id: owner/name or owner/name@revision."""
    return _ID.fullmatch(name) is not None


def download(name: str) -> Path:
    """Downloads a checkpoint, or finds it in the cache.

    Args:
        name: owner/name or owner/name@revision.

    Raises:
        CheckpointError: there is no such repository, it holds no checkpoint, or the Hub cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    client = require_extra("huggingface_hub", "hub")
    repo_id, _, revision = name.partition("@")
    try:
        directory = Path(client.snapshot_download(repo_id, revision=revision or None, allow_patterns=list(FILES)))
    # The client raises errors of several libraries.
    except Exception as error:
        raise CheckpointError(
            f"unknown checkpoint {name!r}: there is no such directory, and the Hugging Face Hub gave none ({error}); "
            "correct the name, log in, or download the checkpoint and give its directory"
        ) from error
    if not os.path.isfile(directory / "config.json"):
        raise CheckpointError(f"the Hugging Face repository {name!r} holds no config.json: it is no checkpoint of ours")
    return directory


def push(directory: Path, repo_id: str, *, private: bool) -> str:
    """Uploads a checkpoint directory.

    Args:
        directory: what `hwm_env.checkpoint.save` wrote.
        repo_id: owner/name; made when needed.
        private: whether a repository that is made is private.

    Returns:
        The address of the commit.

    Raises:
        CheckpointError: the Hub refuses it or cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
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
