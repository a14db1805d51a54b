"""Files of strangers and damaged ones of our own: name -> bytes, by kind of file."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.torch
import torch

ESCAPE = "\x1b]0;title\x07\x1b[31m"
MARK: list[str] = []


def executed(*args: Any) -> None:
    """Note that something ran what a file held."""
    MARK.append("executed")


class Code:
    """Unpickles to a call."""

    def __reduce__(self) -> Any:
        return executed, ("run",)


JSON = {
    "empty": b"",
    "NUL": b"\0" * 100,
    "not UTF-8": b"\xff\xfe\x00{",
    "cut": b'{"a": [1, 2',
    "a number": b"3",
    "null": b"null",
    "a text": b'"text"',
    "a list": b"[1, 2]",
    "lists": b"[[[]]]",
    "an empty object": b"{}",
    "deep lists": b"[" * 100_000,
    "deep and whole": b"[" * 500 + b"]" * 500,
    "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "huge integer": b'{"num_samples": 1' + b"0" * 5000 + b"}",
    "digits": b"9" * 400,
    "Infinity": b'{"num_bytes": Infinity}',
    "NaN": b'{"num_bytes": NaN}',
    "1e999": b'{"num_bytes": 1e999}',
    "surrogate": b'{"key": "\\ud800"}',
    "escapes": json.dumps({ESCAPE: ESCAPE}).encode(),
    "escapes in text": ESCAPE.encode(),
    "a page": b"<!DOCTYPE html><html><body>404</body></html>",
    "LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 10\n",
    "a tag": b'{"_target_": "os.system", "command": "touch /tmp/pwned"}',
    "pickle": pickle.dumps(Code()),
}
"""Texts that are not what our JSON files hold, whichever it is."""
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "a negative number": -1,
    "a large number": 2**62,
    "a fraction": 0.5,
    "a text": "text",
    "an escape": ESCAPE,
    "a list": [[1], None],
    "an object": {"a": {"b": 1}},
}
"""Values that are put in the place of each value of a good file."""


def changed(good: Mapping[str, Any]) -> dict[str, bytes]:
    """Return a good file's object with each of its values replaced by one of another kind, and left out."""
    files = {}
    for number, name in enumerate(good):
        kinds = list(VALUES.items())
        for offset in (0, 4):
            kind, value = kinds[(number + offset) % len(kinds)]
            if type(value) is not type(good[name]):
                files[f"{name} is {kind}"] = json.dumps({**good, name: value}).encode()
        files[f"{name} is missing"] = json.dumps({key: value for key, value in good.items() if key != name}).encode()
    return files


def _safetensors(header: Mapping[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(dtype: str, shape: list[int], end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


def safetensors_files(good: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
    """Return files in, or nearly in, safetensors' format that stand where ``good`` should."""
    whole = safetensors.torch.save({name: tensor.contiguous() for name, tensor in good.items()})
    name = next(iter(good))

    def other(tensor: torch.Tensor) -> bytes:
        return safetensors.torch.save({**{n: t.contiguous() for n, t in good.items()}, name: tensor})

    return {
        "empty": b"",
        "short": b"\1\2\3",
        "cut header": whole[:20],
        "cut data": whole[:-5],
        "more data": whole + b"more",
        "lying length": b"\xff" * 8 + whole[8:],
        "no JSON": _safetensors(b"{nothing"),
        "a list": _safetensors(b"[]"),
        "nothing in it": _safetensors({}),
        "deep": _safetensors(b"[" * 100_000),
        "offsets beyond": _safetensors({name: _entry("F32", [1 << 40], 1 << 42)}),
        "negative offsets": _safetensors({name: {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"1234"),
        "a negative shape": _safetensors({name: _entry("F32", [-1], 4)}, b"1234"),
        "huge shape": _safetensors({name: _entry("F32", [2**62, 2**62], 4)}, b"1234"),
        "unknown dtype": _safetensors({name: _entry("F13", [1], 4)}, b"1234"),
        "escape as dtype": _safetensors({name: _entry(ESCAPE, [1], 4)}, b"1234"),
        "escape as name": safetensors.torch.save({ESCAPE: torch.zeros(2)}),
        "an escape more": safetensors.torch.save({**good, ESCAPE: torch.zeros(2)}),
        "other names": safetensors.torch.save({"other": torch.zeros(2)}),
        "float8": other(torch.zeros(good[name].shape).to(torch.float8_e4m3fn)),
        "complex": other(torch.zeros(good[name].shape, dtype=torch.complex64)),
        "integers": other(torch.zeros(good[name].shape, dtype=torch.int64)),
        "boolean": other(torch.zeros(good[name].shape, dtype=torch.bool)),
        "0-d": other(torch.zeros(())),
        "no values": other(torch.zeros(0)),
        "no values, many dimensions": other(torch.zeros(0, 3, 3, 3)),
        "one more dimension": other(torch.zeros(1, *good[name].shape)),
        "NaN": other(torch.full(good[name].shape, torch.nan, dtype=good[name].dtype)),
        "infinity": other(torch.full(good[name].shape, torch.inf, dtype=good[name].dtype)),
        "many": safetensors.torch.save({f"t{i}": torch.zeros(1) for i in range(500)}),
        "a page": JSON["a page"],
        "LFS": JSON["LFS"],
        "pickle": JSON["pickle"],
    }


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=array.dtype == object)
    return file.getvalue()


def _zip(packing: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def npz_files() -> dict[str, bytes]:
    """Return files that stand where two noises in numpy's format should."""
    noise = np.zeros((1, 4, 8, 8), np.float16)
    good = _zip(arr_0=_npy(noise), arr_1=_npy(noise))
    code = np.empty(1, object)
    code[0] = Code()
    header = _npy(noise)
    arrays = {
        "one alone": (noise, None),
        "text": (np.array(["a"]), noise),
        "integers": (noise.astype(np.int64), noise),
        "complex": (noise.astype(np.complex64), noise),
        "0-d": (np.float32(1), np.float32(1)),
        "one dimension": (noise[0, 0, 0], noise[0, 0, 0]),
        "nothing": (np.zeros((1, 4, 0, 0), np.float16),) * 2,
        "other shapes": (noise, noise[:, :2]),
        "dates": (np.zeros((1, 4, 8, 8), "datetime64[s]"), noise),
        "records": (np.zeros(4, [("a", "f4")]), noise),
    }
    files = {
        name: _zip(**{f"arr_{i}": _npy(np.asarray(a)) for i, a in enumerate(pair) if a is not None})
        for name, pair in arrays.items()
    }
    return files | {
        "empty": b"",
        "no zip": b"nothing",
        "cut": good[:-30],
        "no member": _zip(),
        "code": _zip(arr_0=_npy(code), arr_1=_npy(code)),
        "a bomb": _zip(zipfile.ZIP_DEFLATED, arr_0=_npy(np.zeros((1, 4, 1 << 13, 1 << 10), np.float16)), arr_1=header),
        "a lying header": _zip(arr_0=header.replace(b"(1, 4, 8, 8)", b"(9, 9, 9, 9)"), arr_1=header),
        "a huge header": _zip(arr_0=header.replace(b"(1, 4, 8, 8)", b"(1<<9,9, 8)"), arr_1=header),
        "no npy": _zip(arr_0=b"nothing", arr_1=b"nothing"),
        "pickle": JSON["pickle"],
        "npy": header,
        "another index": _zip(arr_0=header, arr_1=header, arr_2=_npy(np.array(99))),
        "a text as index": _zip(arr_0=header, arr_1=header, arr_2=_npy(np.array("7"))),
        "many as index": _zip(arr_0=header, arr_1=header, arr_2=_npy(np.zeros(7))),
    }


def _member(name: str, data: bytes = b"", **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def _tar(*members: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def tar_files(good: bytes) -> dict[str, bytes]:
    """Return files that stand where a shard should, ``good`` being one."""
    names = {
        "an escape": f"{ESCAPE}.json",
        "an absolute path": "/etc/passwd.json",
        "a path upwards": "../../0000000-0000000000.json",
        "a folder": "folder/0000000-0000000000.json",
        "no key": ".json",
        "no member": "0000000-0000000000",
        "a foreign member": "0000000-0000000000.pickle",
        "code": "0000000-0000000000.pyd",
        "a surrogate": "\udcff.json",
        "a long one": "a" * 5000 + ".json",
        "a new line": "a\nb.json",
    }
    kinds = {
        "a link": tarfile.SYMTYPE,
        "a hard link": tarfile.LNKTYPE,
        "a device": tarfile.CHRTYPE,
        "a pipe": tarfile.FIFOTYPE,
        "a directory": tarfile.DIRTYPE,
        "an unknown kind": b"Z",
    }
    member = "0000000-0000000000.json"
    headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.map": "0,1,nothing",
        "GNU.sparse.size": "9" * 30,
        "size": "9" * 30,
        "mtime": "inf",
        "path": "\0",
        "linkpath": ESCAPE,
        "comment": "x" * 200_000,
    }
    large = bytearray(_tar((_member(member, b"{}"), b"{}"), kind=tarfile.GNU_FORMAT))
    large[124:136] = b"\x80" + b"\xff" * 11
    return {
        "empty": b"",
        "no tar": b"nothing" * 500,
        "zeros": b"\0" * 10240,
        "no sample": _tar(),
        "cut in a header": good[:300],
        "cut in a member": good[:900],
        "cut at the end": good[:-1024],
        "zipped": zipfile_of(good),
        "a flipped header": good[:150] + b"\xff" + good[151:],
        "twice": good[:-10240] + good,
        "a huge size": bytes(large),
        **{f"{kind} as name": _tar((_member(name, b"{}"), b"{}")) for kind, name in names.items()},
        **{kind: _tar((_member(member, type=code, linkname="/etc/passwd"), b"")) for kind, code in kinds.items()},
        **{
            f"pax {name}": _tar((_member(member, b"{}", pax_headers={name: value}), b"{}"))
            for name, value in headers.items()
        },
        **{f"{kind} as record": _tar((_member(member, data), data)) for kind, data in JSON.items()},
    }


def zipfile_of(data: bytes) -> bytes:
    """Return a zip archive of one member."""
    return _zip(a=data)


def picture_files(good: bytes) -> dict[str, bytes]:
    """Return files that stand where a PNG should, ``good`` being one."""
    wide = good[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + good[24:]
    large = good[:16] + struct.pack(">II", 20_000, 20_000) + good[24:]
    return {
        "empty": b"",
        "a signature": good[:8],
        "cut": good[: len(good) // 2],
        "no PNG": b"nothing",
        "too wide": wide,
        "too large": large,
        "no pixels": good[:16] + struct.pack(">II", 0, 0) + good[24:],
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        "vectors": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "a page": JSON["a page"],
        "LFS": JSON["LFS"],
        "pickle": JSON["pickle"],
        "TIFF of nothing": b"II*\0\x08\0\0\0\0\0",
        "GIF of nothing": b"GIF89a\xff\xff\xff\xff\0\0\0",
        "JPEG of nothing": b"\xff\xd8\xff\xe0" + b"\0" * 50,
        "WEBP of nothing": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff",
        "BMP of nothing": b"BM" + b"\xff" * 60,
    }


PROMPTS = {
    ".csv": {
        "empty": b"",
        "no column": b"a,b\n1,2\n",
        "an escape as column": ESCAPE.encode() + b",b\n1,2\n",
        "UTF-16": "prompt\na\n".encode("utf-16"),
        "NULs": b"prompt\n\0\0\n",
        "nothing but a header": b"prompt\n",
        "quotes": b'prompt,b\n"a\n' + b'"",\n' * 20_000,
        "broken bytes": b"prompt\n\xff\xfe\n",
        "commas": b"prompt,b\n" + b"," * 200_000,
        "too many columns": b'category,prompt,x\n"a",b,c,d,e\n"a","b","c","d"\n',
    },
    ".jsonl": dict(JSON),
    ".json": dict(JSON),
    ".txt": {
        "empty": b"",
        "NUL": b"\0",
        "broken bytes": b"\xff\n\xfe\n",
        "UTF-16": "a prompt".encode("utf-16"),
        "blank": b" \n\t\n\n",
    },
    ".parquet": {"empty": b"", "nothing": b"PAR1nothingPAR1", "pickle": JSON["pickle"]},
}
"""Suffix -> files that hold no prompts."""


def pth_files() -> dict[str, bytes]:
    """Return files that stand where PyTorch's tensors should."""

    def saved(value: Any) -> bytes:
        file = io.BytesIO()
        torch.save(value, file)
        return file.getvalue()

    good = saved({"a": torch.zeros(3)})
    return {
        "empty": b"",
        "pickle": JSON["pickle"],
        "code": saved({"state_dict": Code()}),
        "code beside tensors": saved({"a": torch.zeros(2), "b": Code()}),
        "a module": saved(torch.nn.Linear(1, 1)),
        "cut": good[:-100],
        "flipped": good[:60] + b"\xff\xff\xff" + good[63:],
        "a list": saved([torch.zeros(1)]),
        "a tensor": saved(torch.zeros(1)),
        "text": saved({"a": ESCAPE}),
        "an escape as name": saved({ESCAPE: torch.zeros(1)}),
        "numbers as names": saved({1: torch.zeros(1)}),
        "other tensors": good,
        "deep": saved({"a": {"b": {"c": {"d": torch.zeros(1)}}}}),
        "no zip": b"PK\x03\x04nothing",
        "protocol 0": b"cos\nsystem\n(S'true'\ntR.",
        "a page": JSON["a page"],
        "LFS": JSON["LFS"],
    }
