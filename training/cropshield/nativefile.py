"""Owns the native model file: reading and writing `.safetensors` with the standard library and numpy alone.

Layout (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length, a JSON object
{name: {dtype, shape, data_offsets}, "__metadata__": {string: string}}, then the tensors' bytes without gaps.
Does not know what the tensors or the metadata mean.
"""

import hashlib
import json
import struct

import numpy as np

_NAME_OF = {np.dtype("<f2"): "F16", np.dtype("<f4"): "F32"}
_DTYPE_OF = {name: dtype for dtype, name in _NAME_OF.items()}


def data_section(tensors):
    """The bytes of `tensors` ({name: array}) one after the other, in the dictionary's order."""
    return b"".join(np.ascontiguousarray(array).tobytes() for array in tensors.values())


def digest(data):
    """BLAKE2b-256 in hex of the data section: the identity of the weights, whatever the metadata says."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def write(path, tensors, metadata):
    """Writes {name: float16 or float32 array} and {string: string}; adds `digest` to the metadata and returns it."""
    data = data_section(tensors)
    metadata = dict(metadata, digest=digest(data))
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise TypeError(f"metadata {key!r} is {type(value).__name__}, not a string")
    header, offset = {"__metadata__": metadata}, 0
    for name, array in tensors.items():
        end = offset + array.nbytes
        header[name] = {"dtype": _NAME_OF[array.dtype], "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(len(text) + 8) % 64)  # so that the data starts on a cache line when the file is mapped
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    return metadata["digest"]


def read(path):
    """Returns ({name: array}, {string: string}); raises ValueError where the digest does not fit the data."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    if metadata.get("digest", digest(data)) != digest(data):
        raise ValueError(f"{path}: the data does not have the digest that its header states")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], _DTYPE_OF[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata
