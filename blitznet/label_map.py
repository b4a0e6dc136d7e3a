"""Class names as a `label_map.pbtxt`, the text form of the TF Object Detection API."""

import os
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

FILE_NAME = "label_map.pbtxt"


def _message_class():
    """StringIntLabelMap of object_detection/protos/string_int_label_map.proto, the fields used."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="label_map.proto", package="label_map")
    item = file.message_type.add(name="Item")
    item.field.add(name="name", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    item.field.add(name="id", number=2, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    label_map = file.message_type.add(name="LabelMap")
    label_map.field.add(
        name="item",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".label_map.Item",
        label=field.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("label_map.LabelMap"))


_LabelMap = _message_class()


def read_label_map(path):
    """Class names of a label map, a tuple in the order of the ids 1..N.

    Fields other than `id` and `name` are passed over. Raises FileNotFoundError without the
    file, ValueError (naming the file and the entry) when the text does not parse, an entry
    lacks a name or an id, or ids or names repeat or the ids are not 1..N.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no label map {path}: expected a text file of entries like "
            'item { id: 1 name: "cat" }'
        )
    try:
        text = path.read_text(encoding="utf-8")
        items = text_format.Parse(text, _LabelMap(), allow_unknown_field=True).item
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a label map: {error}") from error
    if not items:
        raise ValueError(f'{path} has no entry: expected item {{ id: 1 name: "cat" }} and so on')

    return _names_by_id(path, items)


def _names_by_id(path, items):
    """Names in the order of their ids, which have to be 1..N."""
    entries = {}
    for position, item in enumerate(items, 1):
        where = f"{path}: entry {position} (id {item.id}, name {item.name!r})"
        if not item.name:
            raise ValueError(f"{where} has no name")
        if item.id < 1:
            raise ValueError(f"{where} needs an id of 1 or more; 0 is the background, left out")
        if item.id in entries:
            raise ValueError(f"{where} repeats the id of {entries[item.id]!r}")
        if item.name in entries.values():
            raise ValueError(f"{where} repeats the name of an earlier entry")
        entries[item.id] = item.name
    missing = sorted(set(range(1, len(entries) + 1)) - set(entries))
    if missing:
        last = max(entries)
        raise ValueError(
            f"{path}: entry (id {last}, name {entries[last]!r}) leaves a gap, id {missing[0]} "
            f"is missing: {len(entries)} entries need the ids 1 to {len(entries)}"
        )
    return tuple(entries[i] for i in sorted(entries))


def write_label_map(path, names):
    """Write class `names` with the ids 1..N to `path`, replacing it only when complete."""
    path = Path(path)
    items = [{"name": name, "id": i} for i, name in enumerate(names, 1)]
    text = text_format.MessageToString(_LabelMap(item=items), as_utf8=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
