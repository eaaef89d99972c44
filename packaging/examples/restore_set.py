#!/usr/bin/env python3
"""Restores one checkpoint set without evictd, from a copy of what the store holds.

Python's standard library only. The format is described in docs/format.md.

    azcopy copy 'https://ACCOUNT.blob.core.windows.net/CONTAINER/KEY/sets/SET' . --recursive
    restore_set.py SET NEW-FOLDER [--at ID]

Chunks are checked by their ids, for which the hash gmac-128 wants OpenSSL's libcrypto. Compressed ones want the program
zstd, or Python 3.14. What can't be restored is named and left out, and the exit code is 1 then.
"""

import argparse
import base64
import ctypes
import ctypes.util
import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import tempfile

try:
    from compression import zstd
except ImportError:
    zstd = None

PIECE_BYTES_MAX = 1024**2
DEPTH_MAX = 8
LIST_CHUNKS = 2048


class Unusable(Exception):
    """What the store holds isn't what it should be."""


# --- Chunks ---------------------------------------------------------------------------------------------------------


def sha256_id(key):
    return lambda content: hmac.new(key, content, hashlib.sha256).hexdigest()[:32]


def gmac_id(key):
    """GMAC by libcrypto: AES-128-GCM over associated data alone, with a nonce of zeros. None where there is no libcrypto."""
    try:
        crypto = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
    except OSError:
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int
    crypto.EVP_CIPHER_CTX_new.restype = crypto.EVP_aes_128_gcm.restype = pointer
    crypto.EVP_CIPHER_CTX_free.argtypes = [pointer]
    crypto.EVP_EncryptInit_ex.argtypes = [pointer, pointer, pointer, ctypes.c_char_p, ctypes.c_char_p]
    crypto.EVP_EncryptUpdate.argtypes = [pointer, pointer, ctypes.POINTER(number), ctypes.c_char_p, number]
    crypto.EVP_EncryptFinal_ex.argtypes = [pointer, ctypes.c_char_p, ctypes.POINTER(number)]
    crypto.EVP_CIPHER_CTX_ctrl.argtypes = [pointer, number, number, pointer]
    get_tag = 0x10

    def identify(content):
        context = crypto.EVP_CIPHER_CTX_new()
        length = number()
        tag = ctypes.create_string_buffer(16)
        done = (
            crypto.EVP_EncryptInit_ex(context, crypto.EVP_aes_128_gcm(), None, key, bytes(12)) == 1
            and crypto.EVP_EncryptUpdate(context, None, length, content, len(content)) == 1
            and crypto.EVP_EncryptFinal_ex(context, ctypes.create_string_buffer(16), length) == 1
            and crypto.EVP_CIPHER_CTX_ctrl(context, get_tag, 16, tag) == 1
        )
        crypto.EVP_CIPHER_CTX_free(context)
        if not done:
            raise OSError("libcrypto can't work out GMAC")
        return tag.raw.hex()

    return identify


def identifier(spec):
    key = base64.b64decode(spec["key"])
    if spec["name"] == "sha256-128":
        return sha256_id(key)
    if spec["name"] != "gmac-128":
        raise Unusable(f"the hash {spec['name']} is not known")
    identify = gmac_id(key)
    if identify is None:
        print("there is no libcrypto: the content can't be checked", file=sys.stderr)
    return identify


def decompress(frame, length):
    """The content of a zstd frame, or a byte more than `length` at most."""
    if zstd is not None:
        try:
            return zstd.ZstdDecompressor().decompress(frame, length + 1)
        except zstd.ZstdError as error:
            raise Unusable(str(error)) from error
    with tempfile.TemporaryFile() as file:
        file.write(frame)
        file.seek(0)
        with subprocess.Popen(["zstd", "-dcq"], stdin=file, stdout=subprocess.PIPE) as program:
            content = program.stdout.read(length + 1)
            program.kill()
    return content


