"""Hostile model folders: indexes, links, special files, configurations."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.hostile.case import CANARY, Case, good, good_folder, tensors

EVIL = "import os\nos.mkdir('canary')\n"


def cases() -> Iterator[Case]:
    """All of them."""
    for name, target in _targets():
        yield Case(f"index-{name}", "model", _indexed(target))
    for name, text in _indexes():
        yield Case(f"index-{name}", "model", _index_text(text))
    for name, make in _links():
        yield Case(f"link-{name}", "model", make)
    yield Case("link-out-config", "model", _linked_config, refused=False)
    yield Case("folder-loop", "model", _loop, refused=False)
    yield Case("folder-code", "model", _code, refused=False)
    yield Case("folder-pickles", "model", _pickles_beside, refused=False)
    yield Case("folder-two-models", "model", _two, refused=False)
    yield Case("folder-many-entries", "model", _crowd)
    yield Case("folder-empty", "model", lambda d: _made(d / "m"))
    for name, config in _configs():
        yield Case(f"config-{name}", "model", _configured(config), refused=False)
    for name, text in _tokenizers():
        yield Case(f"tokenizer-{name}", "model", _with_file(name, text), refused=False)
    for name, head in _formats():
        yield Case(f"format-{name}", "model", _format(head))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _targets() -> Iterator[tuple[str, Any]]:
    yield "parent", "../outside.safetensors"
    yield "absolute", "/etc/passwd"
    yield "inner-dots", "a/../../outside.safetensors"
    yield "windows", "C:\\windows\\x.safetensors"
    yield "unc", "\\\\host\\share\\x.safetensors"
    yield "url", "file:///etc/passwd"
    yield "http", "http://127.0.0.1:9/x.safetensors"
    yield "nul", "a\0.safetensors"
    yield "newline", "a\n.safetensors"
    yield "device", "/dev/zero"
    yield "pickle", "pytorch_model.bin"
    yield "number", 7
    yield "null", None
    yield "list", ["model.safetensors"]
    yield "empty", ""
    yield "long", "x" * 5_000 + ".safetensors"
    yield "bidi", "m\u202e.safetensors"
    yield "absent", "gone.safetensors"
    yield "other-name", "."


def _indexed(target: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        home = _made(folder / "m")
        good(folder / "outside.safetensors")
        good(home / "part.safetensors")
        table = {"weight_map": dict.fromkeys(tensors(), target)}
        (home / "model.safetensors.index.json").write_text(json.dumps(table))
        return home

    return make


def _indexes() -> Iterator[tuple[str, bytes]]:
    yield "no-map", b"{}"
    yield "map-list", b'{"weight_map": []}'
    yield "not-json", b"{weight_map}"
    yield "deep", b'{"weight_map":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001
    yield "duplicate", b'{"weight_map": {"a": "part.safetensors", "a": "part.safetensors"}}'
    yield "nan", b'{"weight_map": {"a": NaN}}'
    yield "wrong-tensor", b'{"weight_map": {"nowhere": "part.safetensors"}}'
    yield "many-files", json.dumps({"weight_map": {f"t{i}": f"f{i}.safetensors" for i in range(5_000)}}).encode()
    yield "huge", b'{"weight_map": {"a": "' + b"x" * 26_000_000 + b'"}}'
    yield "binary", bytes(range(256)) * 4


def _index_text(text: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        home = _made(folder / "m")
        good(home / "part.safetensors")
        (home / "model.safetensors.index.json").write_bytes(text)
        return home

    return make


def _links() -> Iterator[tuple[str, Callable[[Path], Path]]]:
    def linked(target: str) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            home = _made(folder / "m")
            good(folder / "outside.safetensors")
            (home / "model.safetensors").symlink_to(target)
            return home

        return make

    yield "outside", linked("../outside.safetensors")
    yield "absolute", linked("/etc/passwd")
    yield "device", linked("/dev/zero")
    yield "loop", linked("model.safetensors")
    yield "dangling", linked("nowhere.safetensors")
    yield "folder", linked("..")
    yield "proc", linked("/proc/self/mem")
    yield "fifo", _fifo
    yield "socket", _socket
    yield "fifo-file", lambda d: _fifo(d) / "model.safetensors"
    yield "chain", _chain
    yield "index", _linked_index


def _fifo(folder: Path) -> Path:
    home = _made(folder / "m")
    os.mkfifo(home / "model.safetensors")
    return home


def _socket(folder: Path) -> Path:
    home = _made(folder / "m")
    here = os.getcwd()
    os.chdir(home)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("model.safetensors")
    finally:
        os.chdir(here)
    return home


def _chain(folder: Path) -> Path:
    home = _made(folder / "m")
    good(home / "real.bytes")
    (home / "middle").symlink_to("real.bytes")
    (home / "model.safetensors").symlink_to("middle")
    return home


def _linked_index(folder: Path) -> Path:
    home = _made(folder / "m")
    good(home / "part.safetensors")
    (home / "model.safetensors.index.json").symlink_to("/etc/passwd")
    return home


def _linked_config(folder: Path) -> Path:
    home = _made(folder / "m")
    good(home / "model.safetensors")
    (home / "config.json").symlink_to("/etc/passwd")
    (home / "tokenizer.json").symlink_to("/etc/shadow")
    return home


def _loop(folder: Path) -> Path:
    home = good_folder(folder / "m")
    (home / "again").symlink_to(home, target_is_directory=True)
    return folder


def _code(folder: Path) -> Path:
    home = good_folder(folder / "m", 1, {"model_type": "llama", "auto_map": {"AutoModel": "modeling_evil.Evil"}})
    for name in ("modeling_evil.py", "setup.py", "conftest.py", "__init__.py", "sitecustomize.py"):
        (home / name).write_text(EVIL)
    return home


def _pickles_beside(folder: Path) -> Path:
    home = good_folder(folder / "m")
    (home / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nmkdir\n(V" + CANARY.encode() + b"\ntR.")
    return home


def _two(folder: Path) -> Path:
    home = _made(folder / "m")
    good(home / "model-00001-of-00002.safetensors", 1)
    good(home / "model-00002-of-00002.safetensors", 2)
    return home


def _crowd(folder: Path) -> Path:
    home = _made(folder / "m")
    for number in range(20_001):
        os.close(os.open(home / f"f{number}", os.O_CREAT | os.O_WRONLY))
    return home


def _configs() -> Iterator[tuple[str, object]]:
    code = {"AutoModelForCausalLM": "evil/repo--modeling.Evil"}
    yield "auto-map", {"model_type": "llama", "auto_map": code}
    yield "auto-map-nested", {"model_type": "llama", "text_config": {"auto_map": code, "vision": {"auto_map": code}}}
    yield "attn-internal", {"model_type": "llama", "_attn_implementation_internal": "evil/repo"}
    yield "trust", {"model_type": "llama", "trust_remote_code": True}
    yield "custom", {"model_type": "llama", "custom_pipelines": {"x": {"impl": "evil.py"}}}
    yield "quantization", {"model_type": "llama", "quantization_config": {"modules_code": "import os"}}
    yield "deep", "[" * 50_000
    yield "array", [1, 2]
    yield "nan", '{"rms_norm_eps": NaN}'
    yield "duplicate", '{"model_type": "a", "model_type": "b"}'
    yield "huge", '{"a": "' + "x" * 6_000_000 + '"}'
    yield "html", {"model_type": '<img src="http://127.0.0.1:9/x">', "architectures": ["<b>x</b>"]}
    yield "path", {"_name_or_path": "/home/user/secret", "name_or_path": "../../x"}
    yield "numbers", {"hidden_size": 10**30, "num_hidden_layers": -1, "vocab_size": 1.5}


def _configured(config: object) -> Callable[[Path], Path]:
    return lambda folder: good_folder(folder / "m", 1, config)


def _tokenizers() -> Iterator[tuple[str, str]]:
    yield "tokenizer.json", '{"normalizer": {"pattern": {"Regex": "(a+)+$"}}}'
    yield "tokenizer_config.json", '{"auto_map": {"AutoTokenizer": ["evil.Tok", null]}, "chat_template": "{{x}}"}'
    yield "chat_template.jinja", "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for i in range(9**9) %}{% endfor %}"
    yield "generation_config.json", "{" * 10_000
    yield "special_tokens_map.json", '{"a": NaN}'


def _with_file(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        home = good_folder(folder / "m")
        (home / name).write_text(text)
        return home

    return make


def _formats() -> Iterator[tuple[str, bytes]]:
    yield "gguf", b"GGUF\x03\0\0\0" + b"\xff" * 35
    yield "lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    yield "html", b"<!DOCTYPE html><html><script>alert(1)</script></html>"
    yield "elf", b"\x7fELF" + b"\0" * 60
    yield "script", b"#!/bin/sh\nmkdir canary\n"
    yield "empty", b""
    yield "one-byte", b"{"
    yield "numpy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}"
    yield "random", bytes((i * 7919) % 251 for i in range(4_096))


def _format(head: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "m.safetensors"
        path.write_bytes(head)
        return path

    return make
