"""Small files that claim, or unpack to, more than a machine has."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    UltrasoundMultiFrameImageStorage,
)

SIDE = 30_000
BLOCK = 1 << 24


def picture(path: Path) -> Path:
    """A PNG, JPEG, BMP, TIFF or WebP, by its ending, whose header claims 30,000 × 30,000 pixels."""
    encoded, content = cv2.imencode(path.suffix, np.zeros((8, 8, 3), np.uint8))
    assert encoded
    data = bytearray(content.tobytes())
    if path.suffix == ".png":
        data[16:24] = struct.pack(">II", SIDE, SIDE)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif path.suffix == ".jpg":
        at = data.find(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", SIDE, SIDE)
    elif path.suffix == ".bmp":
        data[18:26] = struct.pack("<II", SIDE, SIDE)
    elif path.suffix == ".tif":
        start = struct.unpack("<I", data[4:8])[0]
        for place in range(start + 2, start + 2 + 12 * data[start], 12):
            if struct.unpack("<H", data[place : place + 2])[0] in (256, 257):  # width, height
                data[place + 2 : place + 12] = struct.pack("<HII", 4, 1, SIDE)
    else:  # a lossy WebP claims 14 bits a side
        at = data.find(b"\x9d\x01\x2a") + 3
        data[at : at + 4] = struct.pack("<HH", 16_383, 16_383)
    path.write_bytes(data)
    return path


def dicom(path: Path, frames: str = "1", side: int = 16, deflated: int = 0) -> Path:
    """A DICOM header with no pixels, or with this many bytes of deflated zeros for its pixels."""
    head = Dataset()
    head.file_meta = FileMetaDataset()
    syntax = DeflatedExplicitVRLittleEndian if deflated else ExplicitVRLittleEndian
    head.file_meta.TransferSyntaxUID = syntax
    head.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    head.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    head.SOPClassUID, head.SOPInstanceUID = UltrasoundMultiFrameImageStorage, UID("1.2.3")
    head.Rows = head.Columns = side
    head.PhotometricInterpretation, head.NumberOfFrames = "MONOCHROME2", frames
    head.BitsAllocated = head.BitsStored = 8
    head.HighBit, head.SamplesPerPixel, head.PixelRepresentation = 7, 1, 0
    buffer = DicomBytesIO()
    head.save_as(buffer, enforce_file_format=True)
    whole = buffer.getvalue()
    if deflated:
        start = 144 + struct.unpack("<I", whole[140:144])[0]
        body = zlib.decompress(whole[start:], -zlib.MAX_WBITS)
        pixels = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, deflated)
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = packer.compress(body + pixels) + packer.flush(zlib.Z_FULL_FLUSH)
        zeros = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
        whole = whole[:start] + packed + zeros * (deflated // BLOCK) + packer.flush()
    path.write_bytes(whole)
    return path