class Store:
    def __init__(self, folder, identify):
        self.folder = folder
        self.identify = identify

    def read(self, chunk):
        """The content of a chunk, checked by its id."""
        place = f"the chunk at byte {chunk['offset']} of {chunk['pack']}"
        if not re.fullmatch("[0-9a-f]{16}-[0-9a-f]{8}-[0-9a-f]{8}", chunk["pack"]):
            raise Unusable(f"{chunk['pack']!r} names no pack")
        with open(os.path.join(self.folder, "packs", chunk["pack"]), "rb") as pack:
            pack.seek(chunk["offset"])
            content = pack.read(chunk["stored"])
        if len(content) != chunk["stored"]:
            raise Unusable(f"{place} is cut off")
        if chunk["stored"] < chunk["plain"]:
            content = decompress(content, chunk["plain"])
        if len(content) != chunk["plain"]:
            raise Unusable(f"{place} is not {chunk['plain']} bytes")
        if self.identify is not None and self.identify(content) != chunk["id"]:
            raise Unusable(f"{place} is not what its id says")
        return content

    def piece(self, chunk):
        if chunk["plain"] > PIECE_BYTES_MAX:
            raise Unusable("a piece is too large")
        return json.loads(self.read(chunk))


def chunks_of(piece):
    """A function that reads the chunks of one piece in order: most say only what differs from the one before."""
    before = {"pack": None, "end": 0}

    def read(row):
        if isinstance(row, int):
            return {"plain": row}
        identity, plain = row[0], row[1]
        stored = row[2] if len(row) > 2 else plain
        if len(row) > 3:
            before["pack"], before["end"] = piece["packs"][row[3]], row[4]
        chunk = {"id": identity, "plain": plain, "stored": stored, "pack": before["pack"], "offset": before["end"]}
        before["end"] += stored
        return chunk

    return read


# --- The tree -------------------------------------------------------------------------------------------------------


def entries_of(store, chunk, depth=1):
    """All entries below a piece, in order."""
    if depth > DEPTH_MAX:
        raise Unusable("the tree is too deep")
    piece = store.piece(chunk)
    read = chunks_of(piece)
    if piece["kind"] == "node":
        # The chunks have to be read in order, before anything that is below them.
        for child in [read(row[1]) for row in piece["rows"]]:
            yield from entries_of(store, child, depth + 1)
    elif piece["kind"] == "leaf":
        for row in piece["rows"]:
            yield entry_of(piece, row, read)
    else:
        raise Unusable(f"{piece['kind']!r} is no piece of a tree")


def entry_of(piece, row, read):
    kind, folder, name = row[0], piece["folders"][row[1]], row[2]
    entry = {"kind": kind, "path": f"{folder}/{name}" if folder else name}
    if kind == "hardlink":
        entry["target"] = row[3]
        return entry
    entry["mode"], entry["uid"], entry["gid"] = piece["attributes"][row[3]]
    entry["mtime"] = int(row[4])
    if kind == "symlink":
        entry["target"] = row[5]
    elif kind == "file":
        entry["chunks"] = [read(chunk) for chunk in row[5:]]
        entry["size"] = sum(chunk["plain"] for chunk in entry["chunks"])
    elif kind == "long":
        entry["size"] = row[5]
        entry["lists"] = [read(chunk) for chunk in row[7:]]
    elif kind != "directory":
        raise Unusable(f"{kind!r} is no kind of entry")
    return entry


def content_of(store, entry):
    """The chunks of a file, one after the other."""
    if entry["kind"] == "file":
        yield from entry["chunks"]
        return
    for chunk in entry["lists"]:
        piece = store.piece(chunk)
        read = chunks_of(piece)
        for row in piece["rows"]:
            yield read(row)


# --- Writing --------------------------------------------------------------------------------------------------------


def encode(path):
    """The bytes of a path: a byte that is no UTF-8 stands as U+DC80 to U+DCFF in JSON."""
    return path.encode("utf-8", "surrogateescape")


class Restore:
    """Writes into the current folder, which is empty at first."""

    def __init__(self, store):
        self.store = store
        self.is_root = os.geteuid() == 0
        self.directories = {"": None}
        self.files = set()
        self.count = 0

    def write(self, entry):
        path = entry["path"]
        folder, _, name = path.rpartition("/")
        if name in ("", ".", "..") or path.startswith("/"):
            raise Unusable("it has no such path as can be")
        # Only folders of the checkpoint are gone through, never links: nothing gets out of the new folder.
        if folder not in self.directories:
            raise Unusable(f"its folder {folder!r} is not there")
        place = encode(path)
        if entry["kind"] == "directory":
            os.mkdir(place, 0o700)
            self.directories[path] = entry
        elif entry["kind"] == "symlink":
            os.symlink(encode(entry["target"]), place)
            self.attributes(place, entry)
        elif entry["kind"] == "hardlink":
            if entry["target"] not in self.files:
                raise Unusable("the file that it is another name of is not there")
            os.link(encode(entry["target"]), place, follow_symlinks=False)
        else:
            self.file(place, entry)
            self.files.add(path)
        self.count += 1

    def file(self, place, entry):
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            # What isn't written to stays a hole, which reads as zeros.
            os.ftruncate(descriptor, entry["size"])
            position = 0
            for chunk in content_of(self.store, entry):
                if "id" in chunk:
                    content = memoryview(self.store.read(chunk))
                    at = position
                    while content:
                        written = os.pwrite(descriptor, content, at)
                        content, at = content[written:], at + written
                position += chunk["plain"]
            if position != entry["size"]:
                raise Unusable(f"its chunks are {position} bytes, it should have {entry['size']}")
        except BaseException:
            os.unlink(place)
            raise
        finally:
            os.close(descriptor)
        self.attributes(place, entry)

    def attributes(self, place, entry):
        if self.is_root:
            os.chown(place, entry["uid"], entry["gid"], follow_symlinks=False)
        if entry["kind"] != "symlink":
            os.chmod(place, entry["mode"])
        os.utime(place, ns=(entry["mtime"], entry["mtime"]), follow_symlinks=False)

    def finish(self, root):
        """Folders last, the innermost first: whatever is made in one changes its time."""
        del self.directories[""]
        for path, entry in reversed(list(self.directories.items())):
            self.attributes(encode(path), entry)
        if self.is_root:
            os.chown(".", root["uid"], root["gid"])
        os.chmod(".", root["mode"])


# --- The set --------------------------------------------------------------------------------------------------------


def manifest_of(folder, wanted):
    """The newest checkpoint, or the one with the id `wanted`."""
    checkpoints = os.path.join(folder, "checkpoints")
    for name in sorted(os.listdir(checkpoints), reverse=True):
        if not re.fullmatch(r"\d{8}\.json", name) or (wanted is not None and name != f"{wanted}.json"):
            continue
        with open(os.path.join(checkpoints, name), "rb") as file:
            manifest = json.load(file)
        if manifest["version"] != 1:
            raise Unusable(f"{name} has the version {manifest['version']}, which is not known")
        # The other kind marks that a writer took the set over.
        if manifest["kind"] == "checkpoint":
            return manifest
    raise Unusable(f"there is no such checkpoint in {checkpoints}")


def main():
    parser = argparse.ArgumentParser(description="Restores one checkpoint set from a copy of what the store holds.")
    parser.add_argument("set", help="the folder of the set: it holds checkpoints/ and packs/")
    parser.add_argument("target", help="where to restore to: a folder that is empty, or is not there yet")
    parser.add_argument("--at", metavar="ID", help="the checkpoint, such as 00000042; default: the newest")
    options = parser.parse_args()

    source = os.path.abspath(options.set)
    manifest = manifest_of(source, options.at)
    os.makedirs(options.target, exist_ok=True)
    # Paths from here are as long as those in the set, and no longer.
    os.chdir(options.target)
    if os.listdir("."):
        raise Unusable(f"{options.target} is not empty")

    print(f"checkpoint {manifest['id']} of {manifest['createdAt']}, {manifest['totals']['files']} files")
    if "partial" in manifest:
        older, absent = manifest["partial"]["older"]["count"], manifest["partial"]["absent"]["count"]
        print(f"it is partial: {older} entries are older, {absent} are missing")
    if os.geteuid() != 0:
        print("owners are not restored: that is for root alone")

    restore = Restore(Store(source, identifier(manifest["hash"])))
    left_out = 0
    for entry in entries_of(restore.store, manifest["tree"]) if manifest["tree"] is not None else ():
        try:
            restore.write(entry)
        except (Unusable, OSError, ValueError) as error:
            print(f"left out: {entry['path']!a}: {error}", file=sys.stderr)
            left_out += 1
    restore.finish(manifest["root"])
    print(f"{restore.count} entries restored, {left_out} left out")
    return 1 if left_out > 0 else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Unusable, OSError, ValueError, LookupError, TypeError) as error:
        print(f"restore_set.py: {error}", file=sys.stderr)
        sys.exit(1)
